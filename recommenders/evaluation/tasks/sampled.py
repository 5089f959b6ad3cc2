"""Ranking what a buyer wanted among a few sampled items: how the NCF paper judges, and others after it.

The figures compare with papers of the same protocol alone: a sample is easier than the catalogue, and it may order
models otherwise than full ranking does (Krichene & Rendle 2020).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recommenders.evaluation.tasks.task import Case
from recommenders.math.top_k import top_k
from recommenders.models.recommender import BLOCK, Recommender


@dataclass(frozen=True, eq=False)
class Candidates:
    """What each buyer of a case chooses from: what was wanted and what was sampled, in an order drawn by lot."""

    item_columns: NDArray[np.int32]  # (n_users, m); -1: an item the log does not know, or past the buyer's last one
    counts: NDArray[np.int64]  # (n_users,) candidates, those the log does not know included

    def describe(self, case: Case) -> str:
        """The protocol in one line."""
        sampled = self.counts - np.diff(case.relevant.indptr)
        low, high = int(sampled.min()), int(sampled.max())
        number = f"{low}" if low == high else f"{low} to {high}"
        return f"sampled candidates: {number} negatives a user; comparable with papers only, not with full ranking"


def draw_lots(case: Case, places: NDArray[np.int64], item_columns: NDArray[np.int64], seed: int = 42) -> Candidates:
    """The candidates of each buyer: the relevant items and the negatives given, each item once.

    places: (n_negatives,) row of the case. item_columns: (n_negatives,); columns from n_items on are items that the log
    does not know, each a number of its own; they rank last, as wanted items do that are not among the case's
    candidates. A negative that is relevant is none. The lots decide between equal scores, for all models alike, so that
    a model which scores everything the same gains nothing by where the answer stands.
    """
    n_users, n_items = case.relevant.shape
    width = max(n_items, int(item_columns.max(initial=0)) + 1)
    wanted = np.repeat(np.arange(n_users), np.diff(case.relevant.indptr)) * width + case.relevant.indices
    pairs = np.union1d(wanted, places * width + item_columns)
    rows, columns = np.divmod(np.random.default_rng(seed).permutation(pairs), width)
    order = np.argsort(rows, kind="stable")
    rows, columns = rows[order], columns[order]
    counts = np.bincount(rows, minlength=n_users)
    positions = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    table = np.full((n_users, int(counts.max(initial=0))), -1, dtype=np.int32)
    offered = np.append(case.candidates, False)[np.minimum(columns, n_items)]
    table[rows, positions] = np.where(offered, columns, -1)
    return Candidates(table, counts)


def rank_candidates(model: Recommender, case: Case, candidates: Candidates, k: int) -> NDArray[np.int32]:
    """(n_users, k) item columns, best first; -1 where an item that the log does not know stands, or none.

    Items unknown to the log rank last. Nothing is masked: whoever sampled the negatives chose them.
    """
    parts = [np.empty((0, k), np.int32)]
    for start in range(0, len(case.user_rows), BLOCK):
        block = slice(start, start + BLOCK)
        columns = candidates.item_columns[block]
        scores = model.score_items(case.user_rows[block], case.histories[block], np.maximum(columns, 0))
        chosen, best = top_k(np.where(columns >= 0, scores, np.float32(-np.inf)).astype(np.float32), k)
        ranked = np.take_along_axis(columns, np.maximum(chosen, 0), axis=1)
        parts.append(np.where(np.isneginf(best), np.int32(-1), ranked))
    return np.concatenate(parts)
