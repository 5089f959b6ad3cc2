"""Columns, buckets and windows of a drift report, on logs that are small enough to count by hand."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import t as student

from monitoring.drift import shift
from monitoring.drift.shift import (
    EncodedLog,
    distance,
    encode,
    limits,
    past_windows,
    prediction_limit,
    random_half,
    random_windows,
)
from recommenders.storage.schema import INTERACTIONS, ITEMS, USERS, conform

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY, NAN = 86_400.0, float("nan")


def events(*rows: dict[str, Any]) -> pa.Table:
    """Purchases, one per row: item, user, day and other columns."""
    usual = {"user_id": "u", "item_id": "a", "event": "purchase", "weight": 1.0}
    table = [{**usual, "timestamp": START + timedelta(days=row.pop("day", 0)), **row} for row in map(dict, rows)]
    columns = {name: [row.get(name) for row in table] for name in INTERACTIONS.names}
    return conform(pa.table({n: pa.array(v, INTERACTIONS.field(n).type) for n, v in columns.items()}), INTERACTIONS, "")


def items(**categories: str | None) -> pa.Table:
    return conform(pa.table({"item_id": list(categories), "category": list(categories.values())}), ITEMS, "items")


def dated(before: list[float], now: list[float], orders: list[int] | None = None) -> EncodedLog:
    """A log with only times, in days, and orders."""
    seconds = np.array([*before, *now]) * DAY
    codes = np.arange(len(seconds)) if orders is None else np.array([*orders, *[0] * len(now)])
    return EncodedLog(len(before), {}, {}, {}, np.zeros(len(seconds), np.int32), seconds, codes.astype(np.int32))


def test_labels_come_from_items_and_users_and_rare_labels_become_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shift, "MAX_LABELS", 2)
    users = conform(pa.table({"user_id": ["u"], "segment": ["shops"], "region": [None]}), USERS, "users")
    reference = events(*({"item_id": item} for item in "aabbbc"))
    current = events({"item_id": "c"}, {"item_id": "c"}, {"item_id": "c"}, {"item_id": "d"}, {"user_id": "v"})
    log = encode(reference, current, items(a="anvils", b="bolts", c="chains", d=None), users)
    assert log.n_reference == 6
    assert log.names["category"] == ("bolts", "anvils", "other")  # the most common of the reference first
    assert log.labels["category"].tolist() == [1, 1, 0, 0, 0, 2, 2, 2, 2, -1, 1]
    assert log.labels["segment"].tolist() == [0] * 10 + [-1]
    assert set(log.labels["region"].tolist()) == {-1}
    assert set(encode(reference, current, items(a="anvils"), None).labels) == {"category"}
    assert log.column_types == {
        **dict.fromkeys(("category", "segment", "region", "popularity"), "categorical"),
        **dict.fromkeys(("log_unit_price", "log_quantity", "rating"), "numerical"),
    }


def test_numbers_are_logarithms_and_nan_where_there_is_none() -> None:
    log = encode(
        events({"unit_price": 0.5, "quantity": 0.0}), events({"unit_price": -1.0, "rating": 4.0}), items(), None
    )
    np.testing.assert_allclose(log.numbers["log_unit_price"], [np.log(0.5), NAN])
    np.testing.assert_allclose(log.numbers["log_quantity"], [NAN, NAN])
    np.testing.assert_allclose(log.numbers["rating"], [NAN, 4.0])
    assert log.column("log_unit_price", np.array([0, 1]), np.array([0])).tolist() == [np.log(0.5)]


@pytest.mark.parametrize(("n_values", "is_clipped"), [(20, False), (21, True)])
def test_tails_are_clipped_to_those_of_the_reference(n_values: int, is_clipped: bool) -> None:
    stars = np.arange(1.0, n_values + 1)
    log = encode(
        events(*({"rating": star} for star in stars)), events({"rating": 0.5}, {"rating": 900.0}), items(), None
    )
    low, high = np.quantile(stars, [0.005, 0.995]) if is_clipped else (0.5, 900.0)
    np.testing.assert_allclose(log.numbers["rating"][-2:], [low, high])
    np.testing.assert_allclose(log.numbers["rating"][:-2], np.clip(stars, low, high))


def test_without_order_ids_the_day_of_a_user_is_an_order() -> None:
    log = encode(
        events({"day": 0.1}, {"day": 0.9}, {"day": 1.1}, {"day": 0.5, "user_id": "v"}, {"day": 0.5, "order_id": "x"}),
        events({"day": 9, "order_id": "x"}),
        items(),
        None,
    )
    codes = log.orders.tolist()
    assert codes[0] == codes[1]
    assert codes[4] == codes[5]
    assert len(set(codes)) == 4
    assert log.seconds[0] == START.timestamp() + 0.1 * DAY


def test_buckets_are_fifths_of_the_events_most_bought_items_first() -> None:
    bought = np.repeat(np.arange(10), [1, 1, 1, 1, 1, 1, 1, 1, 1, 11])
    log = EncodedLog(
        20, {}, {}, {}, np.append(bought, 10).astype(np.int32), np.zeros(21), np.arange(21, dtype=np.int32)
    )
    bucket = log.popularity_buckets(np.arange(20))
    # item 9 has its middle at 5.5 of 20 events, the second fifth; the others follow, one event each
    middles = np.array([*(11.5 + np.arange(9)), 5.5]) / 20
    assert bucket[:20].tolist() == (middles * 5).astype(int)[bought].tolist()
    assert bucket[20] == -1  # not bought in bucket_rows
    assert log.popularity_buckets(np.array([20])).tolist() == [-1] * 20 + [2]
    assert (log.popularity_buckets(np.array([], np.int64)) == -1).all()
    one_each = EncodedLog(3, {}, {}, {}, np.array([0, 1, 2], np.int32), np.zeros(3), np.arange(3, dtype=np.int32))
    assert one_each.popularity_buckets(np.arange(3)).tolist() == [0, 2, 4]


def test_psi_matches_its_formula_and_an_empty_bin_gets_a_small_share() -> None:
    def psi(was: list[float], now: list[float]) -> float:
        return sum((a - b) * np.log(a / b) for a, b in zip(was, now, strict=True))

    first, second = np.array([1.0, 1, 1, 2]), np.array([1.0, 2, 2, 2])
    assert distance(first, second, "numerical") == pytest.approx(psi([0.75, 0.25], [0.25, 0.75]))
    assert distance(first, np.array([1.0, 3]), "numerical") == pytest.approx(psi([0.75, 0.25, 1e-4], [0.5, 1e-4, 0.5]))
    rare = np.array([1.0] * 19_999 + [2.0])  # a share of 5e-5, so an empty bin gets a millionth of it
    assert distance(rare, np.array([1.0, 3.0]), "numerical") == pytest.approx(
        psi([19_999 / 20_000, 5e-5, 5e-11], [0.5, 1e-4, 0.5])
    )
    ten_thousandth = np.array([1.0] * 9_999 + [2.0])
    assert distance(ten_thousandth, np.array([1.0, 3.0]), "numerical") == pytest.approx(
        psi([0.9999, 1e-4, 1e-10], [0.5, 1e-4, 0.5])
    )


@pytest.mark.parametrize(("n_values", "is_binned"), [(20, False), (21, True)])
def test_many_values_are_binned(n_values: int, is_binned: bool) -> None:
    """Close values share a bin, so a very small shift has no effect."""
    values = np.arange(n_values, dtype=float)
    assert (distance(values, values + 1e-9, "numerical") < 0.1) == is_binned
    assert distance(values, values + 1e-9, "categorical") > 0.8


def test_past_windows_have_the_current_length_and_the_newest_is_first() -> None:
    log = dated([*range(60)], [60, 69])  # nine days each; six whole windows in 59 days
    windows = past_windows(log, 9)
    assert [np.flatnonzero(window).tolist() for window in windows] == [
        [*range(51 - 9 * block, 60 - 9 * block)] for block in range(6)
    ]
    assert past_windows(log, 10) == []
    assert len(past_windows(log, 9, max_windows=4)) == 4
    np.testing.assert_array_equal(past_windows(log, 9, max_windows=1)[0], windows[0])
    hours = dated([0, 1 / 24, 2 / 24, 2.5 / 24], [1, 1])  # a current window without length counts as an hour
    assert [np.flatnonzero(window).tolist() for window in past_windows(hours, 1)] == [[2, 3], [1]]


def test_random_windows_contain_whole_orders_and_about_as_many_events() -> None:
    orders = [order for order in range(200) for _ in range(5)]
    for n_now, share in ((200, 0.2), (900, 0.5)):
        drawn = random_windows(dated([0.0] * 1000, [1.0] * n_now, orders), np.random.default_rng(0))
        assert len(drawn) == 30
        assert np.mean(drawn) == pytest.approx(share, abs=0.02)
        assert all(len(set(window.reshape(200, 5).sum(axis=1).tolist()) - {0, 5}) == 0 for window in drawn)
        assert not np.array_equal(drawn[0], drawn[1])


def test_random_half_contains_half_of_the_orders() -> None:
    orders = [order for order in range(400) for _ in range(3)]
    half = random_half(dated([0.0] * 1200, [1.0], orders), np.random.default_rng(0))
    assert len(half) == 1201
    assert np.mean(half) == pytest.approx(0.5, abs=0.06)
    assert set(half[:1200].reshape(400, 3).sum(axis=1).tolist()) == {0, 3}


def test_limit_is_the_prediction_limit_of_student_or_the_floor() -> None:
    assert prediction_limit(np.array([1.0, 2.0, NAN, 3.0]), 0.05) == pytest.approx(
        2 + np.sqrt(1 + 1 / 3) * student.ppf(0.95, 2)
    )
    assert prediction_limit(np.array([1.0, 3.0]), 0.5) == pytest.approx(2.0)
    assert prediction_limit(np.array([1.0]), 0.05) == 0
    rng = np.random.default_rng(1)
    n = 2200  # ten past windows of the current one's 200 events
    numbers = {"rating": rng.integers(1, 6, n).astype(float)}
    log = EncodedLog(
        2000, numbers, {}, {}, rng.integers(0, 50, n).astype(np.int32), np.arange(n) * DAY, np.arange(n, dtype=np.int32)
    )
    floors: dict[shift.ColumnType, float] = {"numerical": 0.0, "categorical": 0.0}
    found = limits(log, floors, 2000, 100, 0.02, np.random.default_rng(0))
    assert set(found) == {"rating", "popularity"}
    assert 0 < found["rating"] < 0.5
    assert limits(log, {"numerical": 0.5, "categorical": 0.0}, 2000, 100, 0.02, np.random.default_rng(0)) == found | {
        "rating": 0.5
    }
    # fewer alarms, higher limits; each column has half of the rate
    rarer = limits(log, floors, 2000, 100, 0.002, np.random.default_rng(0))
    assert all(rarer[name] > found[name] for name in found)


class RecordingLog(EncodedLog):
    """A log that records the rows of each comparison: (bucket_rows, tested, window)."""

    compared: list[tuple[np.ndarray, np.ndarray, np.ndarray]]

    def distances(self, bucket_rows: np.ndarray, tested: np.ndarray, window: np.ndarray) -> dict[str, float]:
        self.compared.append((bucket_rows, tested, window))
        return super().distances(bucket_rows, tested, window)


def recording_log(n_before: int, n_now: int) -> RecordingLog:
    """A log with one event per day."""
    n = n_before + n_now
    log = RecordingLog(
        n_before, {}, {}, {}, np.arange(n, dtype=np.int32) % 3, np.arange(n) * DAY, np.arange(n, dtype=np.int32)
    )
    object.__setattr__(log, "compared", [])
    return log


def test_past_windows_are_compared_like_the_current_one_without_bucket_rows() -> None:
    floors: dict[shift.ColumnType, float] = {"numerical": 0.0, "categorical": 0.0}
    log = recording_log(700, 21)  # windows of 20 days hold 20 events, or 21
    limits(log, floors, 100, 10, 0.02, np.random.default_rng(0))
    assert len(log.compared) == 20
    for bucket_rows, tested, window in log.compared:
        assert not {*bucket_rows} & {*tested} | {*bucket_rows} & {*window} | {*tested} & {*window}
        assert len(tested) == 100  # max_rows
        assert 20 <= len(window) <= 21
        assert 300 < len(bucket_rows) < 380
        assert max(bucket_rows) < 700
        assert np.ptp(window) < 21
    sparse = recording_log(700, 0)
    now = np.array([700.0, 720.0]) * DAY  # two events in a window of that length: past windows are subsampled to two
    sparse = RecordingLog(
        700, {}, {}, {}, np.arange(702, dtype=np.int32) % 3, np.append(sparse.seconds, now), np.arange(702)
    )
    object.__setattr__(sparse, "compared", [])
    limits(sparse, floors, 100, 10, 0.02, np.random.default_rng(0))
    assert {len(window) for _, _, window in sparse.compared} == {2}


@pytest.mark.parametrize(("n_days", "is_random"), [(121, False), (120, True)])
def test_fewer_than_six_past_windows_are_replaced_by_random_windows(
    n_days: int, is_random: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[EncodedLog] = []

    def drawn(log: EncodedLog, rng: np.random.Generator) -> list[np.ndarray]:
        calls.append(log)
        return random_windows(log, rng)

    monkeypatch.setattr(shift, "random_windows", drawn)
    limits(recording_log(n_days, 21), {"numerical": 0.0, "categorical": 0.0}, 100, 1, 0.02, np.random.default_rng(0))
    assert bool(calls) == is_random
