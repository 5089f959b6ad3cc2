"""Repurchase features: how often, how regularly and how recently a user bought an item."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from recommenders.events.histories import DAY, Histories

# described in recommenders/features/feature_descriptions.py
REPURCHASE_FEATURES = (
    "purchases",
    "amount_each",
    "recent_amount",
    "share",
    "days",
    "visits",
    "due",
    "due_squared",
    "visits_due",
    "visits_due_squared",
    "reordered",
    "regularity",
    "demand",
    "trend",
)
PRIOR_USERS = 5.0  # pseudo-count of users (or gaps between purchases) added to the statistics of an item


@dataclass(frozen=True, eq=False)
class Pairs:
    """The distinct (user, item) pairs of histories, sorted by user and column; arrays are (n_pairs,) unless noted.

    A visit is all events of one user at one time.
    """

    histories: Histories
    now: int  # microseconds; an event after it has age 0
    dated: bool  # if False, times are not meaningful and days are 0

    @property
    def rows(self) -> NDArray[np.int64]:
        """The rows of the users."""
        return self.histories.known_items.rows

    @property
    def item_columns(self) -> NDArray[np.int64]:
        """The columns of the items."""
        return self.histories.known_items.item_columns

    @cached_property
    def ages(self) -> NDArray[np.float64]:
        """(n_events,): days before now, in the order of the histories."""
        if not self.dated:
            return np.zeros(len(self.histories.timestamps))
        return np.asarray(np.maximum(self.now - self.histories.timestamps, 0) / DAY)

    @cached_property
    def _last(self) -> NDArray[np.int64]:
        """The position of the pair's newest event in the histories."""
        order, _, ends = self.histories.by_item
        return order[ends]

    @cached_property
    def days_since(self) -> NDArray[np.float64]:
        """Days since the last purchase."""
        return self.ages[self._last]

    @cached_property
    def days_between(self) -> NDArray[np.float64]:
        """Days from the first to the last purchase."""
        order, starts, _ = self.histories.by_item
        return np.asarray(self.ages[order[starts]] - self.days_since)

    @property
    def visits_since(self) -> NDArray[np.int64]:
        """The number of visits of the user after the last purchase."""
        return self.histories.known_items.visits_ago

    @cached_property
    def _begins(self) -> NDArray[np.bool_]:
        """(n_events,): whether the event is the first one of its pair and visit, ordered by pair."""
        order, starts, _ = self.histories.by_item
        times = self.histories.timestamps[order]
        begins = np.ones(len(order), dtype=np.bool_)
        begins[1:] = times[1:] != times[:-1]
        begins[starts] = True
        return begins

    @cached_property
    def visits(self) -> NDArray[np.float64]:
        """The number of visits with the item."""
        return self._summed(self._begins.astype(np.float64))

    @cached_property
    def n_visits(self) -> NDArray[np.int64]:
        """(n,): the number of visits of each user, for any item."""
        found = np.zeros(len(self.histories), dtype=np.int64)
        filled = self.histories.counts > 0  # all visits but one follow a user's first event
        found[filled] = self.histories.visits_ago[self.histories.indptr[:-1][filled]] + 1
        return found

    @cached_property
    def amount(self) -> NDArray[np.float64]:
        """The summed weights."""
        return self._summed(self.histories.weights[self.histories.by_item.order].astype(np.float64))

    def recent_amount(self, half_life_days: float) -> NDArray[np.float64]:
        """The summed weights, decayed."""
        return np.asarray(self.histories.sums(self.histories.weights * np.exp2(-self.ages / half_life_days)))

    def recent_visits(self, half_life_days: float) -> NDArray[np.float64]:
        """The number of visits with the item, decayed."""
        order = self.histories.by_item.order
        return self._summed(np.exp2(-self.ages / half_life_days)[order] * self._begins)

    def _summed(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The sum per pair of values (n_events,) that are ordered by pair."""
        starts = self.histories.by_item.starts
        return np.add.reduceat(values, starts) if len(starts) else np.zeros(0)

    def features(self, items: "ItemRepurchase", half_life_days: float) -> NDArray[np.float64]:
        """(n_pairs, len(REPURCHASE_FEATURES)); half_life_days: of the recent amount."""
        # for a user known by one list of items, in one visit, only the counts of the items are informative
        one_visit = self.n_visits[self.rows] == 1
        events = self.histories.by_item
        purchases = np.where(one_visit, events.ends - events.starts + 1, self.visits)
        n_visits = np.where(one_visit, self.histories.counts[self.rows], self.n_visits[self.rows])
        # mean of the pair's own gaps and, as one more gap, the item's mean
        interval = (self.days_between + items.days_between[self.item_columns]) / self.visits
        due = np.log((self.days_since + 1.0) / (interval + 1.0))
        visits_due = np.log((self.visits_since + 1.0) * purchases / n_visits)
        columns = (
            np.log(purchases),
            np.log(self.amount / purchases + 1e-9),
            np.log1p(self.recent_amount(half_life_days)),
            np.log(purchases / n_visits),
            np.log1p(self.days_since),
            np.log1p(self.visits_since),
            due,
            due**2,
            visits_due,
            visits_due**2,
            items.reordered[self.item_columns],
            np.log1p(interval),
            items.demand[self.item_columns],
            items.trend[self.item_columns],
        )
        return np.stack(columns, axis=1)


@dataclass(frozen=True, eq=False)
class ItemRepurchase:
    """Repurchase statistics of each item; all (n_items,)."""

    days_between: NDArray[np.float64]  # mean days between two purchases of one user
    reordered: NDArray[np.float64]  # log of the share of its users who bought it again
    demand: NDArray[np.float64]  # log(1 + decayed weights)
    trend: NDArray[np.float64]  # log of the share of its summed weights that remains after decay

    @classmethod
    def from_pairs(cls, pairs: Pairs, half_life_days: float) -> "ItemRepurchase":
        """Smooths each statistic with PRIOR_USERS pseudo-users that have the mean over all items."""
        n_items = pairs.histories.n_items
        users = np.bincount(pairs.item_columns, minlength=n_items)
        again = np.bincount(pairs.item_columns, pairs.visits > 1, minlength=n_items)
        share = (again.sum() + 1.0) / (users.sum() + 2.0)
        ever = np.bincount(pairs.item_columns, pairs.amount, minlength=n_items)
        recent = np.bincount(pairs.item_columns, pairs.recent_amount(half_life_days), minlength=n_items)
        return cls(
            mean_interval_days(pairs),
            np.log((again + PRIOR_USERS * share) / (users + PRIOR_USERS)),
            np.log1p(recent),
            np.log((recent + 1.0) / (ever + 1.0)),
        )


def mean_interval_days(pairs: Pairs, default: float = 0.0) -> NDArray[np.float64]:
    """(n_items,): mean days between two visits of a user for the item; with few gaps, near the mean of all items.

    `default` if no user bought any item again on another day.
    """
    n_items = pairs.histories.n_items
    gaps = np.bincount(pairs.item_columns, pairs.visits - 1.0, minlength=n_items)
    days = np.bincount(pairs.item_columns, pairs.days_between, minlength=n_items)
    overall = days.sum() / gaps.sum() if days.sum() > 0 else default
    return np.asarray((days + PRIOR_USERS * overall) / (gaps + PRIOR_USERS))
