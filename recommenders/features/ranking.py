"""The features of the ranker: item features, user features, and features of user-item pairs.

Counts of items are rates, orders or shares, so trees trained on an earlier, shorter log apply to a later one. Only what
a user did (user_orders, user_items, pair_orders) is counted as it is. Ages are -1 if there is no event or if times are
not known.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from recommenders.events.histories import Histories
from recommenders.events.interactions import Interactions
from recommenders.features.repurchase import Pairs, mean_interval_days

Matrix = NDArray[np.float32]

ITEM_FEATURES = (
    "item_sales_half_horizon",
    "item_sales_horizon",
    "item_sales_two_horizons",
    "item_sales",
    "item_trend",
    "item_users",
    "item_events_per_user",
    "item_days_since_sold",
    "item_days_since_first_sold",
)
USER_FEATURES = (
    "user_known",
    "user_orders",
    "user_items",
    "user_items_per_order",
    "user_repeat_share",
    "user_days_since_order",
    "user_days_between_orders",
)
PAIR_FEATURES = (
    "pair_orders",
    "pair_order_share",
    "pair_recent_short",
    "pair_recent_long",
    "pair_days_since",
    "pair_orders_since",
    "pair_interval",
    "pair_due",
    "pair_due_as_item",
    "pair_category_share",
)
LAST_KEY = [np.iinfo(np.int64).max]  # of no pair


def feature_horizon_days(log: Interactions) -> float:
    """The horizon of the log, of which the features take halves and multiples; without one a tenth of the log's span,
    at least a day.
    """
    return float(log.horizon_days or max(float(log.ages().max(initial=0)) / 10, 1.0))


def category_numbers(names: NDArray[np.str_]) -> NDArray[np.int32]:
    """(n_items,): the categories numbered from 0, in the order of their names. "", for unknown, is one of them."""
    return np.unique(names, return_inverse=True)[1].astype(np.int32)


def ranker_item_features(log: Interactions, horizon_days: float) -> Matrix:
    """(n_items, len(ITEM_FEATURES)): log of the sales relative to those of the mean item; ages in days."""
    n_items, ages = len(log.items), log.ages()
    sales = [
        _relative(np.bincount(log.item_columns[ages <= days], minlength=n_items))
        for days in (horizon_days / 2, horizon_days, 2 * horizon_days, np.inf)
    ]
    users = np.bincount(log.matrix("binary").indices, minlength=n_items)
    events = np.bincount(log.item_columns, minlength=n_items)
    last, first = np.full(n_items, np.inf), np.full(n_items, -1.0)
    np.minimum.at(last, log.item_columns, ages)
    np.maximum.at(first, log.item_columns, ages)
    columns = [
        *sales,
        sales[0] - sales[2],
        _relative(users),
        events / np.maximum(users, 1),
        np.minimum(last, 6 * horizon_days),  # a large age if no user has bought the item
        np.clip(first, 0.0, 6 * horizon_days),  # clipped: the length of the log must not set the age of an item
    ]
    return np.stack(columns, axis=1).astype(np.float32)


def _relative(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.log1p(counts / max(float(counts.mean()), 1e-9))


@dataclass(frozen=True, eq=False)
class UserPairFeatures:
    """Features of users and user-item pairs, from histories. An order is a visit: all events of a user at one time."""

    histories: Histories
    known: NDArray[np.bool_]  # (n,) whether the user is in the log; for others the times are not known
    as_of: int  # microseconds
    dated: bool
    horizon_days: float

    @classmethod
    def from_log(cls, log: Interactions, user_rows: NDArray[np.int64] | None = None) -> "UserPairFeatures":
        """The features of the log's users (default: all) as of its newest event."""
        histories = log.histories() if user_rows is None else log.histories()[user_rows]
        known = np.ones(len(histories), dtype=np.bool_)
        return cls(histories, known, int(log.timestamps.max(initial=0)), log.dated, feature_horizon_days(log))

    @cached_property
    def _pairs(self) -> Pairs:
        return Pairs(self.histories, self.as_of, self.dated)

    @cached_property
    def users(self) -> Matrix:
        """(n, len(USER_FEATURES))."""
        histories, n_orders = self.histories, self._pairs.n_visits
        n_items = np.diff(histories.known_items.indptr)
        timed = self.known & self.dated & (n_orders > 0)
        found = np.full((len(USER_FEATURES), len(histories)), -1.0)
        found[0] = self.known
        found[1], found[2], found[3] = n_orders, n_items, n_items / np.maximum(n_orders, 1)
        np.log1p(found[1:4], out=found[1:4])
        found[4] = 1.0 - n_items / np.maximum(histories.counts, 1)
        first, last = (self._pairs.ages[places[timed]] for places in (histories.indptr[:-1], histories.indptr[1:] - 1))
        found[5, timed] = last
        found[6, timed] = (first - last) / np.maximum(n_orders[timed] - 1, 1)
        found[6, n_orders < 2] = -1.0
        return found.T.astype(np.float32)

    def pairs(
        self, rows: NDArray[np.int64], columns: NDArray[np.int32], intervals: Matrix, categories: NDArray[np.int32]
    ) -> Matrix:
        """(n_pairs, len(PAIR_FEATURES)): the features of users `rows` with items `columns`, (n_pairs,) each.

        intervals: (n_items,) mean days between two orders of an item by one user. categories: (n_items,), from 0.
        """
        n_items, pairs = self.histories.n_items, self._pairs
        keys = np.concatenate([pairs.rows * n_items + pairs.item_columns, LAST_KEY])
        queries = rows * n_items + columns
        places = np.searchsorted(keys, queries)
        places[keys[places] != queries] = len(keys) - 1
        found = np.empty((len(PAIR_FEATURES), len(rows)), dtype=np.float32)
        self._bought_features(intervals).take(places, axis=1, out=found[:-1], mode="clip")
        found[-1] = self._category_shares(rows, columns, categories)
        return found.T

    def _bought_features(self, intervals: Matrix) -> Matrix:
        """(len(PAIR_FEATURES) - 1, n_bought_pairs + 1): all features but the last; last column: pairs not bought."""
        pairs, rows = self._pairs, self._pairs.rows
        orders, last = pairs.visits, pairs.days_since
        interval = pairs.days_between / np.maximum(orders - 1, 1)
        table = np.empty((len(PAIR_FEATURES) - 1, len(rows) + 1), dtype=np.float32)
        table[:4, -1], table[4:, -1] = 0.0, -1.0
        bought, untimed = table[:, :-1], ~(self.known & self.dated)
        bought[0] = np.log1p(orders)
        bought[1] = orders / pairs.n_visits[rows]
        bought[2:4] = pairs.recent_visits(self.horizon_days / 2, 2 * self.horizon_days)
        bought[4] = last
        bought[5] = pairs.visits_since
        bought[6] = interval
        bought[7] = last / np.maximum(interval, 1.0)
        bought[6:8, orders <= 1] = -1.0
        bought[8] = last / intervals[pairs.item_columns]
        if untimed.any():
            hidden = untimed[rows]
            bought[2:4, hidden] = 0.0
            bought[4, hidden] = bought[6:, hidden] = -1.0
        return table

    def _category_shares(
        self, rows: NDArray[np.int64], columns: NDArray[np.int32], categories: NDArray[np.int32]
    ) -> Matrix:
        """(n_pairs,): the share of the user's events that are in the item's category."""
        histories, n_categories = self.histories, int(categories.max(initial=0)) + 1
        of_events = histories.rows * n_categories + categories[histories.item_columns]
        counts = np.bincount(of_events, minlength=len(histories) * n_categories)
        of_pairs = counts[rows * n_categories + categories[columns]]
        return np.asarray(of_pairs / np.maximum(histories.counts[rows], 1), dtype=np.float32)


def mean_item_intervals(log: Interactions, horizon_days: float) -> Matrix:
    """(n_items,): mean days between two orders of an item by one user; with few reorders, near the overall mean."""
    pairs = Pairs(log.histories(), int(log.timestamps.max(initial=0)), log.dated)
    return mean_interval_days(pairs, default=horizon_days).astype(np.float32)
