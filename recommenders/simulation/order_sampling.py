"""Samples orders from the purchase model of recommenders.simulation.purchase_model, one user after the other.

Users are independent given the world, and every visit has its own stream of random numbers, keyed by seed,
user and day. So the lines of a user depend neither on the other simulated users nor on later days.

The discovery purchases of all products are sampled as one Poisson process: processes of rates s x_i add up to one of
rate s sum(x), and each of its arrivals is product i with probability x_i / sum(x). Arrivals are sampled with the
largest x of any day, so that one cumulative sum serves all visits, and thinned to the rate of the day (Lewis and
Shedler 1979).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recommenders.simulation.market import Bools, Ints
from recommenders.simulation.prices import WEEK
from recommenders.simulation.purchase_model import Era, World, reorder_rate, repurchase_cycles, visit_probability

NEVER = -1  # in a table of last purchase days
STREAM = 2  # random stream of the written log; other numbers give other simulated futures
OPENING, PEAK, CLOSING = 8 * 3600, 10.5 * 3600, 18 * 3600  # seconds of the day: order times are triangular

LINE = np.dtype(
    [
        ("day", np.int16),
        ("second", np.int32),
        ("user", np.int32),
        ("product", np.int32),
        ("quantity", np.int32),
        ("unit_price", np.float64),
    ]
)
Lines = NDArray[np.void]  # (n_lines,) of LINE


class Order(NamedTuple):
    """The order of one visit: its products (n,) and the normal deviates that give their quantities (n,)."""

    day: int
    second: int
    user: int
    products: Ints
    noise: NDArray[np.float64]


def simulate(
    world: World,
    rows: Ints,
    days: range | None = None,
    stream: int = STREAM,
    last_bought: NDArray[np.int16] | None = None,
) -> Lines:
    """The order lines of these users in time order; a visit without a purchase has no lines.

    days: by default all simulated days, lead-in included. last_bought: (len(rows), n_products), the day of the
    last purchase before `days`, or NEVER; by default NEVER for all.
    """
    days = range(world.config.n_days) if days is None else days
    p_visit = visit_probability(world, rows, np.arange(world.config.all_days))
    orders: list[Order] = []
    for index, row in enumerate(rows):
        known = np.full(world.n_products, NEVER, np.int16) if last_bought is None else last_bought[index].copy()
        simulated_user = SimulatedUser(world, int(row), stream, known)
        visit_days, seconds = visits(world, int(row), p_visit[index], stream)
        inside = (visit_days >= days.start) & (visit_days < days.stop)
        orders += [
            simulated_user.visit(*when)
            for when in zip(visit_days[inside].tolist(), seconds[inside].tolist(), strict=True)
        ]
    return in_time_order(_lines(world, orders))


def _lines(world: World, orders: Sequence[Order]) -> Lines:
    """The lines of the orders: whole packs at the price of the week, with a discount from 5 and from 20 packs on."""
    counts = [len(order.products) for order in orders]
    lines = np.empty(sum(counts), LINE)
    for name in ("day", "second", "user"):
        lines[name] = np.repeat(np.array([getattr(order, name) for order in orders], np.int64), counts)
    if not len(lines):
        return lines
    lines["product"] = bought = np.concatenate([order.products for order in orders])
    basket_size = world.eras[0].users.basket_size[lines["user"]]
    packs = np.ceil(np.exp(0.1 + 0.8 * np.concatenate([order.noise for order in orders])) * basket_size)
    lines["quantity"] = packs * world.eras[-1].products.min_order_quantity[bought]
    discount = np.select([packs >= 20, packs >= 5], [0.9, 0.95], 1.0)
    lines["unit_price"] = (list_price(world, bought, lines["day"]) * discount).round(2).clip(min=0.01)
    return lines


def list_price(world: World, products: Ints, days: Ints) -> NDArray[np.float64]:
    """The list price of one piece on a day, (n,), before any quantity discount."""
    starts = np.array([era.first_day for era in world.eras])
    eras = np.searchsorted(starts, days, side="right") - 1
    level = np.empty(len(products))
    for index, era in enumerate(world.eras):
        of_era = eras == index
        level[of_era] = era.products.log_price[days[of_era] // WEEK, products[of_era]]
    price: NDArray[np.float64] = world.eras[-1].products.price[products] * np.exp(level)
    return price


def generator(world: World, stream: int, row: int, day: int = -1) -> np.random.Generator:
    """The random generator of one visit, or of a user's visit days (day -1): its own position in a counter-based
    stream, at almost no cost. Philox, Salmon et al. 2011.
    """
    key, counter = np.array([world.config.seed, stream], np.uint64), np.array([0, 0, row, day + 1], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def in_time_order(lines: Lines) -> Lines:
    """The lines sorted by time, user and product; no two lines share all three."""
    return lines[np.lexsort((lines["product"], lines["user"], lines["second"], lines["day"]))]


def visits(world: World, row: int, p_visit: NDArray[np.float64], stream: int = STREAM) -> tuple[Ints, Ints]:
    """Days and seconds of the day of a user's visits, each (n_visits,); p_visit: (all_days,)."""
    draw, time = generator(world, stream, row).random((2, world.config.all_days))
    days = np.flatnonzero(draw < p_visit)
    return days, second_at(time[days])


