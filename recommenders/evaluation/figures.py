"""Figures as reports hold them, ready for JSON: means with their intervals, and the best model beside the others."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommenders.evaluation.comparison import Interval, compare_all, mean_intervals
from recommenders.evaluation.tasks.task import EvaluationConfig

Values = NDArray[np.float64]  # one a user
Vectors = Mapping[str, Mapping[str, Values]]  # model -> metric -> values, over the same users in the same order
Cell = list[float | None]  # [value, low, high]
Metrics = dict[str, Cell]


def intervals(vectors: Vectors, config: EvaluationConfig) -> dict[str, Metrics]:
    """Model -> metrics, all from the same draws of users."""
    flat = {(name, metric): values for name, found in vectors.items() for metric, values in found.items()}
    drawn = mean_intervals(flat, config.n_bootstrap, seed=config.seed)
    return {name: {metric: cell(drawn[name, metric]) for metric in found} for name, found in vectors.items()}


def compared(vectors: Vectors, metric: str, config: EvaluationConfig) -> dict[str, Any]:
    """{"metric", "best", "others"}: the model with the highest mean against each other one, corrected for their number.

    Each of "others" is {"difference", "n_users", "p", "p_holm", "verdict"}. Nothing where no mean is defined.
    """
    headline = {name: found[metric] for name, found in vectors.items()}
    means = {name: float(np.nanmean(values)) for name, values in headline.items() if not np.isnan(values).all()}
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
        for name, found in compare_all(headline, best, config.n_bootstrap, seed=config.seed).items()
    }
    return {"metric": metric, "best": best, "others": others}


def cell(interval: Interval) -> Cell:
    """[value, low, high], None where it is undefined."""
    return [plain(value) for value in interval]


def plain(value: float) -> float | None:
    """For JSON, which has no nan."""
    return None if np.isnan(value) else float(value)
