"""Metric values for reports, ready for JSON: means with intervals, and comparisons with the best model."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommenders.evaluation.statistics.comparison import Interval, compare_all, mean_intervals
from recommenders.evaluation.tasks.task import EvaluationConfig

Values = NDArray[np.float64]  # one value per user
Vectors = Mapping[str, Mapping[str, Values]]  # model -> metric -> values, over the same users in the same order
Cell = list[float | None]  # [value, low, high]
Metrics = dict[str, Cell]


def intervals(vectors: Vectors, config: EvaluationConfig) -> dict[str, Metrics]:
    """Model -> metrics with intervals, all from the same resamples of users."""
    flat = {(name, metric): values for name, metrics in vectors.items() for metric, values in metrics.items()}
    found = mean_intervals(flat, config.n_resamples, seed=config.seed)
    return {name: {metric: cell(found[name, metric]) for metric in metrics} for name, metrics in vectors.items()}


def compared(vectors: Vectors, metric: str, config: EvaluationConfig) -> dict[str, Any]:
    """{"metric", "best", "others"}: compares each other model with the model of the highest mean.

    Each of "others" is {"difference", "n_users", "p", "p_holm", "verdict"}. p_holm is corrected for the number of
    comparisons. Returns {} if no mean is defined.
    """
    values_of = {name: metrics[metric] for name, metrics in vectors.items()}
    means = {name: float(np.nanmean(values)) for name, values in values_of.items() if not np.isnan(values).all()}
    if not means:
        return {}
    best = max(means, key=lambda name: means[name])
    others = {
        name: {
            "difference": cell(found.interval),
            "n_users": found.n_users,
            "p": plain(found.p),
            "p_holm": plain(found.p_holm),
            "verdict": found.verdict,
        }
        for name, found in compare_all(values_of, best, config.n_resamples, seed=config.seed).items()
    }
    return {"metric": metric, "best": best, "others": others}


def cell(interval: Interval) -> Cell:
    """[value, low, high]; None for undefined values."""
    return [plain(value) for value in interval]


def plain(value: float) -> float | None:
    """The value, or None for nan, because JSON has no nan."""
    return None if np.isnan(value) else float(value)