def second_at(share: NDArray[np.float64]) -> Ints:
    """The second of the day before which that share of the visits begins (inverse of `share_before`)."""
    peak_share = (PEAK - OPENING) / (CLOSING - OPENING)
    early = OPENING + np.sqrt(share * (CLOSING - OPENING) * (PEAK - OPENING))
    late = CLOSING - np.sqrt((1 - share) * (CLOSING - OPENING) * (CLOSING - PEAK))
    return np.where(share < peak_share, early, late).astype(np.int64)


def share_before(second: float) -> float:
    """Share of a day's visits that begin at or before a second of the day, rounded down to whole seconds."""
    x = min(max(np.floor(second) + 1, OPENING), CLOSING)
    if x < PEAK:
        return float((x - OPENING) ** 2 / ((CLOSING - OPENING) * (PEAK - OPENING)))
    return float(1 - (CLOSING - x) ** 2 / ((CLOSING - OPENING) * (CLOSING - PEAK)))


class SimulatedUser:
    """The state of one user while visits are simulated; `last` is the day of each product's last purchase or NEVER."""

    def __init__(self, world: World, row: int, stream: int, last: NDArray[np.int16]) -> None:
        self.world, self.row, self.stream, self.last = world, row, stream, last
        self.era: Era | None = None
        self.is_staple, self.cycle = repurchase_cycles(world.eras[-1], np.array([row]), np.arange(world.n_products))
        self.staples = np.flatnonzero((last != NEVER) & self.is_staple)  # those bought so far

    def visit(self, day: int, second: int) -> Order:
        """The order of one visit, possibly empty; days must ascend."""
        era, config = self._switch_era(day), self.world.config
        rng = generator(self.world, self.stream, self.row, day)
        size = config.size_floor + (1 - config.size_floor) * rng.gamma(config.size_shape, 1 / config.size_shape)
        new, new_times = self._draw_discoveries(era, day, size, rng)
        known, known_times = self._draw_reorders(era, day, size, rng)
        arrivals, times = np.concatenate([new, known]), np.concatenate([new_times, known_times])
        arrivals = arrivals[np.argsort(times)]
        first = np.unique(era.group[arrivals], return_index=True)[1]  # arrival of each product, and of two substitutes
        bought = self._add_companions(era, day, arrivals[first], rng)
        first_bought = bought[self.last[bought] == NEVER]
        self.staples = np.concatenate([self.staples, first_bought[self.is_staple[first_bought]]])
        self.last[bought] = day
        return Order(day, second, self.row, bought, rng.standard_normal(len(bought)))

    def _switch_era(self, day: int) -> Era:
        """The era of a day; a new era updates the user's rates."""
        era = self.world.era(day)
        if era is not self.era:
            self.era = era
            self.available: Bools = (rate := era.discovery_rate(np.array([self.row]))[0]) > 0
            self.cumulative_rate = np.cumsum(rate * era.max_day_factor, dtype=np.float64)
        return era

    def _draw_discoveries(
        self, era: Era, day: int, size: float, rng: np.random.Generator
    ) -> tuple[Ints, NDArray[np.float64]]:
        """Products of the discovery arrivals and their times within the visit, in [0, 1)."""
        position, draw, time = rng.random((3, rng.poisson(size * self.cumulative_rate[-1])))
        candidates = np.minimum(
            np.searchsorted(self.cumulative_rate, position * self.cumulative_rate[-1], side="right"),
            len(self.cumulative_rate) - 1,
        )
        share = era.day_factor[day][candidates] / era.max_day_factor[candidates]
        share *= np.where(self.last[candidates] == NEVER, np.float32(1), np.float32(self.world.config.known_factor))
        accepted = draw < share
        return candidates[accepted], time[accepted]

    def _draw_reorders(
        self, era: Era, day: int, size: float, rng: np.random.Generator
    ) -> tuple[Ints, NDArray[np.float64]]:
        """The same for reorders of staples, the first arrival of each."""
        user, cycle = np.array([self.row]), self.cycle[self.staples]
        rate = reorder_rate(era, user, self.staples, cycle, self.last[self.staples], day)
        waiting_times = rng.standard_exponential(len(rate))
        accepted = waiting_times < size * rate
        return self.staples[accepted], waiting_times[accepted] / (size * rate[accepted])

    def _add_companions(self, era: Era, day: int, bought: Ints, rng: np.random.Generator) -> Ints:
        """The bought products and the companions that are added to them."""
        companions = era.companion[bought]
        companions = companions[companions >= 0]
        if not len(companions):
            return bought
        offered = rng.random(len(companions)) < self.world.config.bundle_probability
        return np.union1d(
            bought, companions[offered & self.available[companions] & (era.day_factor[day, companions] > 0)]
        )
