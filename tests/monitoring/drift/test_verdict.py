"""Texts of the drift verdicts: the tested columns, the drifted columns, and what changed."""

from dataclasses import replace

import numpy as np
import pytest

from monitoring.drift.shift import BUCKETS, POPULARITY, EncodedLog
from monitoring.drift.verdict import ColumnDrift, column_verdicts, label_names, summarise

NAN = float("nan")


def log_of(numbers: dict[str, tuple[list[float], list[float]]], categories: tuple[str, str] = ("", "")) -> EncodedLog:
    """Columns of reference and window, padded to the longest; categories: one letter per event."""
    n_before, n_now = (max(len(part[side]) for part in (*numbers.values(), categories)) for side in (0, 1))

    def padded(before: list[float], now: list[float]) -> np.ndarray:
        return np.array([*before, *[NAN] * (n_before - len(before)), *now, *[NAN] * (n_now - len(now))])

    codes = [[ord(letter) - ord("a") for letter in side] for side in categories]
    labels = padded(*codes)
    n = n_before + n_now
    return EncodedLog(
        n_before,
        {name: padded(*sides) for name, sides in numbers.items()},
        {"category": np.where(np.isnan(labels), -1, labels).astype(np.int32)} if any(categories) else {},
        {"category": ("anvils", "bolts", "chains")},
        np.zeros(n, np.int32),
        np.arange(n, dtype=float),
        np.arange(n, dtype=np.int32),
    )


def columns_of(
    log: EncodedLog, thresholds: dict[str, float], min_rows: int = 0
) -> tuple[dict[str, ColumnDrift], tuple[str, ...]]:
    rows = np.arange(log.seconds.size)
    before, now = rows[: log.n_reference], rows[log.n_reference :]
    columns, not_tested = column_verdicts(log, before, before, now, {POPULARITY: 1.0, **thresholds}, min_rows)
    return {column.name: column for column in columns}, not_tested


def scores(log: EncodedLog) -> dict[str, float]:
    rows = np.arange(log.seconds.size)
    before = rows[: log.n_reference]
    return log.distances(before, before, rows[log.n_reference :])


def test_a_column_drifts_at_its_limit() -> None:
    log = log_of({"rating": ([1, 1, 2, 2], [1, 2, 2, 2])})
    score = scores(log)["rating"]
    assert score > 0
    assert columns_of(log, {"rating": score})[0]["rating"].drifted
    assert not columns_of(log, {"rating": score * 1.001})[0]["rating"].drifted


def test_the_largest_score_relative_to_its_limit_comes_first() -> None:
    log = log_of({"rating": ([1, 1, 2, 2], [1, 2, 2, 2]), "log_quantity": ([0, 0, 1, 1], [0, 1, 1, 1])})
    same = scores(log)
    assert same["rating"] == same["log_quantity"]
    columns, _ = columns_of(log, {"rating": 0.5, "log_quantity": 0.1, POPULARITY: 9.0})
    assert list(columns)[:2] == ["log_quantity", "rating"]
    columns, _ = columns_of(log, {"rating": 0.1, "log_quantity": 0.5, POPULARITY: 9.0})
    assert list(columns)[:2] == ["rating", "log_quantity"]


@pytest.mark.parametrize(("known", "is_tested"), [((2, 4), True), ((1, 4), False), ((2, 3), False)])
def test_too_few_values_are_not_tested(known: tuple[int, int], is_tested: bool) -> None:
    """With min_rows 9: at least a quarter (rounded down) in the reference and half in the window."""
    log = log_of({"rating": ([1.0] * known[0], [2.0] * known[1]), "log_quantity": ([0.0] * 9, [0.0] * 9)})
    columns, not_tested = columns_of(log, {"rating": 0.1, "log_quantity": 0.1}, min_rows=9)
    assert ("rating" in columns) == is_tested
    assert not_tested == (() if is_tested else (f"rating ({known[0]} known before, {known[1]} now)",))


def test_columns_not_tested_have_a_reason() -> None:
    log = log_of({"rating": ([], []), "log_unit_price": ([1.0] * 2, [1.0] * 2), "log_quantity": ([0.0] * 9, [0.0] * 9)})
    _, not_tested = columns_of(log, {"rating": 0.1, "log_unit_price": 0.1, "log_quantity": 0.1}, min_rows=9)
    assert not_tested == ("rating (not in this source)", "log_unit_price (2 known before, 2 now)")


def test_a_change_is_reported_in_the_units_of_the_column() -> None:
    log = log_of(
        {
            "log_quantity": (np.log([1, 6, 9]).tolist(), np.log([70, 72, 90]).tolist()),
            "rating": ([1.0, 5.0], [2.0, 2.5]),
        },
        ("aaaabc", "aaaabb"),  # most events have the first label, whose share does not change
    )
    columns, _ = columns_of(log, {"log_quantity": 0.1, "rating": 0.1, "category": 0.1})
    assert columns["log_quantity"].change == "median 6 -> 72"
    assert columns["rating"].change == "mean 3.00 -> 2.25"
    assert columns["category"].change == "'bolts' 16.7% -> 33.3%"
    assert (columns["rating"].method, columns["category"].method) == ("psi", "jensenshannon")
    assert label_names(log, POPULARITY) == BUCKETS
    assert label_names(log, "category") == ("anvils", "bolts", "chains")


def test_the_summary_names_the_largest_change_and_the_others() -> None:
    prices = ColumnDrift("log_unit_price", 0.4, 0.1, "psi", True, "median 2 -> 3")
    regions = ColumnDrift("region", 0.2, 0.1, "jensenshannon", True, "'north' 10.0% -> 20.0%")
    still = ColumnDrift("rating", 0.05, 0.1, "psi", False, "mean 4.00 -> 4.01")
    assert prices.title == "unit_price"
    assert summarise((prices, regions, still), ()) == (
        "unit_price changed most: median 2 -> 3 (PSI 0.400, limit 0.100); "
        "also region: 'north' 10.0% -> 20.0% (Jensen-Shannon distance 0.200, limit 0.100)"
    )
    assert summarise((still, replace(still, name="region", change="")), ()) == (
        "no drift; closest to its limit: rating, mean 4.00 -> 4.01 (PSI 0.050, limit 0.100)"
    )
    assert summarise((), ("rating (not in this source)", "region (1 known before, 2 now)")) == (
        "not tested: no column has enough values: rating (not in this source), region (1 known before, 2 now)"
    )
