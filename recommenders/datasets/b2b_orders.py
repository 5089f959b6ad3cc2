"""How the simulated marketplace sells: the law of one visit, and the simulation that draws from it day by
day.
 A buyer visits on day d with probability 1 - exp(-visits_a_day x weekday), at most once a day. A visit has a
size s = floor + (1 - floor) Gamma(shape, mean 1). Given s, product i goes into the order with probability 1 -
exp(-s x_i), independently, where

    x_i = basket x (discovery_i + reorder_i)

    discovery_i  taste x popularity x price fit x season x life cycle; `known_factor` of that once bought
    reorder_i    of the buyer's staples: `reorder_strength` x a bump in log(days since the last purchase /
    cycle)
 and a companion of a bought anchor goes in with `bundle_probability` besides. Until a pair's next purchase
its x is a known function of time, so the chance of a purchase within a window follows: the Gamma's Laplace
transform gives that of one visit.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recommenders.datasets.b2b_config import BRANDS_PER_CATEGORY, WorldConfig
from recommenders.datasets.b2b_market import (
    Buyers,
    Floats,
    Ints,
    Products,
    category_of,
    make_buyers,
    make_products,
)

NEVER = -1  # in a table of last purchase days


@dataclass(frozen=True, eq=False)
class World:
    """The truth: what there is, and how much each buyer wants each product in general."""

    config: WorldConfig
    products: Products
    buyers: Buyers
    log_norm: Floats  # (n_buyers,) so that discovery sums to `discovery_lines` over the assortment


@dataclass(frozen=True, eq=False)
class Lines:
    """Order lines, arrays (n_lines,), by day; `order` numbers orders from 0, `day` is the simulated day."""

    order: Ints
    buyer: Ints
    product: Ints
    day: Ints


def make_world(config: WorldConfig) -> World:
    """The world of that configuration; the same configuration gives the same world."""
    rng = np.random.default_rng([config.seed, 1])
    products, buyers = make_products(config, rng), make_buyers(config, rng)
    alive_days = np.minimum(products.end_day, config.n_days) - np.maximum(products.launch_day, 0)
    share = np.log(alive_days / config.n_days).astype(np.float32)
    norms = np.empty(config.n_buyers, dtype=np.float32)
    for rows in np.array_split(np.arange(config.n_buyers), config.n_buyers // 256 + 1):
        norms[rows] = np.log(np.exp(log_taste(config, products, buyers, rows) + share).sum(axis=1))
    return World(config, products, buyers, norms)


def log_taste(config: WorldConfig, products: Products, buyers: Buyers, rows: Ints) -> Floats:
    """How much these buyers want each product, whatever the day; (len(rows), n_products), not normalised."""
    brand = category_of(products.subcategory) * BRANDS_PER_CATEGORY + products.brand
    wish = buyers.taste[rows][:, products.subcategory]
    wish += buyers.brand_taste[rows][:, brand]
    wish += buyers.latent[rows] @ products.latent.T
    gap = buyers.price_level[rows, None] - products.price_level[None, :]
    wish -= gap**2 / np.float32(2 * config.price_tolerance**2)
    wish += products.log_popularity
    return wish


def life_cycle(world: World, day: int) -> Floats:
    """Log factor of each product on a day, (n_products,): season, trend, launch, decline; -inf if not on
    sale.
    """
    config, products = world.config, world.products
    year = 2 * np.pi * day / 365.25
    season = products.season @ np.array([np.cos(year), np.sin(year)], dtype=np.float32)
    trend = products.trend * np.float32((day - config.n_days / 2) / 365.25)
    age, left = day - products.launch_day, products.end_day - day
    on_sale = (age >= 0) & (left > 0)
    with np.errstate(divide="ignore"):
        rise = np.log(1 - 0.8 * np.exp(-np.maximum(age, 0) / config.ramp_days))
        fade = np.log(np.minimum(1.0, 0.1 + np.maximum(left, 0) / (2 * config.ramp_days)))
    return np.where(on_sale, season[products.subcategory] + trend + rise + fade, -np.inf).astype(np.float32)


def pair_traits(world: World, buyers: Ints, products: Ints) -> tuple[Floats, Floats]:
    """Of buyer-product pairs (n,): reorder strength (0 unless a staple) and cycle in days.

    They are a hash of the pair, so they need no table and are the same whenever they are asked for.
    """
    config = world.config
    seed = np.uint64(config.seed * 0x9E3779B97F4A7C15 % 2**64)
    key = _mix(seed + buyers.astype(np.uint64) * np.uint64(1 << 32) + products.astype(np.uint64))
    low, high = (key & np.uint64(0xFFFFFFFF)) / 2**32, (key >> np.uint64(32)) / 2**32
    staple = low < config.staple_share * world.products.consumable[products]
    jitter = np.exp(0.6 * (high - 0.5))
    cycle = world.products.cycle_days[products] * world.buyers.pace[buyers] * jitter
    return np.where(staple, config.reorder_strength, 0.0).astype(np.float32), cycle.astype(np.float32)


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """splitmix64's finaliser (Steele, Lea, Flood 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def intensity(world: World, rows: Ints, last_bought: NDArray[np.int16], day: int) -> Floats:
    """x of every product for a visit of these buyers on a day; (len(rows), n_products).

    last_bought: (len(rows), n_products), the day of the last purchase or NEVER.
    """
    config = world.config
    wish = log_taste(config, world.products, world.buyers, rows) - world.log_norm[rows, None]
    cycle_factor = life_cycle(world, day)
    x: Floats = np.float32(config.discovery_lines) * np.exp(wish + cycle_factor)
    places, products = np.nonzero(last_bought != NEVER)
    strength, cycle = pair_traits(world, rows[places], products)
    elapsed = np.maximum(day - last_bought[places, products].astype(np.float32), 0.25)
    bump = np.exp(-(np.log(elapsed / cycle) ** 2) / np.float32(2 * config.reorder_width**2))
    on_sale = np.isfinite(cycle_factor)[products]
    x[places, products] = x[places, products] * np.float32(config.known_factor) + strength * bump * on_sale
    x *= world.buyers.basket[rows, None]
    return x


