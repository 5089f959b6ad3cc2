"""Success criteria: compares metrics with targets and with ceilings.

The training configuration can set other targets. If the arithmetic ceiling of a protocol is below a target, no model
can reach that target, and the report marks it.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator
from scipy.sparse import csr_array

from recommenders.errors import choices
from recommenders.metrics.ranking import FORMULAS, K

RESPONSE, SIZE = "response_ms", "model_megabytes"
LIST_METRICS = ("diversity", "novelty", "serendipity", "coverage", "personalisation", "gini", "popularity_lift")
MEASURED = (*(f"{metric}@{K}" for metric in (*FORMULAS, *LIST_METRICS)), RESPONSE, SIZE)
LOWER_IS_BETTER = {f"gini@{K}", f"popularity_lift@{K}", RESPONSE, SIZE}  # for the others higher is better

CRITERIA = {
    "precision@10": 0.85,
    "recall@10": 0.80,
    "ndcg@10": 0.82,
    "coverage@10": 0.70,
    RESPONSE: 100.0,
    SIZE: 100.0,
}
MODEL_TARGETS: dict[str, dict[str, float]] = {
    name: dict(zip(("precision@10", "recall@10", "ndcg@10", "coverage@10", "diversity@10"), row, strict=True))
    for name, row in {
        "neural_collaborative": (0.85, 0.80, 0.82, 0.70, 0.75),
        "content_based": (0.75, 0.70, 0.75, 0.85, 0.80),
        "collaborative_filtering": (0.80, 0.75, 0.78, 0.65, 0.70),
        "hybrid": (0.88, 0.85, 0.86, 0.80, 0.82),
    }.items()
}


def _check_metrics(targets: dict[str, float]) -> dict[str, float]:
    for metric, target in targets.items():
        if metric not in MEASURED:
            raise ValueError(f"unknown metric {metric!r}; {choices(metric, MEASURED)}")
        if not math.isfinite(target):
            raise ValueError(f"{metric}: got {target}; allowed: a finite number")
    return targets


Targets = Annotated[dict[str, float], AfterValidator(_check_metrics)]  # metric -> target, for metrics of the report


def ceilings(relevant: csr_array, candidates: NDArray[np.bool_], k: int) -> dict[str, float]:
    """The upper bound of each metric, reached with perfect knowledge of the test window; diversity has no such bound.

    relevant: (n_users, n_items); users without relevant items do not count. candidates: (n_items,).
    """
    counts = np.diff(relevant.indptr).astype(np.float64)
    n_lists, n_candidates = len(counts), int(candidates.sum())
    counts = counts[counts > 0]
    if not len(counts) or not n_candidates:
        return {}
    return {
        f"precision@{k}": float(np.mean(np.minimum(counts, k) / k)),
        f"recall@{k}": float(np.mean(np.minimum(counts, k) / counts)),
        **{f"{metric}@{k}": 1.0 for metric in ("ndcg", "hit_rate", "map", "mrr")},
        f"coverage@{k}": min(1.0, n_lists * k / n_candidates),
    }


def criteria(
    metrics: Mapping[str, list[float | None]],
    ceiling: Mapping[str, float],
    milliseconds: float,
    megabytes: float,
    protocol: str,
    response_protocol: str,
    wanted: Mapping[str, float] = CRITERIA,
) -> list[dict[str, Any]]:
    """One row per criterion: {"metric", "target", "reached", "ceiling", "protocol"}; None for no ceiling.

    metrics: metric -> [value, low, high]. wanted: metric -> target.
    """
    limits = {
        RESPONSE: (milliseconds, response_protocol),
        SIZE: (megabytes, "the bundle's files on disk, with its context"),
    }
    rows = []
    for metric, target in wanted.items():
        reached, how = limits.get(metric) or (metrics.get(metric, [None])[0], protocol)
        row = {"metric": metric, "target": target, "reached": reached, "ceiling": ceiling.get(metric)}
        rows.append({**row, "protocol": how})
    return rows


def met(row: Mapping[str, Any]) -> bool | None:
    """Whether the value of a row meets its target; None if the value is undefined."""
    if row["reached"] is None:
        return None
    return bool(
        row["reached"] <= row["target"] if row["metric"] in LOWER_IS_BETTER else row["reached"] >= row["target"]
    )


def targets(
    models: Mapping[str, Mapping[str, list[float | None]]],
    ceiling: Mapping[str, float],
    wanted: Mapping[str, Mapping[str, float]] = MODEL_TARGETS,
) -> list[dict[str, Any]]:
    """One row per metric of each evaluated model with targets: {"model", "metric", "target", "reached", "ceiling"}.

    models: model -> metric -> [value, low, high]. ceiling: as ceilings() returns it. wanted: model -> metric -> target.
    """
    return [
        {
            "model": name,
            "metric": metric,
            "target": target,
            "reached": models[name].get(metric, [None])[0],
            "ceiling": ceiling.get(metric),
        }
        for name, own in wanted.items()
        if name in models
        for metric, target in own.items()
    ]
