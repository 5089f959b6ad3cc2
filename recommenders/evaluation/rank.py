"""Top-k lists of a model for an evaluation task. Each block of users is scored once for all views."""

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from threadpoolctl import threadpool_limits

from recommenders.evaluation.tasks.task import EvaluationTask, TaskView
from recommenders.events.histories import Histories
from recommenders.math.ranked import mask_and_rank
from recommenders.models.recommender import BLOCK, Recommender
from recommenders.storage import bundle, contexts
from recommenders.storage.bundle import size_in_bytes

MAX_SCORES = 16_000_000  # scores in memory at once; fewer users per block for a large catalogue
LATENCY_USERS = 100  # users of the latency measurement, one request each

Lists = NDArray[np.int32]  # (n_users, k) item columns, best first, -1 after the last candidate
Score = Callable[[NDArray[np.int32], Histories], NDArray[np.float32]]  # as Recommender.score


def rank_users(model: Recommender, task: EvaluationTask, views: Mapping[str, TaskView], k: int) -> dict[str, Lists]:
    """View -> lists. Views that exclude the same items share one array: do not write into it.

    A model that ranks candidates makes its lists with recommend(), as in serving. A model with block 1 runs with one
    thread, as in serving, because two threads sum a product in another order.
    """
    masks = {view.exclude_known for view in views.values()}
    with threadpool_limits(1 if model.block == 1 else None):
        if model.ranks_candidates:
            arguments = (task.user_rows, task.histories, k, task.candidates)
            found = {exclude: model.recommend(*arguments, exclude).item_columns for exclude in masks}
        else:
            found = rank_scores(model.score, task, masks, k, model.block)
    return {name: found[view.exclude_known] for name, view in views.items()}


def rank_scores(score: Score, task: EvaluationTask, masks: set[bool], k: int, block: int = BLOCK) -> dict[bool, Lists]:
    """Whether known items are excluded -> lists, for each of `masks`. The scores that `score` returns are overwritten.

    block: number of users per call of `score`; fewer if there are many items.
    """
    parts: dict[bool, list[Lists]] = {exclude: [np.empty((0, k), np.int32)] for exclude in masks}
    step = max(1, min(block, MAX_SCORES // max(1, len(task.candidates))))
    for start in range(0, len(task.user_rows), step):
        block_rows = slice(start, start + step)
        histories = task.histories[block_rows]
        scores = score(task.user_rows[block_rows], histories)
        for exclude in sorted(masks):  # the second mask only adds to the first, so both use the same scores
            known = _events(histories) if exclude else None
            parts[exclude].append(mask_and_rank(scores, k, task.candidates, known).item_columns)
    return {exclude: np.concatenate(lists) for exclude, lists in parts.items()}


def _events(histories: Histories) -> csr_array:
    """(n, n_items) with one entry per event, neither summed nor sorted: enough for masking, and cheap to make."""
    return csr_array((histories.weights, histories.item_columns, histories.indptr), shape=histories.shape)


def latency(model: Recommender, task: EvaluationTask, k: int) -> dict[str, float]:
    """Milliseconds of one list for one user in this process: {"p50", "p95"}."""
    times = []
    for place in np.linspace(0, len(task.user_rows) - 1, min(LATENCY_USERS, len(task.user_rows))).astype(int):
        started = time.perf_counter()
        model.recommend(task.user_rows[place : place + 1], task.histories[place : place + 1], k)
        times.append((time.perf_counter() - started) * 1000)
    return {"p50": float(np.median(times)), "p95": float(np.quantile(times, 0.95))}


def bytes_on_disk(model: Recommender) -> int:
    """The size of what the model has learned on disk: its bundle without its context."""
    with tempfile.TemporaryDirectory() as folder:
        return size_in_bytes(bundle.write(Path(folder) / "bundle", model.to_bundle(), model.base_model_bundles()))


def context_bytes(model: Recommender) -> int:
    """The size of the model's context on disk, which all models of one training log share."""
    with tempfile.TemporaryDirectory() as folder:
        contexts.write(Path(folder), model.context_.arrays())
        return size_in_bytes(Path(folder))
