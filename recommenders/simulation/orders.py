"""How the simulated marketplace sells: the law of one visit. recommenders.simulation.demand draws from it,
recommenders.simulation.truth computes with it.

A buyer visits on day d with probability 1 - exp(-visits_a_day x weekday), at most once a day. A visit has a
size s = floor + (1 - floor) Gamma(shape, mean 1). Given s, each product rings a bell at rate s x_i during the
visit and goes into the order if it rang at all, with probability 1 - exp(-s x_i), where

    x_i = basket x appeal_i x (discovery_i + reorder_i)

    discovery_i  taste x popularity x price fit x season x life cycle, 0 for what is closed to the buyer by
                 contract; `known_factor` of that once bought
    reorder_i    of the buyer's staples: `reorder_strength` x a bump in log(days since the last purchase /
                 cycle)
    appeal_i     (asked price / price at the start)^-elasticity

Of two substitutes only the one that rang first goes in; the companion of a bought anchor goes in with
`bundle_probability` besides. Nothing else couples two products, so the probability of a purchase can be computed.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommenders.simulation.config import WorldConfig
from recommenders.simulation.market import (
    ANCHOR,
    SUBSTITUTE,
    Buyers,
    Floats,
    Ints,
    Products,
    make_buyers,
    make_products,
)
from recommenders.simulation.prices import WEEK
from recommenders.simulation.scenarios import changed


@dataclass(frozen=True, eq=False)
class Era:
    """The law from `first_day` until the next era's; a world without scenarios has one."""

    config: WorldConfig
    first_day: int
    products: Products
    buyers: Buyers

    @cached_property
    def appeal(self) -> Floats:
        """Factor of prices and of a shifted demand on all that is wanted, (n_weeks, n_products)."""
        products = self.products
        return np.exp(products.demand - products.elasticity * products.log_price)

    @cached_property
    def discovery(self) -> Floats:
        """Factor of the day on the wish for a product, (all_days, n_products); 0 when it is not on sale."""
        factors = np.empty((self.config.all_days, len(self.products.price)), dtype=np.float32)
        for day in range(len(factors)):
            factors[day] = np.exp(life_cycle(self.config, self.products, day)) * self.appeal[day // WEEK]
        return factors

    @cached_property
    def ceiling(self) -> Floats:
        """The largest factor of any day, (n_products,): what a draw is thinned from."""
        most: Floats = self.discovery.max(axis=0)
        return most

    @cached_property
    def group(self) -> Ints:
        """The same number for two substitutes, another for every other product; (n_products,)."""
        numbers, partner = np.arange(len(self.products.role)), self.products.partner
        return np.where(self.products.role == SUBSTITUTE, np.minimum(numbers, partner), numbers)

    @cached_property
    def companion(self) -> Ints:
        """The companion of each anchor, -1 for other products; (n_products,)."""
        return np.where(self.products.role == ANCHOR, self.products.partner, -1)

    @cached_property
    def presence(self) -> Floats:
        """Share of the simulated days on which a product is on sale, (n_products,)."""
        n_days, products = self.config.n_days, self.products
        days = np.minimum(products.end_day, n_days) - np.maximum(products.launch_day, 0)
        return (days.clip(min=0) / n_days).astype(np.float32)

    def wish(self, rows: Ints) -> Floats:
        """Lines of each product that a visit of size 1 looks for on a neutral day, as long as they are new to
        the buyer; (len(rows), n_products). Over the days of all products they sum to `discovery_lines` x basket.
        """
        wish = np.exp(log_taste(self.config, self.products, self.buyers, rows))
        lines = self.config.discovery_lines * self.buyers.basket[rows]
        wish *= (lines / (wish @ self.presence)).astype(np.float32)[:, None]
        return wish


@dataclass(frozen=True, eq=False)
class World:
    """The truth: the eras in time order, the first from day 0."""

    config: WorldConfig
    eras: tuple[Era, ...]

    def era(self, day: int) -> Era:
        """The era of a day."""
        return next(era for era in reversed(self.eras) if era.first_day <= day)

    @property
    def n_products(self) -> int:
        """All products, those of every wave included; an earlier era has fewer."""
        return len(self.eras[-1].products.price)


def make_world(config: WorldConfig) -> World:
    """The world of that configuration; the same configuration gives the same world."""
    rng = np.random.default_rng([config.seed, 1])
    products, buyers = make_products(config, rng), make_buyers(config, rng)
    stages = changed(config, products, buyers)
    return World(config, tuple(Era(config, day, products, buyers) for day, products, buyers in stages))


def log_taste(config: WorldConfig, products: Products, buyers: Buyers, rows: Ints) -> Floats:
    """How much these buyers want each product, whatever the day; (len(rows), n_products), not normalised,
    -inf for what their contracts leave out.
    """
    taste = np.where(buyers.closed_subcategories[rows], np.float32(-np.inf), buyers.taste[rows])
    brand_taste = np.where(buyers.closed_brands[rows], np.float32(-np.inf), buyers.brand_taste[rows])
    wish: Floats = taste[:, products.subcategory]
    wish += brand_taste[:, products.maker]
    wish += buyers.latent[rows] @ products.latent.T
    gap = buyers.price_level[rows, None] - products.price_level[None, :]
    wish -= gap**2 / np.float32(2 * config.price_tolerance**2)
    wish += products.log_popularity
    return wish


def life_cycle(config: WorldConfig, products: Products, day: int) -> Floats:
    """Log factor of each product on a day, (n_products,): season, trend, launch, decline; -inf if not on
    sale.
    """
    year = 2 * np.pi * day / 365.25
    season = products.season @ np.array([np.cos(year), np.sin(year)], dtype=np.float32)
    trend = products.trend * np.float32((day - config.n_days / 2) / 365.25)
    age, left = day - products.launch_day, products.end_day - day
    on_sale = (age >= 0) & (left > 0)
    rise = np.log(1 - 0.8 * np.exp(-np.maximum(age, 0) / config.ramp_days))
    fade = np.log(np.minimum(1.0, 0.1 + np.maximum(left, 0) / (2 * config.ramp_days)))
    return np.where(on_sale, season[products.subcategory] + trend + rise + fade, -np.inf).astype(np.float32)


def pair_traits(era: Era, buyers: Ints, products: Ints) -> tuple[NDArray[np.bool_], Floats]:
    """Of buyer-product pairs (n,): whether it is a staple, and its cycle in days.

    They are a hash of the pair, so they need no table and are the same whenever they are asked for.
    """
    config = era.config
    seed = np.uint64(config.seed * 0x9E3779B97F4A7C15 % 2**64)
    key = _mix(seed + buyers.astype(np.uint64) * np.uint64(1 << 32) + products.astype(np.uint64))
    low, high = (
        (part * np.float32(2**-32)) for part in (key.astype(np.uint32), (key >> np.uint64(32)).astype(np.uint32))
    )
    staple = low < np.float32(config.staple_share) * era.products.consumable[products]
    jitter = np.exp(np.float32(0.6) * (high - np.float32(0.5)))
    cycle: Floats = era.products.cycle_days[products] * era.buyers.pace[buyers] * jitter
    return staple, cycle


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """splitmix64's finaliser (Steele, Lea, Flood 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def reorder_wish(era: Era, buyers: Ints, products: Ints, cycle: Floats, last_bought: NDArray[Any], day: int) -> Floats:
    """x of staples (n,) on a day, beyond discovery: largest one cycle after the last purchase, 0 when off sale.

    buyers may be one row for all of them. last_bought are days up to `day`, which itself counts as a quarter of a
    day ago.
    """
    config = era.config
    elapsed = np.maximum((day - last_bought).astype(np.float32), np.float32(0.25))
    bump = np.exp(-(np.log(elapsed / cycle) ** 2) / np.float32(2 * config.reorder_width**2))
    on_sale = era.discovery[day][products] > 0
    appeal = era.appeal[day // WEEK][products]
    wish: Floats = np.float32(config.reorder_strength) * era.buyers.basket[buyers] * appeal * bump * on_sale
    return wish


def visit_probability(world: World, rows: Ints, days: Ints) -> NDArray[np.float64]:
    """Chance that each buyer visits on each day, (len(rows), len(days)); 0 before joining and after leaving."""
    config = world.config
    weekday = (config.end.weekday() - (config.n_days - 1 - days)) % 7
    factors = np.array(config.visit_factors)[weekday]
    chance = np.empty((len(rows), len(days)))
    for place, day in enumerate(days):
        buyers = world.era(int(day)).buyers
        here = (buyers.join_day[rows] <= day) & (day < buyers.leave_day[rows])
        chance[:, place] = np.where(here, 1 - np.exp(-buyers.visits_a_day[rows] * factors[place]), 0.0)
    return chance
