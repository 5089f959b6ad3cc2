"""The purchase model of the simulated marketplace: the purchase rates of one visit.

recommenders.simulation.order_sampling samples from it, recommenders.simulation.truth computes probabilities with it.

A user visits on day d with probability 1 - exp(-visits_a_day x weekday), at most once a day. A visit has a
size s = floor + (1 - floor) Gamma(shape, mean 1). Given s, the purchases of each product during the visit are a Poisson
process of rate s x_i. The product is in the order if the process has at least one arrival, with probability
1 - exp(-s x_i), where

    x_i = basket_size x demand_factor_i x (discovery_i + reorder_i)

    discovery_i      taste x popularity x price fit x season x life cycle, multiplied by `known_factor` once the user
                     has bought the product; 0 if the user's contract excludes it
    reorder_i        for the user's staples: `reorder_strength` x a Gaussian peak in log(days since the last purchase /
                     cycle)
    demand_factor_i  (list price / initial price)^-elasticity

Of two substitutes only the one with the earlier arrival is in the order. The companion of a bought anchor is added with
probability `bundle_probability`. Otherwise products are independent, so the probability of a purchase can be computed.
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
    Floats,
    Ints,
    Products,
    Users,
    make_products,
    make_users,
)
from recommenders.simulation.prices import WEEK
from recommenders.simulation.scenarios import apply_scenarios


@dataclass(frozen=True, eq=False)
class Era:
    """The products and users from `first_day` until the next era begins; a world without scenarios has one era."""

    config: WorldConfig
    first_day: int
    products: Products
    users: Users

    @cached_property
    def demand_factor(self) -> Floats:
        """Factor of the prices and of demand shifts on every purchase rate, (n_weeks, n_products)."""
        products = self.products
        return np.exp(products.demand - products.elasticity * products.log_price)

    @cached_property
    def day_factor(self) -> Floats:
        """Factor of each day on the discovery rate of a product, (all_days, n_products); 0 when it is not on sale."""
        factors = np.empty((self.config.all_days, len(self.products.price)), dtype=np.float32)
        for day in range(len(factors)):
            factors[day] = np.exp(log_life_cycle(self.config, self.products, day)) * self.demand_factor[day // WEEK]
        return factors

    @cached_property
    def max_day_factor(self) -> Floats:
        """The largest day factor of each product, (n_products,): the bound for thinning the Poisson process."""
        largest: Floats = self.day_factor.max(axis=0)
        return largest

    @cached_property
    def group(self) -> Ints:
        """Group number of each product, (n_products,): two substitutes share one, every other product has its own."""
        numbers, partner = np.arange(len(self.products.role)), self.products.partner
        return np.where(self.products.role == SUBSTITUTE, np.minimum(numbers, partner), numbers)

    @cached_property
    def companion(self) -> Ints:
        """The companion of each anchor, -1 for other products; (n_products,)."""
        return np.where(self.products.role == ANCHOR, self.products.partner, -1)

    @cached_property
    def on_sale_share(self) -> Floats:
        """Share of the simulated days on which a product is on sale, (n_products,)."""
        n_days, products = self.config.n_days, self.products
        days = np.minimum(products.end_day, n_days) - np.maximum(products.launch_day, 0)
        return (days.clip(min=0) / n_days).astype(np.float32)

    def discovery_rate(self, rows: Ints) -> Floats:
        """Discovery rate of each product for a visit of size 1, without the day factor, while the product is new to
        the user; (len(rows), n_products). Weighted by on_sale_share they sum to `discovery_lines` x basket_size.
        """
        rate = np.exp(log_preference(self.config, self.products, self.users, rows))
        lines = self.config.discovery_lines * self.users.basket_size[rows]
        rate *= (lines / (rate @ self.on_sale_share)).astype(np.float32)[:, None]
        return rate


@dataclass(frozen=True, eq=False)
class World:
    """The complete purchase model: the eras in time order, the first from day 0."""

    config: WorldConfig
    eras: tuple[Era, ...]

    def era(self, day: int) -> Era:
        """The era of a day."""
        return next(era for era in reversed(self.eras) if era.first_day <= day)

    @property
    def n_products(self) -> int:
        """Number of all products, those launched by scenarios included; an earlier era has fewer."""
        return len(self.eras[-1].products.price)


def make_world(config: WorldConfig) -> World:
    """The world of a configuration; the same configuration gives the same world."""
    rng = np.random.default_rng([config.seed, 1])
    products, users = make_products(config, rng), make_users(config, rng)
    stages = apply_scenarios(config, products, users)
    return World(config, tuple(Era(config, day, products, users) for day, products, users in stages))


def log_preference(config: WorldConfig, products: Products, users: Users, rows: Ints) -> Floats:
    """Log discovery rate of each product for these users, independent of the day; (len(rows), n_products), not
    normalised, -inf for products that their contracts exclude.
    """
    taste = np.where(users.closed_subcategories[rows], np.float32(-np.inf), users.taste[rows])
    brand_taste = np.where(users.closed_brands[rows], np.float32(-np.inf), users.brand_taste[rows])
    log_rate: Floats = taste[:, products.subcategory]
    log_rate += brand_taste[:, products.brand_index]
    log_rate += users.latent[rows] @ products.latent.T
    price_gap = users.price_level[rows, None] - products.price_level[None, :]
    log_rate -= price_gap**2 / np.float32(2 * config.price_tolerance**2)
    log_rate += products.log_popularity
    return log_rate


def log_life_cycle(config: WorldConfig, products: Products, day: int) -> Floats:
    """Log factor of each product on a day, (n_products,): season, trend, launch, phase-out; -inf if not on sale."""
    year = 2 * np.pi * day / 365.25
    season = products.season @ np.array([np.cos(year), np.sin(year)], dtype=np.float32)
    trend = products.trend * np.float32((day - config.n_days / 2) / 365.25)
    age, days_left = day - products.launch_day, products.end_day - day
    on_sale = (age >= 0) & (days_left > 0)
    growth = np.log(1 - 0.8 * np.exp(-np.maximum(age, 0) / config.ramp_days))
    phase_out = np.log(np.minimum(1.0, 0.1 + np.maximum(days_left, 0) / (2 * config.ramp_days)))
    return np.where(on_sale, season[products.subcategory] + trend + growth + phase_out, -np.inf).astype(np.float32)


def repurchase_cycles(era: Era, users: Ints, products: Ints) -> tuple[NDArray[np.bool_], Floats]:
    """For user-product pairs (n,): whether the product is a staple of the user, and its repurchase cycle in days.

    Both are computed from a hash of the pair, so they need no table and every call returns the same values.
    """
    config = era.config
    seed = np.uint64(config.seed * 0x9E3779B97F4A7C15 % 2**64)
    key = _splitmix64(seed + users.astype(np.uint64) * np.uint64(1 << 32) + products.astype(np.uint64))
    low, high = (
        (part * np.float32(2**-32)) for part in (key.astype(np.uint32), (key >> np.uint64(32)).astype(np.uint32))
    )
    staple = low < np.float32(config.staple_share) * era.products.consumable[products]
    jitter = np.exp(np.float32(0.6) * (high - np.float32(0.5)))
    cycle: Floats = era.products.cycle_days[products] * era.users.cycle_factor[users] * jitter
    return staple, cycle


def _splitmix64(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """splitmix64's finaliser (Steele, Lea, Flood 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def reorder_rate(era: Era, users: Ints, products: Ints, cycle: Floats, last_bought: NDArray[Any], day: int) -> Floats:
    """Reorder rate of staples (n,) on a day, in addition to discovery: largest one cycle after the last purchase, 0 if
    not on sale.

    users may be one row for all of them. last_bought: days up to `day`; a purchase on `day` itself counts as a quarter
    of a day ago.
    """
    config = era.config
    elapsed = np.maximum((day - last_bought).astype(np.float32), np.float32(0.25))
    bump = np.exp(-(np.log(elapsed / cycle) ** 2) / np.float32(2 * config.reorder_width**2))
    on_sale = era.day_factor[day][products] > 0
    demand_factor = era.demand_factor[day // WEEK][products]
    rate: Floats = np.float32(config.reorder_strength) * era.users.basket_size[users] * demand_factor * bump * on_sale
    return rate


def visit_probability(world: World, rows: Ints, days: Ints) -> NDArray[np.float64]:
    """Probability that each user visits on each day, (len(rows), len(days)); 0 before joining and after leaving."""
    config = world.config
    weekday = (config.end.weekday() - (config.n_days - 1 - days)) % 7
    factors = np.array(config.visit_factors)[weekday]
    p_visit = np.empty((len(rows), len(days)))
    for index, day in enumerate(days):
        users = world.era(int(day)).users
        active = (users.join_day[rows] <= day) & (day < users.leave_day[rows])
        p_visit[:, index] = np.where(active, 1 - np.exp(-users.visits_a_day[rows] * factors[index]), 0.0)
    return p_visit
