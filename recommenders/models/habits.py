"""How often, how regularly and how recently buyers bought what they know: the signs of a purchase that is due."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recommenders.datasets.histories import DAY, Histories
from recommenders.models.visits import visits_since

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
    """The distinct (buyer, item) pairs of histories, by buyer and column; arrays are (n_pairs,) unless said."""

    indptr: NDArray[np.int64]  # (n + 1,): buyer i's pairs are those from indptr[i] to indptr[i + 1]
    rows: NDArray[np.int64]
    item_columns: NDArray[np.int64]
    purchases: NDArray[np.float64]  # visits that brought the item; events, of a buyer who has but one visit
    amount: NDArray[np.float64]  # summed weights
    recent_amount: NDArray[np.float64]  # the same, decayed
    days_since: NDArray[np.float64]
    days_between: NDArray[np.float64]  # from the first to the last purchase
    gaps: NDArray[np.float64]  # between visits that brought the item
    visits_since: NDArray[np.int64]
    n_visits: NDArray[np.int64]  # of the buyer, for any item; events, of a buyer who has but one visit

    @classmethod
    def of(cls, histories: Histories, now: int, half_life_days: float, dated: bool) -> "Pairs":
        """As of `now` (microseconds; an event after it has age 0). Days are 0 where the log is not dated."""
        order, starts, ends = _grouped(histories)
        ages = np.maximum(now - histories.timestamps[order], 0) / DAY * dated
        weights = histories.weights[order].astype(np.float64)
        times = histories.timestamps[order]
        visit = np.ones(len(order), dtype=np.int64)
        visit[1:] = times[1:] != times[:-1]
        visit[starts] = 1
        rows = histories.rows[order[starts]]
        since = visits_since(histories)
        first = histories.indptr[:-1][histories.counts > 0]  # of each buyer's events: behind it lie all the visits
        visits_of_buyer = np.repeat(since[first] + 1, np.bincount(rows)[np.unique(rows)])
        visits = _summed(visit, starts)
        # of who is known by a list alone, in one visit, how often an item stands there is all there is to know
        at_once = visits_of_buyer == 1
        purchases = np.where(at_once, ends - starts + 1, visits)
        return cls(
            np.searchsorted(rows, np.arange(len(histories) + 1)),
            rows,
            histories.item_columns[order[starts]].astype(np.int64),
            purchases,
            _summed(weights, starts),
            _summed(weights * 0.5 ** (ages / half_life_days), starts),
            ages[ends],
            ages[starts] - ages[ends],
            visits - 1.0,
            since[order[ends]],
            np.where(at_once, histories.counts[rows], visits_of_buyer),
        )

    def signs(self, items: "ItemHabits") -> NDArray[np.float64]:
        """(n_pairs, len(SIGNS))."""
        usual = items.days_between[self.item_columns]  # the pair's own gaps, with the item's as one more
        usual = (self.days_between + usual) / (self.gaps + 1.0)
        due = np.log((self.days_since + 1.0) / (usual + 1.0))
        visits_due = np.log((self.visits_since + 1.0) * self.purchases / self.n_visits)
        columns = (
            np.log(self.purchases),
            np.log(self.amount / self.purchases + 1e-9),
            np.log1p(self.recent_amount),
            np.log(self.purchases / self.n_visits),
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
    def of(cls, pairs: Pairs, n_items: int) -> "ItemHabits":
        """Each statistic starts with PRIOR_BUYERS of what is usual over all items."""
        gaps = np.bincount(pairs.item_columns, pairs.gaps, minlength=n_items)
        days = np.bincount(pairs.item_columns, pairs.days_between, minlength=n_items)
        usual = days.sum() / max(gaps.sum(), 1.0)
        buyers = np.bincount(pairs.item_columns, minlength=n_items)
        again = np.bincount(pairs.item_columns, pairs.gaps > 0, minlength=n_items)
        share = (again.sum() + 1.0) / (buyers.sum() + 2.0)
        ever = np.bincount(pairs.item_columns, pairs.amount, minlength=n_items)
        recent = np.bincount(pairs.item_columns, pairs.recent_amount, minlength=n_items)
        return cls(
            (days + PRIOR_BUYERS * usual) / (gaps + PRIOR_BUYERS),
            np.log((again + PRIOR_BUYERS * share) / (buyers + PRIOR_BUYERS)),
            np.log1p(recent),
            np.log((recent + 1.0) / (ever + 1.0)),
        )


def _grouped(histories: Histories) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The events ordered by pair, the oldest first; and where each pair begins and ends in that order."""
    keys = histories.rows * histories.n_items + histories.item_columns
    order = np.argsort(keys, kind="stable")
    changes = np.flatnonzero(np.diff(keys[order]))
    if not len(keys):
        return order, np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    return order, np.concatenate([[0], changes + 1]), np.append(changes, len(keys) - 1)


def _summed(values: NDArray[np.float64] | NDArray[np.int64], starts: NDArray[np.int64]) -> NDArray[np.float64]:
    """The sum of each group of values; (n_groups,)."""
    if not len(starts):
        return np.zeros(0)
    return np.add.reduceat(values.astype(np.float64), starts)
