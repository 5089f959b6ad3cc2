"""The tables of the features that the ranker reads, small enough to check by hand."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from recommenders.datasets.spec import Protocol
from recommenders.events.interactions import Interactions
from recommenders.features.ranking import (
    ITEM_FEATURES,
    PAIR_FEATURES,
    USER_FEATURES,
    UserPairFeatures,
    category_numbers,
    feature_horizon_days,
    ranker_item_features,
)
from recommenders.features.tables import item_features, pair_features, user_features
from recommenders.splitting.temporal import training_log
from recommenders.storage import schema

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def log(events: pa.Table, items: pa.Table) -> Interactions:
    """As of NOW, with a horizon of 30 days. The newest event is 5 days old."""
    protocol = Protocol(split="time_cut", test_days=30)
    return training_log(events.filter(pc.less_equal(events["timestamp"], pa.scalar(NOW))), items, protocol, NOW)


def by_id(table: pa.Table, *keys: str) -> dict[Any, dict[str, Any]]:
    return {tuple(row[key] for key in keys) if len(keys) > 1 else row[keys[0]]: row for row in table.to_pylist()}


def test_item_features_by_hand(log: Interactions, items: pa.Table) -> None:
    table = item_features(log, items)
    assert table.column_names == ["item_id", "title", "category", "brand", "price", *ITEM_FEATURES]
    assert {field.type for field in table.schema if field.name in ITEM_FEATURES} == {pa.float32()}
    a, b, c, d = by_id(table, "item_id").values()  # e is launched later
    assert (a["title"], a["category"], a["brand"], a["price"]) == ("Brown tape", "packaging", "Elm", 10.0)
    assert (d["title"], d["brand"], d["price"]) == ("Coffee cups", None, None)
    assert a["item_sales"] == pytest.approx(np.log1p(3 / 1.25))  # 5 events of 4 items
    assert a["item_sales_half_horizon"] == pytest.approx(np.log1p(2 / 0.5))
    assert a["item_trend"] == pytest.approx(np.log1p(2 / 0.5) - np.log1p(2 / 0.75))
    assert (a["item_events_per_user"], a["item_days_since_sold"], a["item_days_since_first_sold"]) == (1.5, 0, 65)
    assert b["item_users"] == pytest.approx(np.log1p(1 / 1.0))
    assert c["item_days_since_sold"] == 35
    assert (d["item_sales"], d["item_events_per_user"], d["item_days_since_sold"]) == (0, 0, 180)


def test_user_features_by_hand(log: Interactions, users: pa.Table) -> None:
    table = user_features(log, users.slice(1))
    assert table.column_names == ["user_id", "segment", "industry", "region", *USER_FEATURES]
    one, two = by_id(table, "user_id").values()  # u3 comes later
    assert (one["segment"], two["segment"]) == (None, "retailer")  # u1 is not in the users' table
    assert (one["user_known"], one["user_days_since_order"], one["user_days_between_orders"]) == (1, 5, 60)
    assert one["user_orders"] == pytest.approx(np.log1p(2))
    assert one["user_repeat_share"] == pytest.approx(1 / 3)
    assert (two["user_days_since_order"], two["user_days_between_orders"], two["user_repeat_share"]) == (0, 35, 0)


def test_pair_features_by_hand(log: Interactions, items: pa.Table) -> None:
    table = pair_features(log, items, np.array([1, 0]))
    assert table.column_names == ["user_id", "item_id", *PAIR_FEATURES]
    found = by_id(table, "user_id", "item_id")
    assert list(found) == [("u2", "a"), ("u2", "c"), ("u1", "a"), ("u1", "b")]
    again = found["u1", "a"]
    assert (again["pair_days_since"], again["pair_interval"], again["pair_order_share"]) == (5, 60, 1)
    assert again["pair_due"] == pytest.approx(5 / 60)
    assert again["pair_category_share"] == 1
    assert found["u2", "a"]["pair_category_share"] == pytest.approx(0.5)
    assert (found["u1", "b"]["pair_interval"], found["u1", "b"]["pair_orders_since"]) == (-1, 1)


def test_the_tables_hold_the_arrays_of_the_ranker(log: Interactions, items: pa.Table, users: pa.Table) -> None:
    table = item_features(log, items)
    found = np.stack([table[name].to_numpy() for name in ITEM_FEATURES], axis=1)
    np.testing.assert_array_equal(found, ranker_item_features(log, 30.0))
    table = user_features(log, users)
    found = np.stack([table[name].to_numpy() for name in USER_FEATURES], axis=1)
    np.testing.assert_array_equal(found, UserPairFeatures.from_log(log).users)


def test_attributes_are_those_of_the_newest_state_at_the_newest_event(log: Interactions, items: pa.Table) -> None:
    last = log.last_event
    states = [
        {"item_id": "a", "title": title, "valid_from": last + timedelta(microseconds=after)}
        for title, after in (("then", 0), ("later", 1))
    ]
    rows = [dict.fromkeys(schema.ITEMS.names) | row for row in states]
    changed = pa.concat_tables([items, pa.Table.from_pylist(rows, schema.ITEMS)])
    assert by_id(item_features(log, changed), "item_id")["a"]["title"] == "then"


def test_without_dates_or_descriptions_there_are_features_but_no_attributes(log: Interactions) -> None:
    undated = replace(log, dated=False, horizon_days=None)
    table = item_features(undated, schema.ITEMS.empty_table())
    assert table["title"].null_count == table.num_rows == 4
    assert table["item_days_since_sold"].to_pylist() == [0, 0, 0, 6]  # 6 horizons of a day
    table = user_features(undated, schema.USERS.empty_table())
    assert table["user_days_since_order"].to_pylist() == [-1, -1]
    pairs = pair_features(undated, schema.ITEMS.empty_table(), np.array([0]))
    assert pairs["pair_category_share"].to_pylist() == [1, 1]  # all items are in the unknown category


def test_without_a_horizon_it_is_a_tenth_of_the_span_or_a_day(log: Interactions) -> None:
    assert feature_horizon_days(log) == 30
    assert feature_horizon_days(replace(log, horizon_days=None)) == pytest.approx(6.5)
    assert feature_horizon_days(replace(log, horizon_days=None).select(log.ages() < 1)) == 1


def test_categories_are_numbered_by_name() -> None:
    assert category_numbers(np.array(["tape", "", "box", "tape"])).tolist() == [2, 0, 1, 2]
