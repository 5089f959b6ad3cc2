"""The limits of drift are rarely reached without drift, and shifts of the events reach them."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from monitoring.drift.report import ALARM_RATE, FLOORS, MIN_ROWS, verdicts
from monitoring.drift.shift import (
    MIN_PAST_WINDOWS,
    EncodedLog,
    distance,
    encode,
    limits,
    past_windows,
    prediction_limit,
    random_half,
    random_windows,
    shares,
    subsample,
)


def fired(log: EncodedLog, seed: int = 0) -> list[str]:
    """The columns of a log whose distances reach their limits."""
    rng = np.random.default_rng(seed)
    threshold = limits(log, FLOORS, 20_000, MIN_ROWS, ALARM_RATE, rng)
    half, rows = random_half(log, rng)[: log.n_reference], np.arange(log.n_reference)
    window = np.arange(log.n_reference, log.seconds.size)
    return [name for name, score in log.distances(rows[half], rows[~half], window).items() if score >= threshold[name]]


@pytest.mark.parametrize("days", [120, 60], ids=["past windows", "random windows"])
def test_no_drift_no_alarm(market, days):
    alarms = 0
    for seed in range(6):
        log = encode(market.window(seed, 0, days), market.window(seed, days, 14), market.items, market.users)
        assert (len(past_windows(log, MIN_ROWS)) >= MIN_PAST_WINDOWS) == (days == 120)
        alarms += bool(fired(log, seed))
    assert alarms == 0


def test_resampled_orders_no_alarm(market):
    """Orders of one log are assigned to both sides at random: there is certainly no drift."""
    table = market.window(0, 0, 120)
    orders = table["order_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    alarms = 0
    for seed in range(5):
        newest = np.isin(orders, np.random.default_rng(seed).choice(orders.max(), 300, replace=False))
        log = encode(table.filter(pa.array(~newest)), table.filter(pa.array(newest)), market.items, None)
        alarms += bool(fired(log, seed))
    assert alarms == 0


def test_buckets_from_the_tested_rows_give_false_alarms(market):
    """Why buckets are made from the other half: items are more popular in the rows that define their bucket."""
    few = {"orders_a_day": 3}
    log = encode(market.window(0, 0, 120, **few), market.window(0, 120, 30, **few), market.items, None)
    half, rows = random_half(log, np.random.default_rng(0))[: log.n_reference], np.arange(log.n_reference)
    window = np.arange(log.n_reference, log.seconds.size)
    other_half = log.distances(rows[half], rows[~half], window)["popularity"]
    same_half = log.distances(rows[~half], rows[~half], window)["popularity"]
    assert same_half > 1.5 * other_half


def test_new_items_have_no_bucket(market):
    reference, current = market.window(0, 0, 60), market.window(0, 60, 14)
    ids = pa.array([f"new{n}" for n in range(current.num_rows)])
    launched = current.set_column(1, current.schema.field("item_id"), ids)
    log = encode(reference, launched, market.items, None)
    bucket_rows = np.arange(log.n_reference)
    assert log.column("popularity", np.arange(log.n_reference, log.items.size), bucket_rows).size == 0
    assert np.isnan(log.distances(bucket_rows, bucket_rows, np.arange(log.n_reference, log.items.size))["popularity"])


def test_buckets_hold_a_fifth_of_events_each(market):
    log = encode(market.window(0, 0, 120), market.window(0, 120, 14), market.items, None)
    rows = np.arange(log.n_reference)
    part = shares(log.column("popularity", rows, rows), np.arange(5.0))
    assert np.allclose(part, 0.2, atol=0.06)


def test_one_extreme_value_does_not_hide_a_shift(market):
    reference, current = market.window(0, 0, 120), market.window(0, 120, 14, price=1.5)
    prices = current["unit_price"].to_numpy().copy()
    prices[0] = 1e12
    current = current.set_column(current.column_names.index("unit_price"), "unit_price", pa.array(prices))
    assert fired(encode(reference, current, market.items, None)) == ["log_unit_price"]


def test_past_windows_are_disjoint_and_as_long_as_the_newest(market):
    log = encode(market.window(0, 0, 120), market.window(0, 120, 14), market.items, None)
    windows = past_windows(log, MIN_ROWS)
    assert len(windows) == 8
    assert np.sum(windows, axis=0).max() == 1
    assert all(np.ptp(log.seconds[: log.n_reference][window]) <= 14 * 86_400 for window in windows)
    assert log.seconds[: log.n_reference][windows[0]].max() == log.seconds[: log.n_reference].max()


def test_past_windows_with_few_rows_are_left_out(market):
    """The newest of eight windows has a tenth of its events."""
    reference = market.window(0, 0, 120)
    seconds = reference["timestamp"].cast(pa.int64()).to_numpy() / 1e6
    kept = (seconds < seconds.max() - 14 * 86_400) | (np.arange(seconds.size) % 10 == 0)
    log = encode(reference.filter(pa.array(kept)), market.window(0, 120, 14), market.items, None)
    windows = past_windows(log, MIN_ROWS)
    assert len(windows) == 7
    assert all(window.sum() >= MIN_ROWS for window in windows)


def test_random_windows_contain_whole_orders(market):
    log = encode(market.window(0, 0, 30), market.window(0, 30, 14), market.items, None)
    orders = log.orders[: log.n_reference]
    for window in random_windows(log, np.random.default_rng(0)):
        assert not set(orders[window]) & set(orders[~window])


def drifted(still_log, n_windows: int, **options: float) -> list[set[str]]:
    """The columns that fire in windows without drift. There are no floors, which would only lower their number."""
    found = []
    for seed in range(n_windows):
        rng = np.random.default_rng(seed)
        columns, _, (bucket_rows, tested, _) = verdicts(
            still_log(rng), rng, floors={"numerical": 0, "categorical": 0}, **options
        )
        assert len(columns) == 5
        assert not np.intersect1d(bucket_rows, tested).size
        found.append({column.name for column in columns if column.drifted})
    return found


def test_the_alarm_rate_is_one_per_cent(still_log):
    """Over all columns together, popularity included; one of a thousand such tests exceeds the bound."""
    assert sum(map(bool, drifted(still_log, 200))) <= binom.ppf(0.999, 200, 0.01)


def test_each_column_has_its_share_of_the_alarm_rate(still_log):
    """At a rate of 1, each of the five columns fires in a fifth of the windows."""
    found = drifted(still_log, 80, alarm_rate=1.0)
    least, most = binom.interval(0.999, 80, 0.2)
    for name in ("category", "log_unit_price", "popularity", "rating", "region"):
        assert least <= sum(name in fired for fired in found) <= most, name


def test_a_small_shift_does_not_fire(still_log):
    """Prices shift by a seventh of their spread: with so many events it is significant, but below the floor."""
    log = still_log(np.random.default_rng(0), n_orders=2500)
    log.numbers["log_unit_price"][log.n_reference :] += 0.15
    with_floors, without = (
        verdicts(log, np.random.default_rng(0), **given)[0]
        for given in ({}, {"floors": {"numerical": 0, "categorical": 0}})
    )
    assert [column.name for column in without if column.drifted] == ["log_unit_price"]
    assert not any(column.drifted for column in with_floors)


def test_prediction_limit_is_exceeded_at_the_given_rate():
    rng = np.random.default_rng(0)
    exceeded = [draw[-1] > prediction_limit(draw[:-1], 0.05) for draw in rng.normal(size=(4000, 9))]
    assert np.mean(exceeded) == pytest.approx(0.05, abs=0.012)
    assert prediction_limit(np.array([1.0, np.nan]), 0.05) == 0.0


@given(st.lists(st.integers(0, 9), min_size=1, max_size=50), st.lists(st.integers(0, 9), min_size=1, max_size=50))
def test_label_distance_is_bounded(was, now):
    first, second = np.array(was, float), np.array(now, float)
    assert 0 <= distance(first, second, "categorical") <= np.sqrt(np.log(2)) + 1e-9
    assert distance(first, second, "categorical") == pytest.approx(distance(second, first, "categorical"), abs=1e-7)
    assert distance(first, first, "categorical") == 0
    assert distance(first, first, "numerical") == 0


def test_empty_is_nan():
    assert np.isnan(distance(np.empty(0), np.ones(3), "categorical"))
    assert np.isnan(distance(np.ones(3), np.empty(0), "numerical"))


def test_subsample_draws_without_replacement():
    rows = subsample(np.arange(100), 10, np.random.default_rng(0))
    assert np.array_equal(rows, np.unique(rows))
    assert rows.size == 10
    assert subsample(rows, 10, np.random.default_rng(0)) is rows
