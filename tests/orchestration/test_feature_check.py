"""The feature check on correct tables and on tables that know rows after the cut."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration import checks
from recommenders.datasets.spec import Protocol
from recommenders.errors import DataError
from recommenders.features.tables import item_features, user_features
from recommenders.splitting.temporal import cut_time, split, training_log
from recommenders.storage import schema

START = datetime(2026, 1, 1, tzinfo=UTC)
N = 400
TIME_CUT = Protocol(split="time_cut", test_days=20)
ON_SALE = Protocol(split="time_cut", test_days=20, candidates="on_sale")
LATEST_OUT = Protocol(split="latest_out")
PROTOCOLS = {"time_cut": TIME_CUT, "on_sale": ON_SALE, "latest_out": LATEST_OUT}
Tables = tuple[pa.Table, pa.Table]


@pytest.fixture(scope="module")
def log() -> pa.Table:
    """Purchases over 90 days; item i12 is sold on the last day only."""
    rng = np.random.default_rng(0)
    table = pa.table(
        {
            "user_id": [f"u{n}" for n in rng.integers(0, 9, N)],
            "item_id": [*(f"i{n}" for n in rng.integers(0, 12, N - 1)), "i12"],
            "timestamp": pa.array([START + timedelta(days=90 * n / N) for n in range(N)], schema.TIME),
            "event": ["purchase"] * N,
            "weight": pa.array([1.0] * N, pa.float32()),
        }
    )
    return schema.conform(table, schema.INTERACTIONS, "log")


@pytest.fixture(scope="module")
def items() -> pa.Table:
    """Each item, and one whose price changes after the cut."""
    rows = [{"item_id": f"i{n}", "category": f"c{n % 2}", "price": 1.0 + n} for n in range(13)]
    rows.append({**rows[3], "price": 99.0, "valid_from": START + timedelta(days=80)})
    table = pa.Table.from_pylist([{"valid_from": None, **row} for row in rows])
    return schema.conform(table, schema.ITEMS, "items")


@pytest.fixture(scope="module")
def users() -> pa.Table:
    return schema.conform(pa.table({"user_id": [f"u{n}" for n in range(9)]}), schema.USERS, "users")


def stored(parts: pa.Table, items: pa.Table, users: pa.Table, protocol: Protocol) -> Tables:
    """The item and user features as the assets compute them."""
    log = training_log(parts.filter(pc.field("part") != "test"), items, protocol, cut_time(parts))
    return item_features(log, items), user_features(log, users)


def leaky(events: pa.Table, items: pa.Table, users: pa.Table, end: datetime) -> Tables:
    log = training_log(events, items, TIME_CUT, end)
    return item_features(log, items), user_features(log, users)


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_correct_features_pass(log: pa.Table, items: pa.Table, users: pa.Table, protocol: Protocol) -> None:
    parts = split(log, protocol)
    by_item, by_user = stored(parts, items, users, protocol)
    datasets: Any = {"toy": SimpleNamespace(spec=SimpleNamespace(protocol=protocol))}
    context: Any = SimpleNamespace(partition_key="toy")
    result = checks.no_feature_leakage(context, datasets, by_user, by_item, parts, items, users)
    assert result.passed, result.description
    result = checks.no_feature_leakage(context, datasets, by_user.slice(1), by_item, parts, items, users)
    assert not result.passed
    assert str(result.description).startswith("user_features user_id: ")


def test_features_of_the_whole_log_are_found(log: pa.Table, items: pa.Table, users: pa.Table) -> None:
    parts = split(log, TIME_CUT)
    by_item, by_user = leaky(log, items, users, START + timedelta(days=90))
    (found, *_) = checks.feature_leaks(by_item, by_user, parts, items, users, TIME_CUT)
    assert found == "item_features item_id: 13 rows against 12, or other ids"
    without = by_item.filter(pc.field("item_id") != "i12")
    found = " ".join(checks.feature_leaks(without, by_user, parts, items, users, TIME_CUT))
    for name in ("item_features price: 1 ", "item_features item_sales: 12 ", "user_features user_orders: 9 "):
        assert name in found


def test_one_event_after_the_cut_is_found(log: pa.Table, items: pa.Table, users: pa.Table) -> None:
    parts = split(log, TIME_CUT)
    first = parts.filter(pc.field("part") == "test").slice(0, 1)
    seen = pa.concat_tables([parts.filter(pc.field("part") != "test"), first])
    by_item, by_user = leaky(seen, items, users, first["timestamp"][0].as_py())
    found = checks.feature_leaks(by_item, by_user, parts, items, users, TIME_CUT)
    assert "item_features item_sales: 12 of 12 rows" in found
    assert "user_features user_days_since_order: 9 of 9 rows" in found
    (orders,) = (words for words in found if words.startswith("user_features user_orders"))
    assert orders == "user_features user_orders: 1 of 9 rows"


def test_an_event_of_the_test_part_before_the_cut_is_found(log: pa.Table, items: pa.Table, users: pa.Table) -> None:
    """With latest_out the test event of one user is often older than the training events of others."""
    parts = split(log, LATEST_OUT)
    held_out = parts.filter(pc.field("part") == "test").sort_by("timestamp").slice(0, 1)
    assert held_out["timestamp"][0].as_py() < cut_time(parts)
    seen = pa.concat_tables([parts.filter(pc.field("part") != "test"), held_out])
    log_with = training_log(seen, items, LATEST_OUT, cut_time(parts))
    tables = item_features(log_with, items), user_features(log_with, users)
    found = checks.feature_leaks(*tables, parts, items, users, LATEST_OUT)
    assert "user_features user_orders: 1 of 9 rows" in found


def test_wrong_labels_do_not_hide_a_leak(log: pa.Table, items: pa.Table, users: pa.Table) -> None:
    parts = split(log, TIME_CUT)
    column = parts.schema.get_field_index("part")
    labels = pa.array(["train"] * (N - 20) + ["test"] * 20, pa.string())
    wrong = parts.set_column(column, parts.schema.field(column), labels)
    by_item, by_user = stored(wrong, items, users, TIME_CUT)
    assert checks.feature_leaks(by_item, by_user, wrong, items, users, TIME_CUT)


def test_a_description_after_the_cut_is_found(log: pa.Table, items: pa.Table, users: pa.Table) -> None:
    parts = split(log, TIME_CUT)
    newest = items.filter(pc.or_(pc.is_valid(items["valid_from"]), pc.not_equal(items["item_id"], "i3")))
    column = newest.schema.get_field_index("valid_from")
    undated = newest.set_column(column, newest.schema.field(column), pa.nulls(newest.num_rows, schema.TIME))
    tables = stored(parts, undated, users, TIME_CUT)
    found = checks.feature_leaks(*tables, parts, items, users, TIME_CUT)
    assert found == ["item_features price: 1 of 12 rows"]


def test_one_leaking_row_is_found(log: pa.Table, items: pa.Table, users: pa.Table) -> None:
    parts = split(log, TIME_CUT)
    by_item, by_user = stored(parts, items, users, TIME_CUT)
    values = by_item["item_trend"].to_numpy().copy()
    values[0] += 1e-6
    column = by_item.schema.get_field_index("item_trend")
    changed = by_item.set_column(column, by_item.schema.field(column), pa.array(values))
    found = checks.feature_leaks(changed, by_user, parts, items, users, TIME_CUT)
    assert found == [f"item_features item_trend: 1 of {by_item.num_rows} rows"]


EVENTS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5), st.integers(0, 60 * 24)), min_size=3, max_size=40)
STATES = st.lists(
    st.tuples(st.integers(0, 7), *[st.none() | st.integers(0, 60)] * 2), max_size=12, unique_by=lambda row: row[:2]
)


@settings(max_examples=20)
@given(EVENTS, STATES, st.sampled_from(list(PROTOCOLS.values())))
def test_the_assets_of_a_random_log_pass(
    events: list[tuple[int, int, int]], states: list[tuple[int, int | None, int | None]], protocol: Protocol
) -> None:
    def day(number: int | None) -> datetime | None:
        return None if number is None else START + timedelta(days=number)

    rows = [
        {"user_id": f"u{u}", "item_id": f"i{i}", "timestamp": START + timedelta(hours=h), "event": "x", "weight": 1.0}
        for u, i, h in events
    ]
    log = schema.conform(pa.Table.from_pylist(rows), schema.INTERACTIONS, "log")
    described = [
        {**dict.fromkeys(schema.ITEMS.names), "item_id": f"i{i}", "valid_from": day(v), "available_from": day(a)}
        for i, v, a in states
    ]
    items, users = pa.Table.from_pylist(described, schema.ITEMS), schema.USERS.empty_table()
    try:
        parts = split(log, protocol)
    except DataError:  # too short a log
        return
    assert checks.feature_leaks(*stored(parts, items, users, protocol), parts, items, users, protocol) == []
