"""Repurchase features: how often, how regularly and how recently a user bought an item."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from recommenders.events.histories import DAY, Histories, sums_per_pair

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

    @property
    def visits(self) -> NDArray[np.float64]:
        """The number of visits with the item."""
        return self.histories.item_visits

    @property
    def n_visits(self) -> NDArray[np.int64]:
        """(n,): the number of visits of each user, for any item."""
        return self.histories.n_visits

    @cached_property
    def amount(self) -> NDArray[np.float64]:
        """The summed weights."""
        return self.histories.sums(self.histories.weights.astype(np.float64))

    def recent_amount(self, half_life_days: float) -> NDArray[np.float64]:
        """The summed weights, decayed."""
        return self.histories.sums(self.histories.weights * np.exp2(-self.ages / half_life_days))

    def recent_visits(self, *half_lives: float) -> NDArray[np.float64]:
        """(n_half_lives, n_pairs): the number of visits with the item, decayed by each half-life in days."""
        order, starts, _ = self.histories.by_item
        decays = np.exp2(self.ages[order] / -np.array(half_lives)[:, None])
        return sums_per_pair(decays * self.histories.begins, starts)

    def features(self, items: "ItemRepurchase", half_life_days: float) -> NDArray[np.float64]:
        """(n_pairs, len(REPURCHASE_FEATURES)); half_life_days: of the recent amount."""
        # for a user known by one list of items, in one visit, only the counts of the items are informative
        one_visit = self.n_visits == 1
        n_visits = np.where(one_visit, self.histories.counts, self.n_visits)[self.rows]
        purchases = self.visits
        if one_visit.any():
            events = self.histories.by_item
            purchases = np.where(one_visit[self.rows], events.ends - events.starts + 1, purchases)
        # mean of the pair's own gaps and, as one more gap, the item's mean
        interval = (self.days_between + items.days_between[self.item_columns]) / self.visits
        counts = np.log([purchases, self.amount / purchases + 1e-9, purchases / n_visits])
        times = np.log1p([self.recent_amount(half_life_days), self.days_since, self.visits_since, interval])
        due, visits_due = times[1] - times[3], times[2] + counts[2]
        columns = (
            counts[0],
            counts[1],
            times[0],
            counts[2],
            times[1],
            times[2],
            due,
            due**2,
            visits_due,
            visits_due**2,
            items.reordered[self.item_columns],
            times[3],
            items.demand[self.item_columns],
            items.trend[self.item_columns],
        )
        return np.array(columns).T


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
