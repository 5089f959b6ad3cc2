"""The lists a model gives for a case, each block of buyers scored once for all views."""

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommenders.bundle import size_in_bytes
from recommenders.evaluation.protocol import Case, View
from recommenders.metrics import ranking
from recommenders.metrics.variety import covered, diversity
from recommenders.models.recommender import BLOCK, Recommender, mask_and_rank

TIMED = 100  # buyers asked one at a time for the latency


def rank(model: Recommender, case: Case, views: Mapping[str, View], k: int) -> dict[str, NDArray[np.int32]]:
    """View -> (n_users, k) item columns, best first, -1 past the last candidate."""
    parts: dict[str, list[NDArray[np.int32]]] = {name: [] for name in views}
    for start in range(0, len(case.user_rows), BLOCK):
        block = slice(start, start + BLOCK)
        histories = case.histories[block]
        scores = model.score(case.user_rows[block], histories)
        for name, view in views.items():
            known = histories.matrix if view.exclude_known else None
            parts[name].append(mask_and_rank(scores.copy(), k, case.candidates, known).item_columns)
    return {name: np.concatenate(lists) for name, lists in parts.items()}


def per_user(ranked: NDArray[np.int32], relevant: csr_array, vectors: csr_array) -> dict[str, NDArray[np.float64]]:
    """Metric -> one value a user, nan where it is undefined."""
    k = ranked.shape[1]
    return {
        f"precision@{k}": ranking.precision(ranked, relevant),
        f"recall@{k}": ranking.recall(ranked, relevant),
        f"ndcg@{k}": ranking.ndcg(ranked, relevant),
        f"hit_rate@{k}": ranking.hit_rate(ranked, relevant),
        f"diversity@{k}": diversity(ranked, vectors),
    }


def per_item(ranked: NDArray[np.int32], case: Case) -> dict[str, NDArray[np.float64]]:
    """Metric -> one value a candidate item: coverage is their mean."""
    return {f"coverage@{ranked.shape[1]}": covered(ranked, case.candidates)}


def latency(model: Recommender, case: Case, k: int) -> dict[str, float]:
    """Milliseconds of one list for one buyer in this process: {"p50", "p95"}."""
    times = []
    for place in np.linspace(0, len(case.user_rows) - 1, min(TIMED, len(case.user_rows))).astype(int):
        started = time.perf_counter()
        model.recommend(case.user_rows[place : place + 1], case.histories[place : place + 1], k)
        times.append((time.perf_counter() - started) * 1000)
    return {"p50": float(np.median(times)), "p95": float(np.quantile(times, 0.95))}


def bytes_on_disk(model: Recommender) -> int:
    """What the model's bundle takes on disk."""
    with tempfile.TemporaryDirectory() as folder:
        return size_in_bytes(model.save(Path(folder) / "bundle"))
