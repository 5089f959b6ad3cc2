"""The validation of a network's epochs: held-out events of some users, ranked by the code that serves requests."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommenders.events.histories import Histories
from recommenders.events.interactions import Interactions
from recommenders.math.ranked import mask_and_rank
from recommenders.metrics.ranking import ndcg
from recommenders.models.recommender import BLOCK
from recommenders.splitting.early_stopping import HeldOut

# (user rows (n,), histories (n, n_items), item columns (m,)) -> scores (n, m)
Scorer = Callable[[NDArray[np.int32], Histories, NDArray[np.int64]], NDArray[np.float32]]


@dataclass(frozen=True)
class Validation:
    """The held-out users, the items to be ranked for them, and those that are relevant."""

    user_rows: NDArray[np.int32]  # (n,)
    histories: Histories  # (n, n_items) the events that are not held out
    item_columns: NDArray[np.int64]  # (n_candidates,) ascending
    relevant: csr_array  # (n, n_candidates)
    known: csr_array | None  # (n, n_candidates) masked items, in a log without repeat purchases

    @classmethod
    def from_held_out(cls, log: Interactions, held_out: HeldOut, max_items: int, rng: np.random.Generator) -> Self:
        """Ranks the items with events; of more than max_items, only that many, drawn at random, and the relevant ones.

        log: the log from which events were held out. An item with events counts as on sale: an item withdrawn since
        can still be right for an earlier order.
        """
        columns = np.unique(log.item_columns).astype(np.int64)
        if len(columns) > max_items:
            columns = np.union1d(rng.choice(columns, max_items, replace=False), held_out.relevant.indices)
        known = None if log.repeat else held_out.histories.matrix[:, columns]
        return cls(held_out.user_rows, held_out.histories, columns, held_out.relevant[:, columns], known)

    def ndcg(self, score: Scorer, k: int) -> float:
        """The mean NDCG@k of the held-out users."""
        values, everything = [], np.ones(len(self.item_columns), dtype=np.bool_)
        for start in range(0, len(self.user_rows), BLOCK):
            some = slice(start, start + BLOCK)
            scores = score(self.user_rows[some], self.histories[some], self.item_columns)
            known = None if self.known is None else self.known[some]
            ranked = mask_and_rank(scores, k, everything, known).item_columns
            values.append(ndcg(ranked, self.relevant[some]))
        return float(np.nanmean(np.concatenate(values)))
