"""No feature uses events after as_of: random logs, cut at random times."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommenders.features.leakage import differences, events_until, items_until
from recommenders.features.tables import item_features, user_features
from recommenders.storage import schema

START = datetime(2026, 1, 1, tzinfo=UTC)
HOURS = st.integers(0, 24 * 120)  # few enough that times coincide
USER, ITEM = st.sampled_from(["u1", "u2", "u3"]), st.sampled_from(["a", "b", "c", "d"])


def moment(hours: int) -> datetime:
    return START + timedelta(hours=hours)


def maybe_moment(least: int = 0) -> st.SearchStrategy[datetime | None]:
    return st.none() | st.integers(least, 24 * 120).map(moment)


EVENT = st.fixed_dictionaries(
    {
        "user_id": USER,
        "item_id": ITEM,
        "timestamp": HOURS.map(moment),
        "event": st.sampled_from(["purchase", "view"]),
        "weight": st.just(1.0),
        "order_id": st.none() | st.sampled_from(["o1", "o2", "o3"]),
        "quantity": st.none() | st.integers(1, 9).map(float),
        "unit_price": st.none() | st.integers(1, 9).map(float),
        "returned_quantity": st.none() | st.just(1.0),
        "returned_at": maybe_moment(),
    }
)
DESCRIPTION = st.fixed_dictionaries(
    {
        "item_id": ITEM,
        "valid_from": maybe_moment(),
        "category": st.none() | st.sampled_from(["x", "y"]),
        "brand": st.none() | st.sampled_from(["p", "q"]),
        "price": st.none() | st.integers(1, 5).map(float),
        "available_from": maybe_moment(),
    }
)


def table(rows: list[dict[str, Any]], table_schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pylist([dict.fromkeys(table_schema.names) | row for row in rows], table_schema)


LOG = st.lists(EVENT, max_size=25).map(lambda rows: table(rows, schema.INTERACTIONS))
ITEMS = st.lists(DESCRIPTION, max_size=10, unique_by=lambda row: (row["item_id"], row["valid_from"])).map(
    lambda rows: table(rows, schema.ITEMS)
)
LATE = st.lists(  # an undated item, and how long after the cut it is first sold
    st.tuples(
        st.sampled_from(["aa", "z"]), st.integers(1, 10**12), st.sampled_from(["x", "y"]), st.integers(1, 5).map(float)
    ),
    min_size=1,
    max_size=2,
    unique_by=lambda row: row[0],
)
USERS = table([{"user_id": u} for u in ("u1", "u2", "u3")], schema.USERS)


def with_late(
    log: pa.Table, items: pa.Table, now: datetime, late: list[tuple[str, int, str, float]]
) -> tuple[pa.Table, pa.Table]:
    """The tables as read later: with later items whose rows have no date."""
    sales = [
        {"user_id": "u1", "item_id": i, "timestamp": now + timedelta(microseconds=gap), "event": "view", "weight": 1.0}
        for i, gap, _, _ in late
    ]
    rows = [{"item_id": i, "category": category, "price": price} for i, _, category, price in late]
    return (
        pa.concat_tables([log, table(sales, schema.INTERACTIONS)]),
        pa.concat_tables([items, table(rows, schema.ITEMS)]),
    )


@settings(max_examples=16)
@given(LOG, ITEMS, HOURS, LATE)
def test_features_of_the_whole_log_equal_those_of_the_log_cut_at_as_of(
    log: pa.Table, items: pa.Table, hours: int, late: list[tuple[str, int, str, float]]
) -> None:
    now = moment(hours)
    known, described = events_until(log, now), items_until(items, log, now)
    log, items = with_late(log, items, now, late)
    assert (events_until(log, now).equals(known), items_until(items, log, now).equals(described)) == (True, True)
    assert differences(item_features(log, items, now), item_features(known, described, now)) == []
    assert differences(user_features(log, USERS, now, items), user_features(known, USERS, now, described)) == []


@settings(max_examples=5)
@given(LOG, ITEMS, HOURS)
def test_parquet_files_give_the_same_as_tables(
    tmp_path_factory: pytest.TempPathFactory, log: pa.Table, items: pa.Table, hours: int
) -> None:
    folder, now = tmp_path_factory.mktemp("log"), moment(hours)
    files = {name: folder / f"{name}.parquet" for name in ("first", "second", "items", "users")}
    half = log.num_rows // 2
    parts = {"first": log.slice(0, half), "second": log.slice(half), "items": items, "users": USERS}
    for name, part in parts.items():
        pq.write_table(part, files[name])
    events = [files["first"], files["second"]]
    out: Path = item_features(events, [files["items"]], now, out=folder / "out" / "item.parquet")
    assert differences(pq.read_table(out), item_features(log, items, now)) == []
    out = user_features(events, [files["users"]], now, [files["items"]], out=folder / "user.parquet")
    assert differences(pq.read_table(out), user_features(log, USERS, now, items)) == []


def test_the_newest_of_three_rows_is_used_also_if_one_has_no_date() -> None:
    rows = [{"item_id": "a"}, {"item_id": "a", "valid_from": moment(1)}]
    rows.append({"item_id": "a", "valid_from": moment(0), "available_from": moment(0)})
    found = item_features(table([], schema.INTERACTIONS), table(rows, schema.ITEMS), moment(1))
    assert found["age_days"].to_pylist() == [None]


def test_an_undated_item_is_known_from_its_first_event_or_its_dates_on() -> None:
    now = moment(10)
    sale = {"user_id": "u1", "event": "x", "weight": 1.0}
    log = table(
        [{**sale, "item_id": i, "timestamp": moment(h)} for i, h in (("at", 10), ("after", 11))], schema.INTERACTIONS
    )
    rows = [
        {"item_id": "at"},
        {"item_id": "after"},
        {"item_id": "never"},
        {"item_id": "launched", "available_from": now},
        {"item_id": "unlaunched", "available_from": moment(11)},
        {"item_id": "written", "valid_from": now},
        {"item_id": "unwritten", "valid_from": moment(11)},
    ]
    items = table(rows, schema.ITEMS)
    assert items_until(items, log, now)["item_id"].to_pylist() == ["at", "launched", "written"]
    assert item_features(log, items, now)["item_id"].to_pylist() == ["at", "launched", "written"]
    assert items_until(items.select(["item_id"]), log, now)["item_id"].to_pylist() == ["at"]


def test_an_item_first_sold_later_in_a_price_rank_is_a_reported_leak() -> None:
    now = moment(10)
    sale = {"user_id": "u1", "event": "x", "weight": 1.0}
    log = table([{**sale, "item_id": i, "timestamp": moment(h)} for i, h in (("a", 1), ("z", 11))], schema.INTERACTIONS)
    items = table([{"item_id": i, "category": "x", "price": p} for i, p in (("a", 1.0), ("z", 2.0))], schema.ITEMS)
    dated = [{**row, "valid_from": START} for row in items.to_pylist()]  # both are known at as_of
    leaky = item_features(log, table(dated, schema.ITEMS), now)
    honest = item_features(events_until(log, now), items_until(items, log, now), now)
    assert differences(leaky, honest) == ["item_id: 2 rows against 1, or other ids"]
    assert differences(leaky.slice(0, 1), honest) == ["price_level: 1 of 1 rows"]
    assert differences(item_features(log, items, now), honest) == []


def test_a_planted_leak_is_reported_by_feature_and_number_of_rows() -> None:
    rows = [{"user_id": "u1", "item_id": "a", "timestamp": moment(h), "event": "x", "weight": 1.0} for h in (1, 50)]
    log, now = table(rows, schema.INTERACTIONS), moment(2)
    items = schema.ITEMS.empty_table()
    leaky, honest = item_features(log, items, moment(60)), item_features(log, items, now)
    changed = ["age_days", "n_orders", "repeat_rate", "reorder_days", "popularity_trend"]
    assert differences(leaky, honest) == [f"{name}: 1 of 1 rows" for name in changed]
    assert differences(honest, honest.rename_columns(["id", *honest.column_names[1:]])) == ["columns id, item_id"]
    assert "1 rows against 0" in differences(honest, honest.slice(0, 0))[0]
