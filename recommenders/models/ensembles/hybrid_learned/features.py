"""What a ranker looks at when it weighs an item for a buyer: habits, the item's trade, the buyer's ways.

Nothing absolute that grows with the log: counts are rates, orders or shares, so that trees grown on an earlier and
shorter log mean the same on a later one. Ages are -1 where nothing has happened or nothing is known of time.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from recommenders.events.histories import Histories
from recommenders.events.interactions import Interactions
from recommenders.features.repurchase import Pairs, usual_days

Facts = NDArray[np.float32]

ITEM_FACTS = (
    "item_sales_half_horizon",
    "item_sales_horizon",
    "item_sales_two_horizons",
    "item_sales",
    "item_trend",
    "item_buyers",
    "item_events_per_buyer",
    "item_days_since_sold",
    "item_days_since_first_sold",
)
BUYER_FACTS = (
    "buyer_known",
    "buyer_orders",
    "buyer_items",
    "buyer_items_per_order",
    "buyer_repeat_share",
    "buyer_days_since_order",
    "buyer_days_between_orders",
)
PAIR_FACTS = (
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


def item_facts(log: Interactions, horizon_days: float) -> Facts:
    """(n_items, len(ITEM_FACTS)): sales relative to the mean item's, damped by a logarithm; ages in days."""
    n_items, ages = len(log.items), log.ages()
    sales = [
        _relative(np.bincount(log.item_columns[ages <= days], minlength=n_items))
        for days in (horizon_days / 2, horizon_days, 2 * horizon_days, np.inf)
    ]
    buyers = np.bincount(log.matrix("binary").indices, minlength=n_items)
    events = np.bincount(log.item_columns, minlength=n_items)
    last, first = np.full(n_items, np.inf), np.full(n_items, -1.0)
    np.minimum.at(last, log.item_columns, ages)
    np.maximum.at(first, log.item_columns, ages)
    columns = [
        *sales,
        sales[0] - sales[2],
        _relative(buyers),
        events / np.maximum(buyers, 1),
        np.minimum(last, 6 * horizon_days),  # of an item nobody has bought: long
        np.clip(first, 0.0, 6 * horizon_days),  # how long a log is must not tell how old an item is
    ]
    return np.stack(columns, axis=1).astype(np.float32)


def _relative(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.log1p(counts / max(float(counts.mean()), 1e-9))


@dataclass(frozen=True, eq=False)
class Habits:
    """What buyers did before, by buyer and by pair. An order is all that a buyer bought at one moment."""

    histories: Histories
    known: NDArray[np.bool_]  # (n,) buyers of the log; of others only the items are known, not when they were bought
    as_of: int  # microseconds
    dated: bool
    horizon_days: float

    @cached_property
    def _pairs(self) -> Pairs:
        return Pairs(self.histories, self.as_of, self.dated)

    @cached_property
    def buyers(self) -> Facts:
        """(n, len(BUYER_FACTS))."""
        histories, n_orders = self.histories, self._pairs.n_visits
        n_items = np.diff(histories.known_items.indptr)
        last, first = np.full(len(histories), -1.0), np.full(len(histories), -1.0)
        filled = histories.counts > 0
        last[filled] = self._pairs.ages[histories.indptr[1:][filled] - 1]
        first[filled] = self._pairs.ages[histories.indptr[:-1][filled]]
        timed = self.known & self.dated
        columns = [
            self.known,
            np.log1p(n_orders),
            np.log1p(n_items),
            np.log1p(n_items / np.maximum(n_orders, 1)),
            1.0 - n_items / np.maximum(histories.counts, 1),
            np.where(timed, last, -1.0),
            np.where(timed & (n_orders > 1), (first - last) / np.maximum(n_orders - 1, 1), -1.0),
        ]
        return np.stack(columns, axis=1).astype(np.float32)

    def pairs(
        self, rows: NDArray[np.int64], columns: NDArray[np.int32], intervals: Facts, categories: NDArray[np.int32]
    ) -> Facts:
        """(n_pairs, len(PAIR_FACTS)) of buyers `rows` and items `columns`, (n_pairs,) each.

        intervals: (n_items,) usual days between two orders of an item by one buyer. categories: (n_items,), from 0.
        """
        n_items, pairs = self.histories.n_items, self._pairs
        keys = np.append(pairs.rows * n_items + pairs.item_columns, np.iinfo(np.int64).max)
        wanted = rows * n_items + columns
        places = np.searchsorted(keys, wanted)
        places[keys[places] != wanted] = len(keys) - 1
        shares = self._category_shares(rows, columns, categories)
        return np.hstack([self._of_bought(intervals)[places], shares[:, None]])

    def _of_bought(self, intervals: Facts) -> Facts:
        """(n_pairs + 1, all PAIR_FACTS but the last) of what buyers bought; in the last row, of what they did not."""
        pairs, rows = self._pairs, self._pairs.rows
        orders, last = pairs.visits, pairs.days_since
        timed = self.known[rows] & self.dated
        again = timed & (orders > 1)
        interval = pairs.days_between / np.maximum(orders - 1, 1)
        table = np.zeros((len(rows) + 1, len(PAIR_FACTS) - 1), dtype=np.float32)
        table[-1, PAIR_FACTS.index("pair_days_since") :] = -1.0
        found = [
            np.log1p(orders),
            orders / pairs.n_visits[rows],
            np.where(timed, pairs.recent_visits(self.horizon_days / 2), 0.0),
            np.where(timed, pairs.recent_visits(2 * self.horizon_days), 0.0),
            np.where(timed, last, -1.0),
            pairs.visits_since,
            np.where(again, interval, -1.0),
            np.where(again, last / np.maximum(interval, 1.0), -1.0),
            np.where(timed, last / intervals[pairs.item_columns], -1.0),
        ]
        for column, facts in enumerate(found):
            table[:-1, column] = facts
        return table

    def _category_shares(
        self, rows: NDArray[np.int64], columns: NDArray[np.int32], categories: NDArray[np.int32]
    ) -> Facts:
        """(n_pairs,) the share of the buyer's events that are of the item's category."""
        histories, n_categories = self.histories, int(categories.max(initial=0)) + 1
        of_events = histories.rows * n_categories + categories[histories.item_columns]
        counts = np.bincount(of_events, minlength=len(histories) * n_categories)
        of_pairs = counts[rows * n_categories + categories[columns]]
        return np.asarray(of_pairs / np.maximum(histories.counts[rows], 1), dtype=np.float32)


def usual_intervals(log: Interactions, horizon_days: float) -> Facts:
    """(n_items,) mean days between two orders of an item by one buyer; the seldom reordered tend to the mean."""
    pairs = Pairs(log.histories(), int(log.timestamps.max(initial=0)), log.dated)
    return usual_days(pairs, otherwise=horizon_days).astype(np.float32)
