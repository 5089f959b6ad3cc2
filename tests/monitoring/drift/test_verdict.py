"""What a person reads of a drift: which columns are judged, which drifted, and what moved."""

from dataclasses import replace

import numpy as np
import pytest

from monitoring.drift.shift import BUCKETS, POPULARITY, Log
from monitoring.drift.verdict import ColumnDrift, judge, label_names, summarise

NAN = float("nan")


def log_of(numbers: dict[str, tuple[list[float], list[float]]], categories: tuple[str, str] = ("", "")) -> Log:
    """Columns of reference and window, as long as the longest; categories: a letter an event."""
    n_before, n_now = (max(len(part[side]) for part in (*numbers.values(), categories)) for side in (0, 1))

    def padded(before: list[float], now: list[float]) -> np.ndarray:
        return np.array([*before, *[NAN] * (n_before - len(before)), *now, *[NAN] * (n_now - len(now))])

    codes = [[ord(letter) - ord("a") for letter in side] for side in categories]
    labels = padded(*codes)
    n = n_before + n_now
    return Log(
        n_before,
        {name: padded(*sides) for name, sides in numbers.items()},
        {"category": np.where(np.isnan(labels), -1, labels).astype(np.int32)} if any(categories) else {},
        {"category": ("anvils", "bolts", "chains")},
        np.zeros(n, np.int32),
        np.arange(n, dtype=float),
        np.arange(n, dtype=np.int32),
    )


def judged(log: Log, thresholds: dict[str, float], min_rows: int = 0) -> tuple[dict[str, ColumnDrift], tuple[str, ...]]:
    rows = np.arange(log.seconds.size)
    before, now = rows[: log.n_reference], rows[log.n_reference :]
    columns, left_out = judge(log, before, before, now, {POPULARITY: 1.0, **thresholds}, min_rows)
    return {column.name: column for column in columns}, left_out


def scores(log: Log) -> dict[str, float]:
    rows = np.arange(log.seconds.size)
    before = rows[: log.n_reference]
    return log.measure(before, before, rows[log.n_reference :])


def test_a_column_has_drifted_from_its_limit_on() -> None:
    log = log_of({"rating": ([1, 1, 2, 2], [1, 2, 2, 2])})
    score = scores(log)["rating"]
    assert score > 0
    assert judged(log, {"rating": score})[0]["rating"].drifted
    assert not judged(log, {"rating": score * 1.001})[0]["rating"].drifted


def test_the_furthest_beyond_its_own_limit_comes_first() -> None:
    log = log_of({"rating": ([1, 1, 2, 2], [1, 2, 2, 2]), "log_quantity": ([0, 0, 1, 1], [0, 1, 1, 1])})
    same = scores(log)
    assert same["rating"] == same["log_quantity"]
    columns, _ = judged(log, {"rating": 0.5, "log_quantity": 0.1, POPULARITY: 9.0})
    assert list(columns)[:2] == ["log_quantity", "rating"]
    columns, _ = judged(log, {"rating": 0.1, "log_quantity": 0.5, POPULARITY: 9.0})
    assert list(columns)[:2] == ["rating", "log_quantity"]


@pytest.mark.parametrize(("known", "is_judged"), [((2, 4), True), ((1, 4), False), ((2, 3), False)])
def test_too_few_values_are_not_judged(known: tuple[int, int], is_judged: bool) -> None:
    """With nine rows asked for, a quarter of them, rounded down, before, and half of them now."""
    log = log_of({"rating": ([1.0] * known[0], [2.0] * known[1]), "log_quantity": ([0.0] * 9, [0.0] * 9)})
    columns, left_out = judged(log, {"rating": 0.1, "log_quantity": 0.1}, min_rows=9)
    assert ("rating" in columns) == is_judged
    assert left_out == (() if is_judged else (f"rating ({known[0]} known before, {known[1]} now)",))


def test_what_is_left_out_says_why() -> None:
    log = log_of({"rating": ([], []), "log_unit_price": ([1.0] * 2, [1.0] * 2), "log_quantity": ([0.0] * 9, [0.0] * 9)})
    _, left_out = judged(log, {"rating": 0.1, "log_unit_price": 0.1, "log_quantity": 0.1}, min_rows=9)
    assert left_out == ("rating (not in this source)", "log_unit_price (2 known before, 2 now)")


def test_a_change_is_said_in_the_column_s_own_units() -> None:
    log = log_of(
        {
            "log_quantity": (np.log([1, 6, 9]).tolist(), np.log([70, 72, 90]).tolist()),
            "rating": ([1.0, 5.0], [2.0, 2.5]),
        },
        ("aaaabc", "aaaabb"),  # most of the events are of the first, which stays
    )
    columns, _ = judged(log, {"log_quantity": 0.1, "rating": 0.1, "category": 0.1})
    assert columns["log_quantity"].change == "median 6 -> 72"
    assert columns["rating"].change == "mean 3.00 -> 2.25"
    assert columns["category"].change == "'bolts' 16.7% -> 33.3%"
    assert (columns["rating"].method, columns["category"].method) == ("psi", "jensenshannon")
    assert label_names(log, POPULARITY) == BUCKETS
    assert label_names(log, "category") == ("anvils", "bolts", "chains")


def test_a_sentence_names_what_moved_most_and_the_rest() -> None:
    prices = ColumnDrift("log_unit_price", 0.4, 0.1, "psi", True, "median 2 -> 3")
    regions = ColumnDrift("region", 0.2, 0.1, "jensenshannon", True, "'north' 10.0% -> 20.0%")
    still = ColumnDrift("rating", 0.05, 0.1, "psi", False, "mean 4.00 -> 4.01")
    assert prices.title == "unit_price"
    assert summarise((prices, regions, still), ()) == (
        "unit_price moved most: median 2 -> 3 (PSI 0.400, limit 0.100); "
        "also region: 'north' 10.0% -> 20.0% (Jensen-Shannon distance 0.200, limit 0.100)"
    )
    assert summarise((still, replace(still, name="region", change="")), ()) == (
        "no drift; nearest to its limit: rating, mean 4.00 -> 4.01 (PSI 0.050, limit 0.100)"
    )
    assert summarise((), ("rating (not in this source)", "region (1 known before, 2 now)")) == (
        "not judged: no column has enough values; left out: rating (not in this source), region (1 known before, 2 now)"
    )
