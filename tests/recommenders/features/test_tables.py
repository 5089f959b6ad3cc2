from datetime import UTC, datetime, timedelta
from math import log
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommenders.features.catalog import ITEM_FEATURES, USER_FEATURES, schema_of
from recommenders.features.tables import item_features, user_features
from recommenders.storage import schema

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def by_id(table: pa.Table) -> dict[str, dict[str, Any]]:
    return {row[table.column_names[0]]: row for row in table.to_pylist()}


def test_item_features_by_hand(events: pa.Table, items: pa.Table) -> None:
    table = item_features(events, items, NOW)
    assert table.schema.equals(schema_of(ITEM_FEATURES))
    found = by_id(table)
    assert list(found) == ["a", "b", "c", "d"]  # e is launched later
    a, b, c, d = found.values()
    assert (a["n_buyers"], a["n_orders"], a["popularity_30d"], a["age_days"]) == (2, 3, 2, 70)
    assert a["popularity_trend"] == pytest.approx(log(3 / 1))
    assert c["popularity_trend"] == pytest.approx(log(1 / 2))
    assert (a["price_level"], b["price_level"], c["price_level"], d["price_level"]) == (1.0, 0.0, 0.5, None)
    assert (d["n_buyers"], d["n_orders"], d["popularity_30d"], d["popularity_trend"]) == (0, 0, 0, 0.0)
    assert d["age_days"] == 3


def test_user_features_by_hand(events: pa.Table, items: pa.Table, users: pa.Table) -> None:
    table = user_features(events, users, NOW, items)
    assert table.schema.equals(schema_of(USER_FEATURES))
    one, two, three = by_id(table).values()
    assert (one["n_orders"], one["n_items"], one["spend"], one["mean_order_value"]) == (2, 2, 65.0, 32.5)
    assert (one["recency_days"], one["mean_days_between_orders"], one["top_category"]) == (
        10,
        60,
        "packaging",
    )
    assert two["top_category"] == "catering"  # a tie with packaging; the first by name
    assert (three["n_orders"], three["n_items"], three["recency_days"], three["spend"]) == (0, 0, None, None)
    assert three["annual_revenue"] == 3e6


def test_without_items_categories_are_null(events: pa.Table, users: pa.Table) -> None:
    assert user_features(events, users, NOW)["top_category"].null_count == 3


def test_an_event_at_as_of_counts_and_one_a_microsecond_later_does_not(events: pa.Table, items: pa.Table) -> None:
    last = pc.max(events["timestamp"]).as_py()
    assert by_id(item_features(events, items, last))["c"]["n_orders"] == 2
    assert by_id(item_features(events, items, last - timedelta(microseconds=1)))["c"]["n_orders"] == 1


def test_a_time_without_a_zone_is_utc(events: pa.Table, items: pa.Table) -> None:
    assert item_features(events, items, NOW.replace(tzinfo=None)).equals(item_features(events, items, NOW))


def test_an_undated_item_first_sold_later_changes_no_price_level(users: pa.Table) -> None:
    names = schema.INTERACTIONS.names
    january, may = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 5, 1, tzinfo=UTC)
    sales = [("a", january), ("b", january - timedelta(days=9)), ("c", january - timedelta(days=5)), ("new", may)]
    rows = [
        dict.fromkeys(names)
        | {"user_id": "u1", "item_id": i, "timestamp": when, "event": "purchase", "weight": 1.0, "unit_price": 1.0}
        for i, when in sales
    ]
    events = pa.Table.from_pylist(rows, schema.INTERACTIONS)
    prices = {"a": 1.0, "b": 2.5, "c": 3.0, "new": 2.0}
    described = [dict.fromkeys(schema.ITEMS.names) | {"item_id": i, "price": p} for i, p in prices.items()]
    items = pa.Table.from_pylist(described, schema.ITEMS)
    found = item_features(events, items, january)
    assert {row["item_id"]: row["price_level"] for row in found.to_pylist()} == {"a": 0.0, "b": 0.5, "c": 1.0}
    assert found.equals(item_features(events, items.slice(0, 3), january))
    assert by_id(user_features(events, users, january, items))["u1"]["price_level"] == 0.5
    in_may = by_id(item_features(events, items, may))
    assert (in_may["new"]["price_level"], in_may["b"]["price_level"]) == (pytest.approx(1 / 3), pytest.approx(2 / 3))


LATER = st.lists(
    st.tuples(
        st.sampled_from(["u1", "u2", "u3"]),
        st.sampled_from(["a", "b", "c", "d", "y"]),
        st.integers(1, 10**12),
        st.floats(0.1, 1e6),
    ),
    max_size=10,
)


@settings(max_examples=8)
@given(later=LATER, as_of=st.datetimes(datetime(2025, 12, 1), datetime(2026, 3, 10)))
def test_later_rows_change_nothing(
    events: pa.Table,
    items: pa.Table,
    users: pa.Table,
    later: list[tuple[str, str, int, float]],
    as_of: datetime,
) -> None:
    moment = as_of.replace(tzinfo=UTC)
    known = events.filter(pc.less_equal(events["timestamp"], pa.scalar(moment, schema.TIME)))
    rows = [
        {
            "user_id": u,
            "item_id": i,
            "timestamp": moment + timedelta(microseconds=gap),
            "event": "purchase",
            "weight": 1.0,
        }
        | {"order_id": "o1", "quantity": q, "unit_price": q}
        for u, i, gap, q in later
    ]
    future = schema.conform(pa.Table.from_pylist(rows, schema.INTERACTIONS), schema.INTERACTIONS, "later")
    launch = [
        {
            "item_id": "z",
            "category": "packaging",
            "price": 1.0,
            "available_from": moment + timedelta(seconds=1),
        },
        {"item_id": "y", "category": "packaging", "price": 7.0, "available_from": None},  # sold later, if ever
    ]
    more_items = pa.concat_tables([items, pa.Table.from_pylist(launch, schema.ITEMS)])
    everything = pa.concat_tables([future, events])
    assert item_features(everything, more_items, moment).equals(item_features(known, items, moment))
    assert user_features(everything, users, moment, more_items).equals(user_features(known, users, moment, items))
