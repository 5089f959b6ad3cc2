"""The served catalogue holds the newest row of each item and user."""

import json
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from recommenders.storage import schema
from serving.steering.catalogue.tables import item_attributes, user_attributes

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def day(month: int) -> datetime:
    return datetime(2026, month, 1, tzinfo=UTC)


def items(*rows: dict[str, Any]) -> pa.Table:
    known = [{**dict.fromkeys(schema.ITEMS.names), **row} for row in rows]
    return pa.Table.from_pylist(known, schema.ITEMS)


def value(table: Any, id_: str, name: str) -> Any:
    return table.columns[name].value(table.row(id_))


def test_the_newest_state_that_is_valid_now_is_served() -> None:
    found = item_attributes(
        items(
            {"item_id": "b", "price": 1.0, "title": "old", "valid_from": None},
            {"item_id": "b", "price": 2.0, "title": "new", "valid_from": day(3)},
            {"item_id": "b", "price": 3.0, "title": "later", "valid_from": day(9)},
            {"item_id": "a", "price": 9.0},
            {"item_id": "c", "price": 9.0, "valid_from": day(9)},
        ),
        {},
        NOW,
    )
    assert list(found.ids) == ["a", "b"]
    assert (value(found, "b", "price"), value(found, "b", "title")) == (2.0, "new")
    assert value(found, "a", "title") is None


def test_every_kind_is_kept_exactly_and_a_missing_value_stays_missing() -> None:
    texts = ["\u00e9", "z", "", "A\U0001f534", 'a "b"', None, "z"]
    found = item_attributes(
        items(*({"item_id": str(n), "title": text, "price": n / 3 if n else None} for n, text in enumerate(texts))),
        {},
        NOW,
    )
    for n, text in enumerate(texts):
        assert value(found, str(n), "title") == text
        assert value(found, str(n), "price") == (n / 3 if n else None)
    titles = found.columns["title"].texts
    assert list(titles) == sorted({text for text in texts if text is not None})
    assert [titles.place(text) for text in titles] == list(range(len(titles)))
    assert titles.place("no title") == titles.place("zz") == -1
    assert value(found, "unknown", "title") is None


def test_free_attributes_have_the_kind_of_their_values_or_the_declared_one() -> None:
    rows = [{"colour": "red", "margin": 1.5, "stocked": True, "never": None}, None, {"colour": None, "stocked": False}]
    found = item_attributes(
        items(*({"item_id": str(n), "attributes": row and json.dumps(row)} for n, row in enumerate(rows))),
        {"never": "number", "missing": "boolean", "margin": "text"},
        NOW,
    )
    free = {name: found.kinds[name] for name in ("colour", "margin", "stocked", "never", "missing")}
    assert free == {"colour": "text", "margin": "number", "stocked": "boolean", "never": "number", "missing": "boolean"}
    assert [value(found, str(n), "stocked") for n in range(3)] == [True, None, False]
    assert [value(found, str(n), "margin") for n in range(3)] == [1.5, None, None]
    assert [value(found, str(n), "colour") for n in range(3)] == ["red", None, None]
    assert {value(found, str(n), name) for n in range(3) for name in ("never", "missing")} == {None}


def test_users_have_their_attributes_too() -> None:
    row = {"user_id": "u", "segment": "cafe", "credit_limit": 5.0, "attributes": '{"income": "high"}'}
    table = pa.Table.from_pylist([{**dict.fromkeys(schema.USERS.names), **row}], schema.USERS)
    found = user_attributes(table, {})
    assert (value(found, "u", "segment"), value(found, "u", "credit_limit"), value(found, "u", "income")) == (
        "cafe",
        5.0,
        "high",
    )


def test_a_data_set_without_items_has_an_empty_table() -> None:
    found = item_attributes(items(), {}, NOW)
    assert len(found.ids) == 0
    assert found.row("a") == -1
    assert {"title", "category", "brand", "price"} <= set(found.kinds)
