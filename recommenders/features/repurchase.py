"""How often, how regularly and how recently buyers bought what they know: the signs of a purchase that is due."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from recommenders.events.histories import DAY, Histories

SIGNS = (
    "purchases",  # log of the visits that brought the item
    "amount_each",  # log of the weight of one of them
    "recent_amount",  # log(1 + weights), older events decayed
    "share",  # log of the share of the buyer's visits that brought it
    "days",  # log(1 + days since the last one)
    "visits",  # log(1 + visits since the last one)
    "due",  # log of days since the last one / usual days between two
    "due_squared",  # neither too early nor too late
    "visits_due",  # the same in visits
    "visits_due_squared",
    "reordered",  # log of the share of the item's buyers who came back to it
    "regularity",  # log(1 + usual days between two)
    "demand",  # log(1 + weights of all buyers for the item), older events decayed
    "trend",  # log of the share of all that was ever bought of it which is recent
)
PRIOR_BUYERS = 5.0  # worth of buyers (or of gaps between purchases) with which an item's statistics start


@dataclass(frozen=True, eq=False)
class Pairs:
    """The distinct (buyer, item) pairs of histories, by buyer and column; arrays are (n_pairs,) unless said.

    A visit is all that a buyer bought at one moment.
    """

    histories: Histories
    now: int  # microseconds; an event after it has age 0
    dated: bool  # days are 0 where they mean nothing

    @property
    def rows(self) -> NDArray[np.int64]:
        """The buyers."""
        return self.histories.known_items.rows

    @property
    def item_columns(self) -> NDArray[np.int64]:
        """The items."""
        return self.histories.known_items.item_columns

    @cached_property
    def ages(self) -> NDArray[np.float64]:
        """(n_events,) days before now, in the order of the histories."""
        if not self.dated:
            return np.zeros(len(self.histories.timestamps))
        return np.asarray(np.maximum(self.now - self.histories.timestamps, 0) / DAY)

    @cached_property
    def _last(self) -> NDArray[np.int64]:
        """The place of the pair's newest event in the histories."""
        order, _, ends = self.histories.by_item
        return order[ends]

    @cached_property
    def days_since(self) -> NDArray[np.float64]:
        """Since the last purchase."""
        return self.ages[self._last]

    @cached_property
    def days_between(self) -> NDArray[np.float64]:
        """From the first to the last purchase."""
        order, starts, _ = self.histories.by_item
        return np.asarray(self.ages[order[starts]] - self.days_since)

    @property
    def visits_since(self) -> NDArray[np.int64]:
        """How many visits of the buyer followed the last purchase."""
        return self.histories.known_items.visits_ago

    @cached_property
    def _begins(self) -> NDArray[np.bool_]:
        """(n_events,) whether the event is the first one of its pair and visit, ordered by pair."""
        order, starts, _ = self.histories.by_item
        times = self.histories.timestamps[order]
        begins = np.ones(len(order), dtype=np.bool_)
        begins[1:] = times[1:] != times[:-1]
        begins[starts] = True
        return begins

    @cached_property
    def visits(self) -> NDArray[np.float64]:
        """Visits that brought the item."""
        return self._summed(self._begins.astype(np.float64))

    @cached_property
    def n_visits(self) -> NDArray[np.int64]:
        """(n,) visits of each buyer, for any item."""
        found = np.zeros(len(self.histories), dtype=np.int64)
        filled = self.histories.counts > 0  # behind a buyer's first event lie all the visits but one
        found[filled] = self.histories.visits_ago[self.histories.indptr[:-1][filled]] + 1
        return found

    @cached_property
    def amount(self) -> NDArray[np.float64]:
        """Summed weights."""
        return self._summed(self.histories.weights[self.histories.by_item.order].astype(np.float64))

    def recent_amount(self, half_life_days: float) -> NDArray[np.float64]:
        """The same, decayed."""
        return np.asarray(self.histories.sums(self.histories.weights * np.exp2(-self.ages / half_life_days)))

    def recent_visits(self, half_life_days: float) -> NDArray[np.float64]:
        """Visits that brought the item, decayed."""
        order = self.histories.by_item.order
        return self._summed(np.exp2(-self.ages / half_life_days)[order] * self._begins)

    def _summed(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The sums of values (n_events,) that are ordered by pair."""
        starts = self.histories.by_item.starts
        return np.add.reduceat(values, starts) if len(starts) else np.zeros(0)

    def signs(self, items: "ItemHabits", half_life_days: float) -> NDArray[np.float64]:
        """(n_pairs, len(SIGNS)); half_life_days is that of the recent amount."""
        # of who is known by a list alone, in one visit, how often an item stands there is all there is to know
        at_once = self.n_visits[self.rows] == 1
        events = self.histories.by_item
        purchases = np.where(at_once, events.ends - events.starts + 1, self.visits)
        n_visits = np.where(at_once, self.histories.counts[self.rows], self.n_visits[self.rows])
        # the pair's own gaps, with the item's as one more
        usual = (self.days_between + items.days_between[self.item_columns]) / self.visits
        due = np.log((self.days_since + 1.0) / (usual + 1.0))
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
            np.log1p(usual),
            items.demand[self.item_columns],
            items.trend[self.item_columns],
        )
        return np.stack(columns, axis=1)


@dataclass(frozen=True, eq=False)
class ItemHabits:
    """What is usual for each item; all (n_items,)."""

    days_between: NDArray[np.float64]  # two purchases of one buyer
    reordered: NDArray[np.float64]  # log of the share of its buyers who came back to it
    demand: NDArray[np.float64]  # log(1 + decayed weights)
    trend: NDArray[np.float64]  # log of the share of all its weights that decay has left

    @classmethod
    def of(cls, pairs: Pairs, half_life_days: float) -> "ItemHabits":
        """Each statistic starts with PRIOR_BUYERS of what is usual over all items."""
        n_items = pairs.histories.n_items
        buyers = np.bincount(pairs.item_columns, minlength=n_items)
        again = np.bincount(pairs.item_columns, pairs.visits > 1, minlength=n_items)
        share = (again.sum() + 1.0) / (buyers.sum() + 2.0)
        ever = np.bincount(pairs.item_columns, pairs.amount, minlength=n_items)
        recent = np.bincount(pairs.item_columns, pairs.recent_amount(half_life_days), minlength=n_items)
        return cls(
            usual_days(pairs),
            np.log((again + PRIOR_BUYERS * share) / (buyers + PRIOR_BUYERS)),
            np.log1p(recent),
            np.log((recent + 1.0) / (ever + 1.0)),
        )


def usual_days(pairs: Pairs, otherwise: float = 0.0) -> NDArray[np.float64]:
    """(n_items,) mean days between two visits of a buyer for the item; with few such gaps, near the mean of all items.

    Where no buyer came back for anything on another day, `otherwise`.
    """
    n_items = pairs.histories.n_items
    gaps = np.bincount(pairs.item_columns, pairs.visits - 1.0, minlength=n_items)
    days = np.bincount(pairs.item_columns, pairs.days_between, minlength=n_items)
    overall = days.sum() / gaps.sum() if days.sum() > 0 else otherwise
    return np.asarray((days + PRIOR_BUYERS * overall) / (gaps + PRIOR_BUYERS))
