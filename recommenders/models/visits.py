"""When in a buyer's own history something happened: in visits, which need no calendar."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recommenders.datasets.histories import Histories


def visits_since(histories: Histories) -> NDArray[np.int64]:
    """(n_events,) how many later moments the buyer has events at; what happened at the same time shares a visit."""
    n_events = len(histories.item_columns)
    if not n_events:
        return np.zeros(0, dtype=np.int64)
    later = np.zeros(n_events, dtype=np.int64)
    later[1:] = histories.timestamps[1:] != histories.timestamps[:-1]
    visit = np.cumsum(later)
    if len(histories) == 1:
        return np.asarray(visit[-1] - visit)
    # where one buyer's events end and the next one's begin only differences within a buyer count
    last = visit[np.maximum(histories.indptr[1:] - 1, 0)]
    return np.asarray(np.repeat(last, histories.counts) - visit)


class KnownItems(NamedTuple):
    """The distinct items of some buyers, buyer by buyer and in the order of columns; all arrays are (n_pairs,)."""

    indptr: NDArray[np.int64]  # (n + 1,): buyer i's items are those from indptr[i] to indptr[i + 1]
    item_columns: NDArray[np.int64]
    weights: NDArray[np.float32]  # summed over the events
    visits_ago: NDArray[np.int64]  # of the newest event

    @property
    def rows(self) -> NDArray[np.int64]:
        """(n_pairs,) the buyer of each pair."""
        return np.repeat(np.arange(len(self.indptr) - 1), np.diff(self.indptr))

    def select(self, mask: NDArray[np.bool_]) -> "KnownItems":
        """The same buyers with only the items where the mask (n_pairs,) is true."""
        if mask.all():
            return self
        kept = np.concatenate([[0], np.cumsum(mask)])[self.indptr]
        return KnownItems(kept, self.item_columns[mask], self.weights[mask], self.visits_ago[mask])


def known_items(histories: Histories) -> KnownItems:
    """Each buyer's events, one entry an item."""
    if not len(histories.item_columns):
        nothing = np.zeros(0, dtype=np.int64)
        return KnownItems(np.zeros(len(histories) + 1, np.int64), nothing, np.zeros(0, np.float32), nothing)
    pairs = histories.rows * histories.n_items + histories.item_columns
    order = np.argsort(pairs, kind="stable")  # within a pair, the newest event comes last
    pairs = pairs[order]
    last = np.append(pairs[1:] != pairs[:-1], True)
    ends = np.flatnonzero(last)
    rows, columns = np.divmod(pairs[ends], histories.n_items)
    weights = np.add.reduceat(histories.weights[order], np.concatenate([[0], ends[:-1] + 1]))
    indptr = np.searchsorted(rows, np.arange(len(histories) + 1))
    return KnownItems(indptr, columns, weights.astype(np.float32), visits_since(histories)[order[ends]])
