"""Draws from the law of recommenders.simulation.orders, one buyer after the other.

Buyers are independent given the world, and every visit has its own stream of random numbers, keyed by seed,
buyer and day. So lines depend neither on which buyers are simulated together nor on what happens later.

Discovery is drawn in its Poisson form: bells that ring at rates s x_i are one process of rate s sum(x), each
ring being product i with probability x_i / sum(x). Rings are drawn from the largest x of any day, so that one
running sum serves all visits, and thinned to the day's x.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recommenders.simulation.market import Bools, Ints
from recommenders.simulation.orders import Era, World, pair_traits, reorder_wish, visit_probability
from recommenders.simulation.prices import WEEK

NEVER = -1  # in a table of last purchase days
STREAM = 2  # of the world's own history; other numbers give other futures
OPEN, BUSY, CLOSE = 8 * 3600, 10.5 * 3600, 18 * 3600  # seconds of the day: orders are triangular between them

LINE = np.dtype(
    [
        ("day", np.int16),
        ("second", np.int32),
        ("buyer", np.int32),
        ("product", np.int32),
        ("quantity", np.int32),
        ("unit_price", np.float64),
    ]
)
Lines = NDArray[np.void]  # (n_lines,) of LINE


class Order(NamedTuple):
    """One visit: its products (n,) and the normal deviates behind their quantities (n,)."""

    day: int
    second: int
    buyer: int
    products: Ints
    noise: NDArray[np.float64]


def simulate(
    world: World,
    rows: Ints,
    days: range | None = None,
    stream: int = STREAM,
    last_bought: NDArray[np.int16] | None = None,
) -> Lines:
    """The order lines of these buyers in time order; a visit that ends with nothing bought leaves none.

    days: by default all simulated ones, lead-in included. last_bought: (len(rows), n_products), the day of the
    last purchase before them or NEVER; by default nothing was bought.
    """
    days = range(world.config.n_days) if days is None else days
    chance = visit_probability(world, rows, np.arange(world.config.all_days))
    orders: list[Order] = []
    for place, row in enumerate(rows):
        known = np.full(world.n_products, NEVER, np.int16) if last_bought is None else last_bought[place].copy()
        shopper = Shopper(world, int(row), stream, known)
        came, seconds = visits(world, int(row), chance[place], stream)
        inside = (came >= days.start) & (came < days.stop)
        orders += [shopper.visit(*when) for when in zip(came[inside].tolist(), seconds[inside].tolist(), strict=True)]
    return in_time_order(_lines(world, orders))


def _lines(world: World, orders: Sequence[Order]) -> Lines:
    """Order lines: whole packs, cheaper from 5 and from 20 packs on, at the week's price."""
    counts = [len(order.products) for order in orders]
    lines = np.empty(sum(counts), LINE)
    for name in ("day", "second", "buyer"):
        lines[name] = np.repeat(np.array([getattr(order, name) for order in orders], np.int64), counts)
    if not len(lines):
        return lines
    lines["product"] = bought = np.concatenate([order.products for order in orders])
    basket = world.eras[0].buyers.basket[lines["buyer"]]
    packs = np.ceil(np.exp(0.1 + 0.8 * np.concatenate([order.noise for order in orders])) * basket)
    lines["quantity"] = packs * world.eras[-1].products.min_order_quantity[bought]
    discount = np.select([packs >= 20, packs >= 5], [0.9, 0.95], 1.0)
    lines["unit_price"] = (list_price(world, bought, lines["day"]) * discount).round(2).clip(min=0.01)
    return lines