def visit_probability(world: World, day: int) -> NDArray[np.float64]:
    """Chance that each buyer visits on a day, (n_buyers,); 0 before joining and after leaving."""
    config, buyers = world.config, world.buyers
    weekday = (config.end.weekday() - (config.n_days - 1 - day)) % 7
    here = (buyers.join_day <= day) & (day < buyers.leave_day)
    return np.where(here, 1 - np.exp(-buyers.visits_a_day * config.visit_factors[weekday]), 0.0)


def simulate(world: World) -> Lines:
    """All order lines of the world, lead-in included. Visits that end with nothing bought leave no order."""
    config = world.config
    rng = np.random.default_rng([config.seed, 2])
    last_bought = np.full((config.n_buyers, config.n_products), NEVER, dtype=np.int16)
    days: list[Lines] = []
    n_orders = 0
    for day in range(config.n_days):
        rows = np.flatnonzero(rng.random(config.n_buyers) < visit_probability(world, day))
        bought = _one_day(world, rows, last_bought[rows], day, rng)
        places, products = np.nonzero(bought)
        last_bought[rows[places], products] = day
        order = np.unique(places, return_inverse=True)[1] + n_orders
        n_orders += len(np.unique(places))
        days.append(Lines(order, rows[places], products, np.full(len(places), day)))
    return Lines(*(np.concatenate([getattr(d, name) for d in days]) for name in ("order", "buyer", "product", "day")))


def _one_day(
    world: World, rows: Ints, last_bought: NDArray[np.int16], day: int, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """What the day's visitors buy, (len(rows), n_products)."""
    config, products = world.config, world.products
    x = intensity(world, rows, last_bought, day)
    sizes = config.size_floor + (1 - config.size_floor) * rng.gamma(config.size_shape, 1 / config.size_shape, len(rows))
    drawn = rng.standard_exponential(x.shape, dtype=np.float32)
    bought = drawn < sizes.astype(np.float32)[:, None] * x  # with probability 1 - exp(-s x)
    companions = np.flatnonzero(products.anchor >= 0)
    offered = rng.random((len(rows), len(companions))) < config.bundle_probability
    on_sale = (products.launch_day <= day) & (day < products.end_day)
    # anchors have no anchor of their own, so one pass is enough
    bought[:, companions] |= bought[:, products.anchor[companions]] & offered & on_sale[companions]
    return bought
