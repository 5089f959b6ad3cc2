"""How sure a mean is, and a difference of two: bootstraps over users. Efron & Tibshirani 1993."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

CHUNK = 4_000_000  # resampled values held at once

Vector = NDArray[np.floating[Any]]


class Interval(NamedTuple):
    """A mean with its percentile interval; nan where fewer than two values are defined."""

    value: float
    low: float
    high: float


def mean_interval(values: Vector, n_resamples: int = 1000, confidence: float = 0.95, seed: int = 42) -> Interval:
    """The mean of the defined values, (n,), with a bootstrap interval. The same seed gives the same interval."""
    defined = np.asarray(values, dtype=np.float64)
    defined = defined[~np.isnan(defined)]
    if len(defined) == 0:
        return Interval(np.nan, np.nan, np.nan)
    if len(defined) == 1:
        return Interval(float(defined[0]), np.nan, np.nan)
    means = _resampled_means(defined, n_resamples, np.random.default_rng(seed))
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(defined.mean()), float(low), float(high))


def paired_difference(
    left: Vector, right: Vector, n_resamples: int = 1000, confidence: float = 0.95, seed: int = 42
) -> Interval:
    """The mean of left - right over users for whom both are defined. Raises ValueError if the lengths differ."""
    if left.shape != right.shape:
        raise ValueError(f"a paired comparison needs the same users; got {left.shape} and {right.shape} values")
    return mean_interval(left - right, n_resamples, confidence, seed)


def _resampled_means(values: NDArray[np.float64], n_resamples: int, rng: np.random.Generator) -> NDArray[np.float64]:
    n = len(values)
    step = max(1, CHUNK // n)
    parts = [
        values[rng.integers(n, size=(min(step, n_resamples - start), n))].mean(axis=1)
        for start in range(0, n_resamples, step)
    ]
    return np.concatenate(parts)
