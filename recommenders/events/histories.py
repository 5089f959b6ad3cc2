"""User histories: the events of some users in time order, as arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommenders.math.ragged import joined_ranges

DAY = 86_400_000_000  # microseconds


class EventsByItem(NamedTuple):
    """The order (n_events,) that sorts events by user, item column and time, oldest first; and the first and last
    position of each pair of user and item in that order, both (n_pairs,).
    """

    order: NDArray[np.int64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class KnownItems:
    """The distinct items of each history, sorted by user and item column; all arrays are (n_pairs,)."""

    indptr: NDArray[np.int64]  # (n + 1,): the items of user i are those from indptr[i] to indptr[i + 1]
    item_columns: NDArray[np.int64]
    weights: NDArray[np.float32]  # sum over the events of the pair
    visits_ago: NDArray[np.int64]  # of the newest event

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """(n_pairs,) the user of each pair."""
        return np.repeat(np.arange(len(self.indptr) - 1), np.diff(self.indptr))

    @cached_property
    def log_weights(self) -> NDArray[Any]:
        """(n_pairs,) float32 log(1 + weight)."""
        return np.log1p(self.weights)

    def select(self, mask: NDArray[np.bool_]) -> "KnownItems":
        """The same users with only the items where the mask (n_pairs,) is true."""
        if mask.all():
            return self
        kept = np.concatenate([[0], np.cumsum(mask)])[self.indptr]
        return KnownItems(kept, self.item_columns[mask], self.weights[mask], self.visits_ago[mask])

    def add_to(self, scores: NDArray[np.float32], values: NDArray[np.float32]) -> None:
        """Adds values (n_pairs,) to the scores (n, n_items) of the pairs, in place."""
        if len(scores) == 1:  # indices of one axis are faster
            scores[0][self.item_columns] += values
        else:
            scores[self.rows, self.item_columns] += values

    def largest(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n,) the maximum of each user's values; values are (n_pairs,) and 0 or more; 0 for an empty history."""
        largest = np.zeros(len(self.indptr) - 1, dtype=np.float32)
        np.maximum.at(largest, self.rows, values)
        return largest


