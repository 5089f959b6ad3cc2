"""Sampled evaluation: ranks the relevant items of a user among a few sampled negatives, as the NCF paper does.

Compare these metrics only with papers that use the same protocol: a sample is easier than the whole catalogue, and it
may rank models in another order than full ranking does (Krichene & Rendle 2020).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recommenders.evaluation.tasks.task import EvaluationTask
from recommenders.math.ragged import joined_ranges
from recommenders.math.top_k import top_k
from recommenders.models.recommender import BLOCK, Recommender


@dataclass(frozen=True, eq=False)
class Candidates:
    """The candidates of each user of a task: relevant items and sampled negatives, in random order."""

    item_columns: NDArray[np.int32]  # (n_users, m); -1: an unknown item, or after the user's last candidate
    counts: NDArray[np.int64]  # (n_users,) number of candidates, with the unknown items

    def describe(self, task: EvaluationTask) -> str:
        """The protocol in one line."""
        sampled = self.counts - np.diff(task.relevant.indptr)
        low, high = int(sampled.min()), int(sampled.max())
        number = f"{low}" if low == high else f"{low} to {high}"
        return f"sampled candidates: {number} negatives a user; comparable with papers only, not with full ranking"


def shuffled_candidates(
    task: EvaluationTask, places: NDArray[np.int64], item_columns: NDArray[np.int64], seed: int = 42
) -> Candidates:
    """The candidates of each user: the relevant items and the given negatives, each item once, in random order.

    places: (n_negatives,) row of the task. item_columns: (n_negatives,); columns of n_items or more are unknown items,
    a different number for each. Unknown items rank last, and so do relevant items that are not candidates of the task.
    A relevant item is never a negative. The order breaks ties between equal scores at random, equally for all models,
    so a model with constant scores gains nothing from the position of the relevant item.
    """
    n_users, n_items = task.relevant.shape
    width = max(n_items, int(item_columns.max(initial=0)) + 1)
    relevant = np.repeat(np.arange(n_users), np.diff(task.relevant.indptr)) * width + task.relevant.indices
    pairs = np.union1d(relevant, places * width + item_columns)
    rows, columns = np.divmod(np.random.default_rng(seed).permutation(pairs), width)
    order = np.argsort(rows, kind="stable")
    rows, columns = rows[order], columns[order]
    counts = np.bincount(rows, minlength=n_users)
    positions = joined_ranges(0, counts)
    table = np.full((n_users, int(counts.max())), -1, dtype=np.int32)
    offered = np.append(task.candidates, False)[np.minimum(columns, n_items)]
    table[rows, positions] = np.where(offered, columns, -1)
    return Candidates(table, counts)


def rank_candidates(model: Recommender, task: EvaluationTask, candidates: Candidates, k: int) -> NDArray[np.int32]:
    """(n_users, k) item columns, best first; -1 for an unknown item or an empty place.

    Unknown items rank last. Known items are not masked, because the negatives are given.
    """
    parts = [np.empty((0, k), np.int32)]
    for start in range(0, len(task.user_rows), BLOCK):
        block = slice(start, start + BLOCK)
        columns = candidates.item_columns[block]
        scores = model.score_items(task.user_rows[block], task.histories[block], np.maximum(columns, 0))
        chosen, best = top_k(np.where(columns >= 0, scores, np.float32(-np.inf)).astype(np.float32), k)
        ranked = np.take_along_axis(columns, np.maximum(chosen, 0), axis=1)
        parts.append(np.where(np.isneginf(best), np.int32(-1), ranked))
    return np.concatenate(parts)
