"""Reliability of calibrated scores: predicted probabilities against what users bought in the test window."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommenders.evaluation.tasks.task import EvaluationTask
from recommenders.metrics.ranking import K
from recommenders.models.calibration import RankedUsers
from recommenders.models.recommender import Recommender

N_BINS = 10  # of equal width


def reliability_of(models: Mapping[str, Recommender], task: EvaluationTask) -> dict[str, dict[str, Any]]:
    """Model -> reliability() of its K best items for each user of the task, for the models with a calibration."""
    found = {}
    for name, model in models.items():
        if model.calibration_ is None:
            continue
        exclude_known = task.views()["all"].exclude_known
        columns, scores = model.recommend(task.user_rows, task.histories, K, task.candidates, exclude_known)
        probabilities = model.calibration_.probabilities("all", scores)
        if probabilities is not None:
            bought = RankedUsers.of(columns, scores, task.relevant).bought
            found[name] = reliability(probabilities[columns >= 0], bought[columns >= 0])
    return found


def reliability(probabilities: NDArray[np.float32], bought: NDArray[np.bool_]) -> dict[str, Any]:
    """{"expected_calibration_error", "bins": [{"items", "predicted", "observed"}]} of (n,) probabilities.

    The error is the mean distance between the predicted probability and the observed share over bins of equal width,
    weighted by the number of items; Naeini et al. 2015. Empty bins are left out.
    """
    places = np.minimum((probabilities * N_BINS).astype(np.int64), N_BINS - 1)
    bins, error = [], 0.0
    for place in np.unique(places):
        inside = places == place
        predicted, observed = float(probabilities[inside].mean(dtype=np.float64)), float(bought[inside].mean())
        bins.append({"items": int(inside.sum()), "predicted": predicted, "observed": observed})
        error += float(inside.mean()) * abs(predicted - observed)
    return {"expected_calibration_error": error if len(places) else float("nan"), "bins": bins}
