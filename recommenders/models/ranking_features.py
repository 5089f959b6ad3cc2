"""What a ranker looks at when it weighs an item for a buyer: habits, the item's trade, the buyer's ways.

Nothing absolute that grows with the log: counts are rates, orders or shares, so that trees grown on an earlier and
shorter log mean the same on a later one. Ages are -1 where nothing has happened or nothing is known of time.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from recommenders.datasets.histories import DAY, Histories
from recommenders.datasets.interactions import Interactions

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
    """The orders of n buyers, counted by pair and by buyer. An order is all that a buyer bought at one moment."""

    histories: Histories
    known: NDArray[np.bool_]  # (n,) buyers of the log; of others only the items are known, not when they were bought
    as_of: int  # microseconds
    dated: bool
    horizon_days: float

    @cached_property
    def _ages(self) -> NDArray[np.float64]:
        if not self.dated:
            return np.zeros(len(self.histories.item_columns))
        return np.asarray(np.maximum(self.as_of - self.histories.timestamps, 0) / DAY)

    @cached_property
    def _order(self) -> NDArray[np.int64]:
        """(n_events,) the number of each event's order among its buyer's, from 0."""
        histories = self.histories
        if not len(histories.item_columns):
            return np.empty(0, dtype=np.int64)
        rows, times = histories.rows, histories.timestamps
        new = np.empty(len(rows), dtype=np.int64)
        new[0] = 0
        new[1:] = (times[1:] != times[:-1]) | (rows[1:] != rows[:-1])
        numbers = np.cumsum(new)
        firsts = numbers[np.minimum(histories.indptr[:-1], len(numbers) - 1)]
        return np.asarray(numbers - firsts[rows])

    @cached_property
    def n_orders(self) -> NDArray[np.int64]:
        """(n,) orders of each buyer."""
        found = np.zeros(len(self.histories), dtype=np.int64)
        filled = self.histories.counts > 0
        found[filled] = self._order[self.histories.indptr[1:][filled] - 1] + 1
        return found

    @cached_property
    def _pairs(self) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float64]]]:
        """Keys row * n_items + column, ascending, and facts of each pair; the last key is above any other."""
        histories = self.histories
        keys = histories.rows * histories.n_items + histories.item_columns
        by_pair = np.argsort(keys, kind="stable")  # in time order within a pair
        keys, ages, orders = keys[by_pair], self._ages[by_pair], self._order[by_pair]
        if len(keys):  # several lines of one order count once
            kept = np.append(True, (keys[1:] != keys[:-1]) | (orders[1:] != orders[:-1]))
            keys, ages, orders = keys[kept], ages[kept], orders[kept]
        starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])) if len(keys) else np.empty(0, np.int64)
        ends = np.append(starts[1:], len(keys))[: len(starts)] - 1
        counts = (ends - starts + 1).astype(np.float64)
        facts = {"orders": counts, "last": ages[ends], "first": ages[starts], "last_order": orders[ends].astype(float)}
        for name, half_life in (("short", self.horizon_days / 2), ("long", 2 * self.horizon_days)):
            decayed = np.exp2(-ages / half_life)
            facts[name] = np.add.reduceat(decayed, starts) if len(starts) else np.empty(0)
        return np.append(keys[starts], np.iinfo(np.int64).max), facts

    @cached_property
    def buyers(self) -> Facts:
        """(n, len(BUYER_FACTS))."""
        histories, n = self.histories, len(self.histories)
        keys, _ = self._pairs
        n_items = np.bincount(keys[:-1] // max(histories.n_items, 1), minlength=n)
        order_counts = np.maximum(self.n_orders, 1)
        last, first = np.full(n, -1.0), np.full(n, -1.0)
        filled = histories.counts > 0
        last[filled] = self._ages[histories.indptr[1:][filled] - 1]
        first[filled] = self._ages[histories.indptr[:-1][filled]]
        timed = self.known & self.dated
        gaps = np.where(timed & (self.n_orders > 1), (first - last) / np.maximum(self.n_orders - 1, 1), -1.0)
        columns = [
            self.known,
            np.log1p(self.n_orders),
            np.log1p(n_items),
            np.log1p(n_items / order_counts),
            1.0 - n_items / np.maximum(histories.counts, 1),
            np.where(timed, last, -1.0),
            gaps,
        ]
        return np.stack(columns, axis=1).astype(np.float32)

    def pairs(
        self, rows: NDArray[np.int64], columns: NDArray[np.int32], intervals: Facts, categories: NDArray[np.int32]
    ) -> Facts:
        """(n_pairs, len(PAIR_FACTS)) of buyers `rows` and items `columns`, (n_pairs,) each.

        intervals: (n_items,) usual days between two orders of an item by one buyer. categories: (n_items,), from 0.
        """
        keys, facts = self._pairs
        wanted = rows * self.histories.n_items + columns
        places = np.searchsorted(keys, wanted)
        bought = keys[places] == wanted
        places = np.where(bought, places, 0)
        timed = bought & self.known[rows] & self.dated

        def of_pair(name: str, where: NDArray[np.bool_], otherwise: float) -> NDArray[np.float64]:
            if not len(facts[name]):
                return np.full(len(rows), otherwise)
            return np.where(where, facts[name][places], otherwise)

        orders = of_pair("orders", bought, 0.0)
        last, first = of_pair("last", timed, -1.0), of_pair("first", timed, -1.0)
        again = timed & (orders > 1)
        interval = np.where(again, (first - last) / np.maximum(orders - 1, 1), -1.0)
        totals = self.n_orders[rows]
        found = [
            np.log1p(orders),
            orders / np.maximum(totals, 1),
            of_pair("short", timed, 0.0),
            of_pair("long", timed, 0.0),
            last,
            np.where(bought, totals - 1 - of_pair("last_order", bought, 0.0), -1.0),
            interval,
            np.where(again, last / np.maximum(interval, 1.0), -1.0),
            np.where(timed, last / intervals[columns], -1.0),
            self._category_shares(rows, columns, categories),
        ]
        return np.stack(found, axis=1).astype(np.float32)

    def _category_shares(
        self, rows: NDArray[np.int64], columns: NDArray[np.int32], categories: NDArray[np.int32]
    ) -> NDArray[np.float64]:
        """(n_pairs,) the share of the buyer's events that are of the item's category."""
        histories, n_categories = self.histories, int(categories.max(initial=0)) + 1
        of_events = histories.rows * n_categories + categories[histories.item_columns]
        counts = np.bincount(of_events, minlength=len(histories) * n_categories)
        of_pairs = counts[rows * n_categories + categories[columns]]
        return np.asarray(of_pairs / np.maximum(histories.counts[rows], 1))


def usual_intervals(log: Interactions, horizon_days: float) -> Facts:
    """(n_items,) mean days between two orders of an item by one buyer; the seldom reordered tend to the mean."""
    histories = log.histories()
    habits = Habits(histories, np.ones(len(histories), np.bool_), int(log.timestamps.max(initial=0)), log.dated, 1.0)
    keys, facts = habits._pairs
    gaps, spans = facts["orders"] - 1, facts["first"] - facts["last"]
    columns = keys[:-1] % len(log.items)
    n_gaps = np.bincount(columns, gaps, minlength=len(log.items))
    days = np.bincount(columns, spans, minlength=len(log.items))
    overall = days.sum() / n_gaps.sum() if n_gaps.sum() and days.sum() else horizon_days
    prior = 5.0  # gaps at which an item's own mean counts half
    return ((days + prior * overall) / (n_gaps + prior)).astype(np.float32)
