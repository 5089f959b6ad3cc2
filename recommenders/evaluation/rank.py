"""The lists a model gives for a case, each block of buyers scored once for all views."""

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from threadpoolctl import threadpool_limits

from recommenders.evaluation.tasks.task import Case, View
from recommenders.events.histories import Histories
from recommenders.models.recommender import BLOCK, Recommender, mask_and_rank
from recommenders.storage.bundle import size_in_bytes

CELLS = 16_000_000  # scores held at once, where a block of users times the catalogue would be more
TIMED = 100  # buyers asked one at a time for the latency

Lists = NDArray[np.int32]  # (n_users, k) item columns, best first, -1 past the last candidate
Score = Callable[[NDArray[np.int32], Histories], NDArray[np.float32]]  # as Recommender.score


def rank(model: Recommender, case: Case, views: Mapping[str, View], k: int) -> dict[str, Lists]:
    """View -> lists. Views that leave out the same items hold the same array: do not write into it.

    A model that ranks candidates is asked for its lists, as it would be to serve them; one that answers one user at a
    time, with one thread, as the service does: two sum a product in another order.
    """
    masks = {view.exclude_known for view in views.values()}
    with threadpool_limits(1 if model.block == 1 else None):
        if model.ranks_candidates:
            asked = (case.user_rows, case.histories, k, case.candidates)
            found = {exclude: model.recommend(*asked, exclude).item_columns for exclude in masks}
        else:
            found = rank_scores(model.score, case, masks, k, model.block)
    return {name: found[view.exclude_known] for name, view in views.items()}


def rank_scores(score: Score, case: Case, masks: set[bool], k: int, block: int = BLOCK) -> dict[bool, Lists]:
    """Whether known items are left out -> lists, for each of `masks`; what `score` returns is overwritten.

    block: how many users `score` is asked for at once, or fewer where there are many items.
    """
    parts: dict[bool, list[Lists]] = {exclude: [np.empty((0, k), np.int32)] for exclude in masks}
    step = max(1, min(block, CELLS // max(1, len(case.candidates))))
    for start in range(0, len(case.user_rows), step):
        some = slice(start, start + step)
        histories = case.histories[some]
        scores = score(case.user_rows[some], histories)
        for exclude in sorted(masks):  # the second mask adds to the first, so both work on the same scores
            known = _events(histories) if exclude else None
            parts[exclude].append(mask_and_rank(scores, k, case.candidates, known).item_columns)
    return {exclude: np.concatenate(lists) for exclude, lists in parts.items()}


def _events(histories: Histories) -> csr_array:
    """(n, n_items) with an entry an event, neither summed nor sorted: enough to mask, and made for next to nothing."""
    return csr_array((histories.weights, histories.item_columns, histories.indptr), shape=histories.shape)


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
