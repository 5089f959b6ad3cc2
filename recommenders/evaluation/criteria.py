"""The project's success criteria, held against what was reached and what could have been.

The targets are goals. Where the arithmetic ceiling of a protocol lies below one, no model can reach it, and the
table says so.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

TARGETS = {"precision@10": 0.85, "recall@10": 0.80, "ndcg@10": 0.82, "coverage@10": 0.70}
RESPONSE_MS = 100.0
SIZE_MB = 100.0

MODEL_TARGETS: dict[str, dict[str, float]] = {
    name: dict(zip(("precision@10", "recall@10", "ndcg@10", "coverage@10", "diversity@10"), row, strict=True))
    for name, row in {
        "neural_collaborative": (0.85, 0.80, 0.82, 0.70, 0.75),
        "content_based": (0.75, 0.70, 0.75, 0.85, 0.80),
        "collaborative_filtering": (0.80, 0.75, 0.78, 0.65, 0.70),
        "hybrid": (0.88, 0.85, 0.86, 0.80, 0.82),
    }.items()
}


def ceilings(relevant: csr_array, candidates: NDArray[np.bool_], k: int) -> dict[str, float]:
    """What perfect knowledge of the test window would reach, metric by metric; diversity has no such bound.

    relevant: (n_users, n_items); users with nothing relevant do not count. candidates: (n_items,).
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
) -> list[dict[str, Any]]:
    """One row a criterion: {"metric", "target", "reached", "ceiling", "protocol"}; None where there is no ceiling."""
    rows: list[dict[str, Any]] = [
        {
            "metric": metric,
            "target": target,
            "reached": metrics[metric][0] if metric in metrics else None,
            "ceiling": ceiling.get(metric),
            "protocol": protocol,
        }
        for metric, target in TARGETS.items()
    ]
    rows.append(_limit("response_ms", RESPONSE_MS, milliseconds, response_protocol))
    rows.append(_limit("model_megabytes", SIZE_MB, megabytes, "the bundle's files on disk"))
    return rows


def targets(
    models: Mapping[str, Mapping[str, list[float | None]]], ceiling: Mapping[str, float]
) -> list[dict[str, Any]]:
    """One row a metric of each named model that was judged: {"model", "metric", "target", "reached", "ceiling"}.

    models: model -> metric -> [value, low, high]. ceiling: as ceilings() tells it; None where there is none.
    """
    return [
        {
            "model": name,
            "metric": metric,
            "target": target,
            "reached": models[name].get(metric, [None])[0],
            "ceiling": ceiling.get(metric),
        }
        for name, wanted in MODEL_TARGETS.items()
        if name in models
        for metric, target in wanted.items()
    ]


def _limit(metric: str, target: float, reached: float, protocol: str) -> dict[str, Any]:
    return {"metric": metric, "target": target, "reached": reached, "ceiling": None, "protocol": protocol}
