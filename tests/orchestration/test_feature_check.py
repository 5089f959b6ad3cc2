"""The feature check on correct tables and on tables with events after the cut."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from orchestration import checks
from recommenders.datasets.spec import Protocol
from recommenders.features.tables import item_features, user_features
from recommenders.splitting.temporal import cut_time, split
from recommenders.storage import schema

START = datetime(2026, 1, 1, tzinfo=UTC)
N = 400


@pytest.fixture(scope="module")
def parts() -> pa.Table:
    """Purchases over 90 days; each tenth is returned 25 days later; the last 20 days are the test window."""
    rng = np.random.default_rng(0)
    times = [START + timedelta(days=90 * n / N) for n in range(N)]
    table = pa.table(
        {
            "user_id": [f"u{n}" for n in rng.integers(0, 9, N)],
            "item_id": [f"i{n}" for n in rng.integers(0, 12, N)],
            "timestamp": pa.array(times, schema.TIME),
            "event": ["purchase"] * N,
            "weight": pa.array([1.0] * N, pa.float32()),
            "quantity": [2.0] * N,
            "unit_price": rng.uniform(1, 9, N),
            "returned_quantity": [1.0 if n % 10 == 0 else None for n in range(N)],
            "returned_at": pa.array([t + timedelta(days=25) if n % 10 == 0 else None for n, t in enumerate(times)]),
        }
    )
    return split(schema.conform(table, schema.INTERACTIONS, "log"), Protocol(split="time_cut", test_days=20))


@pytest.fixture(scope="module")
def items() -> pa.Table:
    """Each item, and one whose price changes after the cut."""
    rows = [{"item_id": f"i{n}", "category": f"c{n % 2}", "price": 1.0 + n} for n in range(12)]
    rows.append({**rows[3], "price": 99.0, "valid_from": START + timedelta(days=80)})
    table = pa.Table.from_pylist([{"valid_from": None, **row} for row in rows])
    return schema.conform(table, schema.ITEMS, "items")


@pytest.fixture(scope="module")
def users() -> pa.Table:
    return schema.conform(pa.table({"user_id": [f"u{n}" for n in range(9)]}), schema.USERS, "users")


def test_correct_features_pass(parts: pa.Table, items: pa.Table, users: pa.Table) -> None:
    cut = cut_time(parts)
    correct = item_features(parts, items, cut), user_features(parts, users, cut, items)
    result = checks.no_feature_leakage(correct[1], correct[0], parts, items, users)
    assert result.passed, result.description


def test_features_of_the_whole_log_are_found(parts: pa.Table, items: pa.Table, users: pa.Table) -> None:
    end = START + timedelta(days=90)
    leaky = item_features(parts, items, end), user_features(parts, users, end, items)
    result = checks.no_feature_leakage(leaky[1], leaky[0], parts, items, users)
    assert not result.passed
    for name in ("item_features n_orders", "item_features price:", "user_features spend"):
        assert name in str(result.description)


def test_a_counted_return_after_the_cut_is_found(parts: pa.Table, items: pa.Table, users: pa.Table) -> None:
    """Spend that subtracts every return, also those after the cut; everything else is correct."""
    cut = cut_time(parts)
    place = parts.schema.get_field_index("returned_at")
    at_once = parts.set_column(place, parts.schema.field(place), parts["timestamp"])
    leaky = user_features(at_once, users, cut, items)
    found = checks.feature_leaks(item_features(parts, items, cut), leaky, parts, items, users)
    assert {words.split(":")[0] for words in found} == {"user_features spend", "user_features mean_order_value"}


def test_one_leaking_row_is_found(parts: pa.Table, items: pa.Table, users: pa.Table) -> None:
    cut = cut_time(parts)
    correct = item_features(parts, items, cut)
    counts = [n + (row == 0) for row, n in enumerate(correct["n_buyers"].to_pylist())]
    place = correct.schema.get_field_index("n_buyers")
    leaky = correct.set_column(place, correct.schema.field(place), pa.array(counts, pa.int64()))
    found = checks.feature_leaks(leaky, user_features(parts, users, cut, items), parts, items, users)
    assert found == [f"item_features n_buyers: 1 of {correct.num_rows} rows"]