def list_price(world: World, products: Ints, days: Ints) -> NDArray[np.float64]:
    """What one piece is asked for on a day, (n,), before any discount of the order."""
    starts = np.array([era.first_day for era in world.eras])
    eras = np.searchsorted(starts, days, side="right") - 1
    level = np.empty(len(products))
    for place, era in enumerate(world.eras):
        of_era = eras == place
        level[of_era] = era.products.log_price[days[of_era] // WEEK, products[of_era]]
    asked: NDArray[np.float64] = world.eras[-1].products.price[products] * np.exp(level)
    return asked


def generator(world: World, stream: int, row: int, day: int = -1) -> np.random.Generator:
    """The random numbers of one visit, or of a buyer's calendar (day -1): a place of its own in a counter-based
    stream, which costs next to nothing to find. Philox, Salmon et al. 2011.
    """
    key, counter = np.array([world.config.seed, stream], np.uint64), np.array([0, 0, row, day + 1], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def in_time_order(lines: Lines) -> Lines:
    """By time, buyer and product; no two lines share all three."""
    return lines[np.lexsort((lines["product"], lines["buyer"], lines["second"], lines["day"]))]


def visits(world: World, row: int, chance: NDArray[np.float64], stream: int = STREAM) -> tuple[Ints, Ints]:
    """Days and seconds of the day at which a buyer comes, each (n_visits,); chance: (all_days,)."""
    luck, moment = generator(world, stream, row).random((2, world.config.all_days))
    days = np.flatnonzero(luck < chance)
    return days, second_at(moment[days])


def second_at(share: NDArray[np.float64]) -> Ints:
    """The second of the day before which that share of the visits comes (inverse of `share_before`)."""
    rising = (BUSY - OPEN) / (CLOSE - OPEN)
    early = OPEN + np.sqrt(share * (CLOSE - OPEN) * (BUSY - OPEN))
    late = CLOSE - np.sqrt((1 - share) * (CLOSE - OPEN) * (CLOSE - BUSY))
    return np.where(share < rising, early, late).astype(np.int64)


def share_before(second: float) -> float:
    """Share of a day's visits whose whole second is at or before a second of the day."""
    x = min(max(np.floor(second) + 1, OPEN), CLOSE)
    if x < BUSY:
        return float((x - OPEN) ** 2 / ((CLOSE - OPEN) * (BUSY - OPEN)))
    return float(1 - (CLOSE - x) ** 2 / ((CLOSE - OPEN) * (CLOSE - BUSY)))


class Shopper:
    """One buyer on the way through the days; `last` is the day of each product's last purchase or NEVER."""

    def __init__(self, world: World, row: int, stream: int, last: NDArray[np.int16]) -> None:
        self.world, self.row, self.stream, self.last = world, row, stream, last
        self.era: Era | None = None
        self.is_staple, self.cycle = pair_traits(world.eras[-1], np.array([row]), np.arange(world.n_products))
        self.staples = np.flatnonzero((last != NEVER) & self.is_staple)  # those known so far

    def visit(self, day: int, second: int) -> Order:
        """What one visit takes, maybe nothing; days must ascend."""
        era, config = self._enter(day), self.world.config
        rng = generator(self.world, self.stream, self.row, day)
        size = config.size_floor + (1 - config.size_floor) * rng.gamma(config.size_shape, 1 / config.size_shape)
        new, new_moments = self._discover(era, day, size, rng)
        known, known_moments = self._reorder(era, day, size, rng)
        rings, moments = np.concatenate([new, known]), np.concatenate([new_moments, known_moments])
        rings = rings[np.argsort(moments)]
        first = np.unique(era.group[rings], return_index=True)[1]  # of each product, and of two substitutes
        bought = self._with_companions(era, day, rings[first], rng)
        fresh = bought[self.last[bought] == NEVER]
        self.staples = np.concatenate([self.staples, fresh[self.is_staple[fresh]]])
        self.last[bought] = day
        return Order(day, second, self.row, bought, rng.standard_normal(len(bought)))

    def _enter(self, day: int) -> Era:
        era = self.world.era(day)
        if era is not self.era:
            self.era = era
            self.open: Bools = (wish := era.wish(np.array([self.row]))[0]) > 0
            self.reach = np.cumsum(wish * era.ceiling, dtype=np.float64)
        return era

    def _discover(self, era: Era, day: int, size: float, rng: np.random.Generator) -> tuple[Ints, NDArray[np.float64]]:
        """Rings of discovery and their moments within the visit, in [0, 1)."""
        place, luck, moment = rng.random((3, rng.poisson(size * self.reach[-1])))
        rung = np.minimum(np.searchsorted(self.reach, place * self.reach[-1], side="right"), len(self.reach) - 1)
        share = era.discovery[day][rung] / era.ceiling[rung]
        share *= np.where(self.last[rung] == NEVER, np.float32(1), np.float32(self.world.config.known_factor))
        heard = luck < share
        return rung[heard], moment[heard]

    def _reorder(self, era: Era, day: int, size: float, rng: np.random.Generator) -> tuple[Ints, NDArray[np.float64]]:
        """The same of staples, the first ring of each."""
        buyer, cycle = np.array([self.row]), self.cycle[self.staples]
        wish = reorder_wish(era, buyer, self.staples, cycle, self.last[self.staples], day)
        clocks = rng.standard_exponential(len(wish))
        heard = clocks < size * wish
        return self.staples[heard], clocks[heard] / (size * wish[heard])

    def _with_companions(self, era: Era, day: int, bought: Ints, rng: np.random.Generator) -> Ints:
        beside = era.companion[bought]
        beside = beside[beside >= 0]
        if not len(beside):
            return bought
        offered = rng.random(len(beside)) < self.world.config.bundle_probability
        return np.union1d(bought, beside[offered & self.open[beside] & (era.discovery[day, beside] > 0)])
