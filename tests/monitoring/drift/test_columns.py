"""Columns, buckets and windows of a drift check, on logs small enough to count by hand."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import t as student

from monitoring.drift import shift
from monitoring.drift.shift import Log, chance_windows, distance, encode, halves, limits, past_windows, prediction_limit
from recommenders.storage.schema import INTERACTIONS, ITEMS, USERS, conform

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY, NAN = 86_400.0, float("nan")


def events(*rows: dict[str, Any]) -> pa.Table:
    """Purchases, one a row: item, user, day and what else is known."""
    usual = {"user_id": "u", "item_id": "a", "event": "purchase", "weight": 1.0}
    table = [{**usual, "timestamp": START + timedelta(days=row.pop("day", 0)), **row} for row in map(dict, rows)]
    columns = {name: [row.get(name) for row in table] for name in INTERACTIONS.names}
    return conform(pa.table({n: pa.array(v, INTERACTIONS.field(n).type) for n, v in columns.items()}), INTERACTIONS, "")


def items(**categories: str | None) -> pa.Table:
    return conform(pa.table({"item_id": list(categories), "category": list(categories.values())}), ITEMS, "items")


def dated(before: list[float], now: list[float], orders: list[int] | None = None) -> Log:
    """Only times, in days, and orders."""
    seconds = np.array([*before, *now]) * DAY
    codes = np.arange(len(seconds)) if orders is None else np.array([*orders, *[0] * len(now)])
    return Log(len(before), {}, {}, {}, np.zeros(len(seconds), np.int32), seconds, codes.astype(np.int32))


def test_labels_are_those_of_items_and_users_and_rare_ones_are_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shift, "LABELS_KEPT", 2)
    users = conform(pa.table({"user_id": ["u"], "segment": ["shops"], "region": [None]}), USERS, "users")
    reference = events(*({"item_id": item} for item in "aabbbc"))
    current = events({"item_id": "c"}, {"item_id": "c"}, {"item_id": "c"}, {"item_id": "d"}, {"user_id": "v"})
    log = encode(reference, current, items(a="anvils", b="bolts", c="chains", d=None), users)
    assert log.n_reference == 6
    assert log.names["category"] == ("bolts", "anvils", "other")  # the commonest of the reference first
    assert log.labels["category"].tolist() == [1, 1, 0, 0, 0, 2, 2, 2, 2, -1, 1]
    assert log.labels["segment"].tolist() == [0] * 10 + [-1]
    assert set(log.labels["region"].tolist()) == {-1}
    assert set(encode(reference, current, items(a="anvils"), None).labels) == {"category"}
    assert log.kinds == {
        **dict.fromkeys(("category", "segment", "region", "popularity"), "label"),
        **dict.fromkeys(("log_unit_price", "log_quantity", "rating"), "number"),
    }


def test_numbers_are_logarithms_and_unknown_where_there_is_none() -> None:
    log = encode(
        events({"unit_price": 0.5, "quantity": 0.0}), events({"unit_price": -1.0, "rating": 4.0}), items(), None
    )
    np.testing.assert_allclose(log.numbers["log_unit_price"], [np.log(0.5), NAN])
    np.testing.assert_allclose(log.numbers["log_quantity"], [NAN, NAN])
    np.testing.assert_allclose(log.numbers["rating"], [NAN, 4.0])
    assert log.column("log_unit_price", np.array([0, 1]), np.array([0])).tolist() == [np.log(0.5)]


@pytest.mark.parametrize(("n_values", "is_clipped"), [(20, False), (21, True)])
def test_tails_of_many_values_are_cut_where_those_of_the_reference_end(n_values: int, is_clipped: bool) -> None:
    stars = np.arange(1.0, n_values + 1)
    log = encode(
        events(*({"rating": star} for star in stars)), events({"rating": 0.5}, {"rating": 900.0}), items(), None
    )
    low, high = np.quantile(stars, [0.005, 0.995]) if is_clipped else (0.5, 900.0)
    np.testing.assert_allclose(log.numbers["rating"][-2:], [low, high])
    np.testing.assert_allclose(log.numbers["rating"][:-2], np.clip(stars, low, high))


def test_without_orders_a_day_of_a_user_is_one() -> None:
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


def test_buckets_are_fifths_of_the_events_the_most_bought_first() -> None:
    bought = np.repeat(np.arange(10), [1, 1, 1, 1, 1, 1, 1, 1, 1, 11])
    log = Log(20, {}, {}, {}, np.append(bought, 10).astype(np.int32), np.zeros(21), np.arange(21, dtype=np.int32))
    bucket = log.buckets(np.arange(20))
    # item 9 lies about 5.5 of 20 events, the second fifth; then come the others, half an event further each
    middles = np.array([*(11.5 + np.arange(9)), 5.5]) / 20
    assert bucket[:20].tolist() == (middles * 5).astype(int)[bought].tolist()
    assert bucket[20] == -1  # nobody had bought it
    assert log.buckets(np.array([20])).tolist() == [-1] * 20 + [2]
    assert (log.buckets(np.array([], np.int64)) == -1).all()
    one_each = Log(3, {}, {}, {}, np.array([0, 1, 2], np.int32), np.zeros(3), np.arange(3, dtype=np.int32))
    assert one_each.buckets(np.arange(3)).tolist() == [0, 2, 4]


def test_psi_is_its_formula_and_an_empty_bin_gets_a_trifle() -> None:
    def psi(was: list[float], now: list[float]) -> float:
        return sum((a - b) * np.log(a / b) for a, b in zip(was, now, strict=True))

    first, second = np.array([1.0, 1, 1, 2]), np.array([1.0, 2, 2, 2])
    assert distance(first, second, "number") == pytest.approx(psi([0.75, 0.25], [0.25, 0.75]))
    assert distance(first, np.array([1.0, 3]), "number") == pytest.approx(psi([0.75, 0.25, 1e-4], [0.5, 1e-4, 0.5]))
    rare = np.array([1.0] * 19_999 + [2.0])  # a share of 5e-5, so an empty bin beside it holds a millionth of that
    assert distance(rare, np.array([1.0, 3.0]), "number") == pytest.approx(
        psi([19_999 / 20_000, 5e-5, 5e-11], [0.5, 1e-4, 0.5])
    )
    ten_thousandth = np.array([1.0] * 9_999 + [2.0])
    assert distance(ten_thousandth, np.array([1.0, 3.0]), "number") == pytest.approx(
        psi([0.9999, 1e-4, 1e-10], [0.5, 1e-4, 0.5])
    )


@pytest.mark.parametrize(("n_values", "is_binned"), [(20, False), (21, True)])
def test_many_values_are_put_into_bins(n_values: int, is_binned: bool) -> None:
    """Neighbouring values share a bin, so that a shift by a hair is none."""
    values = np.arange(n_values, dtype=float)
    assert (distance(values, values + 1e-9, "number") < 0.1) == is_binned
    assert distance(values, values + 1e-9, "label") > 0.8


def test_past_windows_are_as_long_as_the_current_one_the_newest_first() -> None:
    log = dated([*range(60)], [60, 69])  # nine days each; six whole ones lie in 59 days
    windows = past_windows(log, 9)
    assert [np.flatnonzero(window).tolist() for window in windows] == [
        [*range(51 - 9 * block, 60 - 9 * block)] for block in range(6)
    ]
    assert past_windows(log, 10) == []
    assert len(past_windows(log, 9, most=4)) == 4
    np.testing.assert_array_equal(past_windows(log, 9, most=1)[0], windows[0])
    hours = dated([0, 1 / 24, 2 / 24, 2.5 / 24], [1, 1])  # a current window without length counts as an hour
    assert [np.flatnonzero(window).tolist() for window in past_windows(hours, 1)] == [[2, 3], [1]]


def test_chance_windows_are_whole_orders_about_as_many_as_the_current_ones() -> None:
    orders = [order for order in range(200) for _ in range(5)]
    for n_now, share in ((200, 0.2), (900, 0.5)):
        drawn = chance_windows(dated([0.0] * 1000, [1.0] * n_now, orders), np.random.default_rng(0))
        assert len(drawn) == 30
        assert np.mean(drawn) == pytest.approx(share, abs=0.02)
        assert all(len(set(window.reshape(200, 5).sum(axis=1).tolist()) - {0, 5}) == 0 for window in drawn)
        assert not np.array_equal(drawn[0], drawn[1])


def test_a_half_of_the_orders_teaches() -> None:
    orders = [order for order in range(400) for _ in range(3)]
    half = halves(dated([0.0] * 1200, [1.0], orders), np.random.default_rng(0))
    assert len(half) == 1201
    assert np.mean(half) == pytest.approx(0.5, abs=0.06)
    assert set(half[:1200].reshape(400, 3).sum(axis=1).tolist()) == {0, 3}


def test_the_limit_is_students_prediction_interval_or_the_floor() -> None:
    assert prediction_limit(np.array([1.0, 2.0, NAN, 3.0]), 0.05) == pytest.approx(
        2 + np.sqrt(1 + 1 / 3) * student.ppf(0.95, 2)
    )
    assert prediction_limit(np.array([1.0, 3.0]), 0.5) == pytest.approx(2.0)
    assert prediction_limit(np.array([1.0]), 0.05) == 0
    rng = np.random.default_rng(1)
    n = 2200  # ten past windows of the current one's 200 events
    numbers = {"rating": rng.integers(1, 6, n).astype(float)}
    log = Log(
        2000, numbers, {}, {}, rng.integers(0, 50, n).astype(np.int32), np.arange(n) * DAY, np.arange(n, dtype=np.int32)
    )
    floors: dict[shift.Kind, float] = {"number": 0.0, "label": 0.0}
    found = limits(log, floors, 2000, 100, 0.02, np.random.default_rng(0))
    assert set(found) == {"rating", "popularity"}
    assert 0 < found["rating"] < 0.5
    assert limits(log, {"number": 0.5, "label": 0.0}, 2000, 100, 0.02, np.random.default_rng(0)) == found | {
        "rating": 0.5
    }
    # fewer alarms, higher limits; each column has its half of the rate
    rarer = limits(log, floors, 2000, 100, 0.002, np.random.default_rng(0))
    assert all(rarer[name] > found[name] for name in found)


class Watched(Log):
    """A log that keeps which rows it compares: (learn, judged, window) of each time."""

    compared: list[tuple[np.ndarray, np.ndarray, np.ndarray]]

    def measure(self, learn: np.ndarray, judged: np.ndarray, window: np.ndarray) -> dict[str, float]:
        self.compared.append((learn, judged, window))
        return super().measure(learn, judged, window)


def watched(n_before: int, n_now: int) -> Watched:
    """An event a day."""
    n = n_before + n_now
    log = Watched(
        n_before, {}, {}, {}, np.arange(n, dtype=np.int32) % 3, np.arange(n) * DAY, np.arange(n, dtype=np.int32)
    )
    object.__setattr__(log, "compared", [])
    return log


def test_a_past_window_is_compared_as_the_current_one_with_rows_that_did_not_teach() -> None:
    floors: dict[shift.Kind, float] = {"number": 0.0, "label": 0.0}
    log = watched(700, 21)  # windows of 20 days hold 20 events, or 21
    limits(log, floors, 100, 10, 0.02, np.random.default_rng(0))
    assert len(log.compared) == 20
    for learn, judged, window in log.compared:
        assert not {*learn} & {*judged} | {*learn} & {*window} | {*judged} & {*window}
        assert len(judged) == 100  # as many as may be
        assert 20 <= len(window) <= 21
        assert 300 < len(learn) < 380
        assert max(learn) < 700
        assert np.ptp(window) < 21
    crowded = watched(700, 0)
    now = np.array([700.0, 720.0]) * DAY  # two events in as long a window: the past ones are thinned to two
    crowded = Watched(
        700, {}, {}, {}, np.arange(702, dtype=np.int32) % 3, np.append(crowded.seconds, now), np.arange(702)
    )
    object.__setattr__(crowded, "compared", [])
    limits(crowded, floors, 100, 10, 0.02, np.random.default_rng(0))
    assert {len(window) for _, _, window in crowded.compared} == {2}


@pytest.mark.parametrize(("n_days", "by_chance"), [(121, False), (120, True)])
def test_fewer_than_six_past_windows_are_replaced_by_chance(
    n_days: int, by_chance: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Log] = []

    def drawn(log: Log, rng: np.random.Generator) -> list[np.ndarray]:
        asked.append(log)
        return chance_windows(log, rng)

    monkeypatch.setattr(shift, "chance_windows", drawn)
    limits(watched(n_days, 21), {"number": 0.0, "label": 0.0}, 100, 1, 0.02, np.random.default_rng(0))
    assert bool(asked) == by_chance
