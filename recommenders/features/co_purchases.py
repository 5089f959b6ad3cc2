"""Which items are bought together in one order, and how often users who buy both would do so by chance."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommenders.events.histories import Histories
from recommenders.math.ragged import joined_ranges

LEAST_SHARE = 0.1  # of the orders that have two items or more; with fewer, the log does not show what is in one order

Values = NDArray[np.float64]


class PairCounts(NamedTuple):
    """Of one item with each item of the log; (n_items,) each."""

    together: Values  # orders with both
    expected: Values  # the same if each user's orders with the one were a random sample of the user's orders


@dataclass(frozen=True, eq=False)
class CoPurchases:
    """The orders of a log and their distinct items. An order is all events of a user at one time.

    If the log has no meaningful times, or hardly an order of several items, all events of a user are one order.
    """

    items: csr_array  # (n_orders, n_items) int8 ones; the orders of a user are next to each other
    first_orders: NDArray[np.int64]  # (n_users + 1,): the orders of user i are those from first_orders[i] to [i + 1]
    by_user: bool  # whether all events of a user are one order

    @classmethod
    def from_histories(cls, histories: Histories, dated: bool) -> "CoPurchases":
        """The orders of all users of a log. dated: whether its times are meaningful."""
        changes = np.ones(len(histories.item_columns), dtype=np.bool_)
        changes[1:] = histories.timestamps[1:] != histories.timestamps[:-1]
        changes[histories.indptr[:-1][histories.counts > 0]] = True
        if dated and len(changes):
            numbers = np.cumsum(changes) - 1
            first = np.searchsorted(numbers, np.arange(numbers[-1] + 2))
            items = _ones(first, histories)
            if np.mean(np.diff(items.indptr) > 1) >= LEAST_SHARE:
                starts = np.concatenate([[0], np.cumsum(changes)])[histories.indptr]
                return cls(items, starts.astype(np.int64), False)
        return cls(_ones(histories.indptr, histories), np.arange(len(histories) + 1), True)

    @cached_property
    def _orders(self) -> csr_array:
        """(n_items, n_orders): the orders of each item."""
        return csr_array(self.items.T)

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """(n_items,): the number of orders with each item."""
        return np.asarray(np.diff(self._orders.indptr), dtype=np.int64)

    def of(self, item_column: int) -> PairCounts:
        """The counts of an item with each item; with itself they are 0."""
        start, stop = self._orders.indptr[item_column : item_column + 2]
        orders = self._orders.indices[start:stop]
        together = self._sums(orders, orders + 1, np.ones(len(orders)))
        users, n_orders = np.unique(np.searchsorted(self.first_orders, orders, side="right") - 1, return_counts=True)
        first, end = self.first_orders[users], self.first_orders[users + 1]
        expected = self._sums(first, end, n_orders / (end - first))
        together[item_column] = expected[item_column] = 0.0
        return PairCounts(together, expected)

    def _sums(self, first: NDArray[np.int64], end: NDArray[np.int64], weights: Values) -> Values:
        """(n_items,): how often each item is in the orders of each range, times the range's weight."""
        starts = self.items.indptr[first].astype(np.int64)
        sizes = self.items.indptr[end] - starts
        columns = self.items.indices[joined_ranges(starts, sizes)]
        sums = np.bincount(columns, np.repeat(weights, sizes), minlength=self.items.shape[1])
        return sums.astype(np.float64)  # without any order bincount returns whole numbers


def log_likelihood_ratio(together: Values, count: float, counts: NDArray[np.int64], n_orders: int) -> Values:
    """(n_items,): the log-likelihood ratio of the independence of one item and each other item, 0 or more.

    together: orders with both; count, counts: orders with the one, and with each other item. Dunning 1993 (Accurate
    methods for the statistics of surprise and coincidence).
    """
    others = counts.astype(np.float64)
    cells = (together, count - together, others - together, n_orders - count - others + together)
    margins = (np.full_like(together, count), others, np.full_like(together, n_orders - count), n_orders - others)
    found = np.full_like(together, n_orders * np.log(max(n_orders, 1)))
    for cell, margin in zip(cells, margins, strict=True):
        found += _x_log_x(cell) - _x_log_x(margin)
    return np.maximum(2.0 * found, 0.0)


def _x_log_x(values: Values) -> Values:
    return np.asarray(values * np.log(np.maximum(values, 1e-300)))


def _ones(indptr: NDArray[np.int64], histories: Histories) -> csr_array:
    """(len(indptr) - 1, n_items) int8: 1 for each distinct item of consecutive events."""
    shape = (len(indptr) - 1, histories.n_items)
    ones = np.ones(len(histories.item_columns), dtype=np.int8)
    matrix = csr_array((ones, histories.item_columns.copy(), indptr.copy()), shape=shape)
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix
