"""What is known of some buyers: their events, in order."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

DAY = 86_400_000_000  # microseconds


class EventsByItem(NamedTuple):
    """The order (n_events,) that brings each buyer's events of one item together, buyers and columns ascending and the
    oldest event first; and where in it each pair of buyer and item begins and ends, (n_pairs,) both.
    """

    order: NDArray[np.int64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class KnownItems:
    """The distinct items of some buyers, buyer by buyer and in the order of columns; all arrays are (n_pairs,)."""

    indptr: NDArray[np.int64]  # (n + 1,): buyer i's items are those from indptr[i] to indptr[i + 1]
    item_columns: NDArray[np.int64]
    weights: NDArray[np.float32]  # summed over the events
    visits_ago: NDArray[np.int64]  # of the newest event

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """(n_pairs,) the buyer of each pair."""
        return np.repeat(np.arange(len(self.indptr) - 1), np.diff(self.indptr))

    def select(self, mask: NDArray[np.bool_]) -> "KnownItems":
        """The same buyers with only the items where the mask (n_pairs,) is true."""
        if mask.all():
            return self
        kept = np.concatenate([[0], np.cumsum(mask)])[self.indptr]
        return KnownItems(kept, self.item_columns[mask], self.weights[mask], self.visits_ago[mask])

    def largest(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n,) the largest of each buyer's values, which are (n_pairs,) and 0 or more; 0 where nothing is known."""
        largest = np.zeros(len(self.indptr) - 1, dtype=np.float32)
        np.maximum.at(largest, self.rows, values)
        return largest


@dataclass(frozen=True, eq=False)
class Histories:
    """The events of n buyers over the columns of a log. Each buyer's stand together, the oldest first."""

    indptr: NDArray[np.int64]  # (n + 1,): buyer i's events are those from indptr[i] to indptr[i + 1]
    item_columns: NDArray[np.int32]  # (n_events,)
    timestamps: NDArray[np.int64]  # (n_events,) microseconds since 1970, UTC
    weights: NDArray[np.float32]  # (n_events,)
    n_items: int

    @classmethod
    def of_lists(cls, lists: Sequence[Sequence[int] | NDArray[np.int32]], n_items: int, now: int = 0) -> "Histories":
        """Buyers of whom only the item columns are known, oldest first; each event counts one and happened `now`."""
        indptr = np.concatenate([[0], np.cumsum([len(columns) for columns in lists], dtype=np.int64)])
        columns = np.concatenate([np.empty(0, np.int32), *(np.asarray(some, dtype=np.int32) for some in lists)])
        n_events = len(columns)
        ones = np.ones(n_events, np.float32)
        return cls(indptr.astype(np.int64), columns.astype(np.int32), np.full(n_events, now, np.int64), ones, n_items)

    @classmethod
    def of_matrix(cls, matrix: csr_array, now: int = 0) -> "Histories":
        """Buyers of whom only sums are known, (n, n_items): one event an entry, all of them `now`."""
        return cls(
            matrix.indptr.astype(np.int64),
            matrix.indices.astype(np.int32),
            np.full(matrix.nnz, now, np.int64),
            matrix.data.astype(np.float32),
            matrix.shape[1],
        )

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @property
    def shape(self) -> tuple[int, int]:
        """(n, n_items)."""
        return len(self), self.n_items

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """(n,) events of each buyer."""
        return np.diff(self.indptr)

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """(n_events,) the buyer of each event."""
        return np.repeat(np.arange(len(self)), self.counts)

    @cached_property
    def visits_ago(self) -> NDArray[np.int64]:
        """(n_events,) how many later moments the buyer has events at; what happened at the same time shares a visit."""
        later = np.zeros(len(self.timestamps), dtype=np.int64)
        later[1:] = self.timestamps[1:] != self.timestamps[:-1]
        visit = np.cumsum(later)
        # where one buyer's events end and the next one's begin only differences within a buyer count
        newest = visit[self.indptr[1:][self.counts > 0] - 1]
        return np.asarray(np.repeat(newest, self.counts[self.counts > 0]) - visit)

    @cached_property
    def by_item(self) -> EventsByItem:
        """The events of each pair of buyer and item, together."""
        keys = self.rows * self.n_items + self.item_columns if len(self) > 1 else self.item_columns
        order = keys.argsort(kind="stable")
        keys = keys[order]
        changes = np.flatnonzero(keys[1:] != keys[:-1])
        if not len(keys):
            return EventsByItem(order, changes, changes)
        return EventsByItem(order, np.concatenate([[0], changes + 1]), np.append(changes, len(keys) - 1))

    @cached_property
    def known_items(self) -> KnownItems:
        """Each buyer's events, one entry an item."""
        order, _, ends = self.by_item
        newest = order[ends]
        indptr = np.searchsorted(ends, self.indptr)  # the events of earlier buyers come first in any order
        columns = self.item_columns[newest].astype(np.int64)
        return KnownItems(indptr, columns, self.sums(self.weights).astype(np.float32), self.visits_ago[newest])

    def sums(self, values: NDArray[Any]) -> NDArray[Any]:
        """(n_pairs,) the sum over the events of each pair of `by_item`, of values (n_events,) in the events' order."""
        order, starts, _ = self.by_item
        return np.add.reduceat(values[order], starts) if len(starts) else np.zeros(0, values.dtype)

    @cached_property
    def matrix(self) -> csr_array:
        """(n, n_items) float32: the summed weights; columns ascend in each row."""
        summed = csr_array((self.weights, self.item_columns, self.indptr), shape=self.shape, dtype=np.float32)
        if len(summed.data):
            summed = summed.copy()  # sum_duplicates sorts in place, and these arrays are ours
            summed.sum_duplicates()
        return summed

    def __getitem__(self, chosen: "slice | Sequence[int] | NDArray[np.int64] | NDArray[np.int32]") -> "Histories":
        """The buyers of a slice or of row numbers, in that order."""
        if isinstance(chosen, slice):
            start, stop, step = chosen.indices(len(self))
            if step == 1:
                return self._between(start, max(start, stop))
            chosen = np.arange(start, stop, step)
        rows = np.asarray(chosen, dtype=np.int64)
        counts = self.counts[rows]
        indptr = np.concatenate([[0], np.cumsum(counts)])
        places = np.arange(indptr[-1]) + np.repeat(self.indptr[rows] - indptr[:-1], counts)
        return Histories(indptr, self.item_columns[places], self.timestamps[places], self.weights[places], self.n_items)

    def _between(self, start: int, stop: int) -> "Histories":
        events = slice(self.indptr[start], self.indptr[stop])
        return Histories(
            self.indptr[start : stop + 1] - self.indptr[start],
            self.item_columns[events],
            self.timestamps[events],
            self.weights[events],
            self.n_items,
        )

    def select(self, mask: NDArray[np.bool_]) -> "Histories":
        """The same buyers with only the events where the mask (n_events,) is true."""
        kept = np.concatenate([[0], np.cumsum(mask)])
        return Histories(
            kept[self.indptr], self.item_columns[mask], self.timestamps[mask], self.weights[mask], self.n_items
        )

    def latest(self, length: int) -> NDArray[np.int32]:
        """(n, length) item columns of the newest events, the newest in the last place; -1 before the first."""
        places = self.indptr[1:, None] - np.arange(length, 0, -1)
        found = places >= self.indptr[:-1, None]
        if not len(self.item_columns):
            return np.full(found.shape, -1, dtype=np.int32)
        return np.where(found, self.item_columns[np.where(found, places, 0)], np.int32(-1))