@dataclass(frozen=True, eq=False)
class Histories:
    """The events of n users over the item columns of a log, sorted by user and time, oldest first."""

    indptr: NDArray[np.int64]  # (n + 1,): the events of user i are those from indptr[i] to indptr[i + 1]
    item_columns: NDArray[np.int32]  # (n_events,)
    timestamps: NDArray[np.int64]  # (n_events,) microseconds since 1970, UTC
    weights: NDArray[np.float32]  # (n_events,)
    n_items: int

    @classmethod
    def from_lists(cls, lists: Sequence[Sequence[int] | NDArray[np.int32]], n_items: int, now: int = 0) -> "Histories":
        """Histories from lists of item columns, oldest first; each event has weight 1 and the time stamp `now`."""
        indptr = np.concatenate([[0], np.cumsum([len(columns) for columns in lists], dtype=np.int64)])
        columns = np.concatenate([np.empty(0, np.int32), *(np.asarray(columns, dtype=np.int32) for columns in lists)])
        n_events = len(columns)
        ones = np.ones(n_events, np.float32)
        return cls(indptr.astype(np.int64), columns.astype(np.int32), np.full(n_events, now, np.int64), ones, n_items)

    @classmethod
    def from_matrix(cls, matrix: csr_array, now: int = 0) -> "Histories":
        """Histories from a matrix of weights, (n, n_items): one event per entry, all with the time stamp `now`."""
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
        """(n,) number of events of each user."""
        return np.diff(self.indptr)

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """(n_events,) the user of each event."""
        return np.repeat(np.arange(len(self)), self.counts)

    @cached_property
    def _newest(self) -> NDArray[np.int64]:
        """(n_events,) the position of the newest event of the same user."""
        return np.repeat(self.indptr[1:] - 1, self.counts)

    @cached_property
    def visits_ago(self) -> NDArray[np.int64]:
        """(n_events,) the number of later visits of the user. A visit is all events of one user with one time stamp."""
        later = np.zeros(len(self.timestamps), dtype=np.int64)
        later[1:] = self.timestamps[1:] != self.timestamps[:-1]
        visit = np.cumsum(later)
        # the visit number also rises between users, but only differences within a user are used
        return np.asarray(visit[self._newest] - visit)

    @cached_property
    def n_visits(self) -> NDArray[np.int64]:
        """(n,) the number of visits of each user."""
        found = np.zeros(len(self), dtype=np.int64)
        filled = self.counts > 0  # all visits but one follow a user's first event
        found[filled] = self.visits_ago[self.indptr[:-1][filled]] + 1
        return found

    @cached_property
    def days_ago(self) -> NDArray[np.float64]:
        """(n_events,) days before the user's own newest event."""
        return np.asarray((self.timestamps[self._newest] - self.timestamps) / DAY)

    @cached_property
    def by_item(self) -> EventsByItem:
        """The events, grouped by pairs of user and item."""
        keys = self.rows * self.n_items + self.item_columns if len(self) > 1 else self.item_columns
        order = keys.argsort(kind="stable")
        keys = keys[order]
        changes = np.flatnonzero(keys[1:] != keys[:-1])
        if not len(keys):
            return EventsByItem(order, changes, changes)
        return EventsByItem(order, np.concatenate([[0], changes + 1]), np.append(changes, len(keys) - 1))

    @cached_property
    def known_items(self) -> KnownItems:
        """The distinct items of each history."""
        order, _, ends = self.by_item
        newest = order[ends]
        indptr = np.searchsorted(ends, self.indptr)  # both orders sort by user first
        columns = self.item_columns[newest].astype(np.int64)
        return KnownItems(indptr, columns, self.sums(self.weights).astype(np.float32), self.visits_ago[newest])

    @cached_property
    def begins(self) -> NDArray[np.bool_]:
        """(n_events,) in the order of `by_item`: whether the event is the first one of its pair and visit."""
        order, starts, _ = self.by_item
        times = self.timestamps[order]
        found = np.ones(len(order), dtype=np.bool_)
        np.not_equal(times[1:], times[:-1], out=found[1:])
        found[starts] = True
        return found

    @cached_property
    def item_visits(self) -> NDArray[np.float64]:
        """(n_pairs,) the number of visits with the item."""
        return sums_per_pair(self.begins.astype(np.float64), self.by_item.starts)

    def sums(self, values: NDArray[Any]) -> NDArray[Any]:
        """(n_pairs,) sums of values (n_events,), which are in the order of the events, over each pair of `by_item`."""
        return sums_per_pair(values[self.by_item.order], self.by_item.starts)

    @cached_property
    def matrix(self) -> csr_array:
        """(n, n_items) float32: the summed weights; columns ascend in each row."""
        summed = csr_array((self.weights, self.item_columns, self.indptr), shape=self.shape, dtype=np.float32)
        if len(summed.data):
            summed = summed.copy()  # sum_duplicates sorts in place, and the arrays of this object must not change
            summed.sum_duplicates()
        return summed

    def __getitem__(self, selection: "slice | Sequence[int] | NDArray[np.int64] | NDArray[np.int32]") -> "Histories":
        """The histories of a slice or of row numbers, in that order."""
        if isinstance(selection, slice):
            start, stop, step = selection.indices(len(self))
            if step == 1:
                return self._between(start, max(start, stop))
            selection = np.arange(start, stop, step)
        rows = np.asarray(selection, dtype=np.int64)
        counts = self.counts[rows]
        indptr = np.concatenate([[0], np.cumsum(counts)])
        places = joined_ranges(self.indptr[rows], counts)
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
        """The same users with only the events where the mask (n_events,) is true."""
        kept = np.concatenate([[0], np.cumsum(mask)])
        return Histories(
            kept[self.indptr], self.item_columns[mask], self.timestamps[mask], self.weights[mask], self.n_items
        )

    def latest(self, length: int) -> NDArray[np.int32]:
        """(n, length) item columns of the newest events, the newest in the last place; padded with -1 at the front."""
        places = self.indptr[1:, None] - np.arange(length, 0, -1)
        found = places >= self.indptr[:-1, None]
        if not len(self.item_columns):
            return np.full(found.shape, -1, dtype=np.int32)
        return np.where(found, self.item_columns[np.where(found, places, 0)], np.int32(-1))


def sums_per_pair(values: NDArray[Any], starts: NDArray[np.int64]) -> NDArray[Any]:
    """(..., n_pairs): sums of values (..., n_events), which are in the order of EventsByItem, over each pair."""
    if not len(starts):
        return np.zeros((*values.shape[:-1], 0), values.dtype)
    return np.asarray(np.add.reduceat(values, starts, axis=-1))
