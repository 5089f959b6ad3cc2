"""Confidence intervals of means and of paired differences: bootstraps over users. Efron & Tibshirani 1993."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

CHUNK = 4_000_000  # resampled values held at once

Vector = NDArray[np.floating[Any]]
Key = TypeVar("Key", bound=Hashable)


class Interval(NamedTuple):
    """A mean with its percentile interval; low and high are nan if fewer than two values are defined."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """The mean of a model minus that of the reference, over the users for whom both are defined."""

    interval: Interval
    n_users: int
    p: float  # two-sided p-value of the null hypothesis that there is no difference; nan if undefined
    p_holm: float  # p, corrected for all comparisons of one call
    confidence: float

    @property
    def verdict(self) -> str:
        """ "better" or "worse" than the reference, or "open" if the corrected test is not significant."""
        if not self.p_holm <= 1 - self.confidence:
            return "open"
        return "better" if self.interval.value > 0 else "worse"


def mean_interval(values: Vector, n_resamples: int = 1000, confidence: float = 0.95, seed: int = 42) -> Interval:
    """The mean of the defined values, (n,), with a bootstrap interval. The same seed gives the same interval."""
    defined = np.asarray(values, dtype=np.float64)
    return mean_intervals({"": defined[~np.isnan(defined)]}, n_resamples, confidence, seed)[""]


def mean_intervals(
    vectors: Mapping[Key, Vector], n_resamples: int = 1000, confidence: float = 0.95, seed: int = 42
) -> dict[Key, Interval]:
    """The mean_interval of many vectors over the same users, all from the same resamples of users.

    Raises ValueError if the lengths differ.
    """
    if not vectors:
        return {}
    table = _stacked(vectors)
    centres = _means(table)
    lows, highs = _percentiles(resampled_means(table, n_resamples, seed), confidence)
    sure = (~np.isnan(table)).sum(axis=0) > 1
    rows = zip(centres, np.where(sure, lows, np.nan), np.where(sure, highs, np.nan), strict=True)
    return {name: Interval(*map(float, row)) for name, row in zip(vectors, rows, strict=True)}


def paired_difference(
    left: Vector, right: Vector, n_resamples: int = 1000, confidence: float = 0.95, seed: int = 42
) -> Interval:
    """The mean of left - right over users for whom both are defined. Raises ValueError if the lengths differ."""
    if left.shape != right.shape:
        raise ValueError(f"a paired comparison needs the same users; got {left.shape} and {right.shape} values")
    return mean_interval(left - right, n_resamples, confidence, seed)


def compare_all(
    vectors: Mapping[Key, Vector], reference: Key, n_resamples: int = 1000, confidence: float = 0.95, seed: int = 42
) -> dict[Key, Difference]:
    """Each other model minus the reference, paired by user, with p-values corrected for all models by Holm's method.

    vectors: model -> (n_users,) values of one metric, over the same users in the same order. p is that of the
    bootstrap shift method: the share of resampled means that differ from the observed difference by at least its
    distance from 0; at least 1 / (n_resamples + 1). Raises ValueError if the reference is not among the models or the
    lengths differ.
    """
    if reference not in vectors:
        known = ", ".join(map(str, vectors))
        raise ValueError(f"reference: got {reference}; allowed: {known}; compare with one of these models")
    others = [name for name in vectors if name != reference]
    if not others:
        return {}
    table = _stacked(vectors)
    names = list(vectors)
    table = table[:, [names.index(name) for name in others]] - table[:, [names.index(reference)]]
    centres, resampled = _means(table), resampled_means(table, n_resamples, seed)
    n_users = (~np.isnan(table)).sum(axis=0)
    p_values = np.where(n_users > 1, _p_values(centres, resampled), np.nan)
    low, high = _percentiles(resampled, confidence)
    rows = zip(centres, low, high, n_users, p_values, holm(p_values), strict=True)
    return {
        name: Difference(_interval(centre, low, high, n), int(n), float(p), float(corrected), confidence)
        for name, (centre, low, high, n, p, corrected) in zip(others, rows, strict=True)
    }


def holm(p_values: Vector) -> NDArray[np.float64]:
    """Corrected p-values of m tests, (m,). They bound the probability of at least one false positive among all tests.

    Nan stays nan and does not count as a test. Step-down; Holm 1979.
    """
    corrected = np.full(len(p_values), np.nan)
    tested = np.flatnonzero(~np.isnan(p_values))
    order = tested[np.argsort(p_values[tested], kind="stable")]
    steps = np.arange(len(order), 0, -1) * p_values[order]
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected


def resampled_means(table: NDArray[np.float64], n_resamples: int, seed: int) -> NDArray[np.float64]:
    """(n_resamples, m) means of the columns of a table (n_users, m) over users drawn with replacement.

    Undefined values, nan, are left out; the mean of no values is nan. All columns use the same resamples, so
    differences of columns are paired. A resample is a row of counts (how often each user was drawn), so one matrix
    product gives all means.
    """
    n_users = len(table)
    if not n_users:
        return np.full((n_resamples, table.shape[1]), np.nan)
    rng = np.random.default_rng(seed)
    defined = ~np.isnan(table)
    patterns, pattern = _distinct_columns(defined)
    values = np.where(defined, table, 0.0)
    step = max(1, CHUNK // n_users)
    parts = []
    for start in range(0, n_resamples, step):
        drawn = _draws(n_users, min(step, n_resamples - start), rng)
        counts = drawn @ patterns
        with np.errstate(invalid="ignore"):
            parts.append((drawn @ values) / counts[:, pattern])
    return np.concatenate(parts)


def _draws(n_users: int, n_resamples: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """(n_resamples, n_users): how often each user was drawn in each resample of n_users."""
    users = rng.integers(n_users, size=(n_resamples, n_users))
    users += np.arange(n_resamples)[:, None] * n_users
    counts = np.bincount(users.ravel(), minlength=n_resamples * n_users)
    return counts.reshape(n_resamples, n_users).astype(np.float64)


def _distinct_columns(defined: NDArray[np.bool_]) -> tuple[NDArray[np.float64], list[int]]:
    """The distinct columns (n, p), and the index of each column in them: most metrics miss the same users."""
    places: dict[bytes, int] = {}
    pattern = [places.setdefault(column.tobytes(), len(places)) for column in defined.T]
    first = [pattern.index(place) for place in range(len(places))]
    return defined[:, first].astype(np.float64), pattern


def _stacked(vectors: Mapping[Key, Vector]) -> NDArray[np.float64]:
    lengths = {len(values) for values in vectors.values()}
    if len(lengths) != 1:
        raise ValueError(f"a paired comparison needs the same users; got vectors of {sorted(lengths)} values")
    return np.column_stack([np.asarray(values, dtype=np.float64) for values in vectors.values()])


def _means(table: NDArray[np.float64]) -> NDArray[np.float64]:
    counts = (~np.isnan(table)).sum(axis=0)
    return np.asarray(np.nansum(table, axis=0) / np.where(counts > 0, counts, np.nan))


def _percentiles(resampled: NDArray[np.float64], confidence: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Low and high ends, (m,) each; nan for a column with fewer than two means."""
    ends = [(1 - confidence) / 2, (1 + confidence) / 2]
    low, high = np.quantile(resampled, ends, axis=0)
    for column in np.flatnonzero(np.isnan(low)):  # few defined users: some resamples hold none of them
        found = resampled[~np.isnan(resampled[:, column]), column]
        if len(found) > 1:
            low[column], high[column] = np.quantile(found, ends)
    return low, high


def _p_values(centres: NDArray[np.float64], resampled: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):
        # rounding of equal values must not make a resampled mean count as closer
        as_far = np.abs(resampled - centres) >= np.abs(centres) * (1 - 1e-9)
    return np.asarray((1 + as_far.sum(axis=0)) / (1 + len(resampled)))


def _interval(value: float, low: float, high: float, n_users: int) -> Interval:
    return Interval(float(value), float(low), float(high)) if n_users > 1 else Interval(float(value), np.nan, np.nan)
