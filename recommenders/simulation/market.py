"""The products and the users of the simulated marketplace. No orders are simulated here.

Every quantity that determines purchases is a value of `WorldConfig` or an array of `Products` or `Users`, so the
probability of any purchase can be computed from them (recommenders.simulation.purchase_model describes how).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from recommenders.simulation.config import (
    BRANDS_PER_CATEGORY,
    BUSINESS_TYPES,
    CATALOGUE,
    CATEGORIES,
    INDUSTRIES,
    REGIONS,
    STYLES,
    SUBCATEGORIES,
    WorldConfig,
)
from recommenders.simulation.prices import log_prices

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

UNPAIRED, ANCHOR, COMPANION, SUBSTITUTE = range(4)  # role of a product towards its partner


@dataclass(frozen=True, eq=False)
class Products:
    """Arrays (n_products,) unless a shape is given."""

    subcategory: Ints  # index into SUBCATEGORIES
    brand: Ints  # 0 .. BRANDS_PER_CATEGORY - 1, within the category
    style: Ints  # index into STYLES
    latent: Floats  # (n_products, latent_size)
    price: NDArray[np.float64]  # at its launch, or at the begin of the log
    price_level: Floats  # standard deviations from the subcategory's mean log price
    min_order_quantity: Ints
    rating: NDArray[np.float64]
    launch_day: Ints  # negative: before the first simulated day
    end_day: Ints  # first day on which it is no longer on sale; after the last day: it stays on sale
    log_popularity: Floats
    trend: Floats  # of log popularity, per year
    cycle_days: Floats
    consumable: Floats  # its subcategory's share of consumables, in [0, 1]
    role: Ints  # ALONE, ANCHOR, COMPANION or SUBSTITUTE
    partner: Ints  # the other product of its pair, -1 if UNPAIRED
    elasticity: Floats
    demand: Floats  # log factor on its purchase rate, reorders included
    log_price: Floats  # (n_weeks, n_products), log of the list price divided by `price`
    season: Floats  # (n_subcategories, 2) cosine and sine of the yearly log factor

    @cached_property
    def brand_index(self) -> Ints:
        """Index of each product's brand among the brands of all categories, (n_products,)."""
        return category_of(self.subcategory) * BRANDS_PER_CATEGORY + self.brand


@dataclass(frozen=True, eq=False)
class Users:
    """Arrays (n_users,) unless a shape is given."""

    industry: Ints
    business_type: Ints
    region: Ints
    annual_revenue: NDArray[np.float64]
    credit_limit: NDArray[np.float64]
    join_day: Ints
    leave_day: Ints
    visits_a_day: NDArray[np.float64]  # rate on an average day, while the user is active
    basket_size: Floats  # mean order size, 1 on average
    cycle_factor: Floats  # factor of the user on the repurchase cycle of every product
    taste: Floats  # (n_users, n_subcategories) log taste, industry and category included
    brand_taste: Floats  # (n_users, n_categories x BRANDS_PER_CATEGORY)
    price_level: Floats
    latent: Floats  # (n_users, latent_size)
    closed_subcategories: Bools  # (n_users, n_subcategories), excluded by the user's contract
    closed_brands: Bools  # (n_users, n_categories x BRANDS_PER_CATEGORY)


def category_of(subcategory: Ints) -> Ints:
    """The index of each subcategory's category."""
    return subcategory // (len(SUBCATEGORIES) // len(CATEGORIES))


def make_products(config: WorldConfig, rng: np.random.Generator) -> Products:
    """Draws the products. Popularity is independent of a product's number."""
    n, n_sub = config.n_products, len(SUBCATEGORIES)
    shares = rng.dirichlet(np.full(n_sub, 6.0))
    subcategory = rng.permutation(np.append(np.arange(n_sub), rng.choice(n_sub, n - n_sub, p=shares)))
    style = rng.integers(len(STYLES), size=n)
    style_latent = rng.normal(size=(len(STYLES), config.latent_size))
    latent = 0.7 * style_latent[style] + 0.7 * rng.normal(size=(n, config.latent_size))
    price_level = rng.normal(size=n)
    price = np.exp(rng.normal(2.2, 0.9, n_sub)[subcategory] + 0.6 * price_level).round(2).clip(min=0.05)
    ranks = rng.permutation(n) + 1.0
    quality = rng.normal(size=n)
    launch, end = _product_lifetimes(config, rng)
    consumable = np.array([share for category in CATEGORIES for _, share in CATALOGUE[category][1]])
    role, partner = _groups(config, subcategory, rng)
    phase, amplitude = rng.uniform(0, 2 * np.pi, n_sub), np.abs(rng.normal(0, config.season_spread, n_sub))
    return Products(
        subcategory=subcategory,
        brand=rng.integers(BRANDS_PER_CATEGORY, size=n),
        style=style,
        latent=latent.astype(np.float32),
        price=price,
        price_level=price_level.astype(np.float32),
        min_order_quantity=np.select([price < 2, price < 10, price < 40], [24, 12, 4], 1),
        rating=np.where(rng.random(n) < 0.1, np.nan, (3.9 + 0.45 * quality).clip(1, 5).round(1)),
        launch_day=launch,
        end_day=end,
        log_popularity=(0.15 * quality - config.zipf_exponent * np.log(ranks)).astype(np.float32),
        trend=rng.normal(0, config.trend_spread, n).astype(np.float32),
        cycle_days=(config.cycle_days * np.exp(rng.normal(0, config.cycle_spread, n))).astype(np.float32),
        consumable=consumable[subcategory].astype(np.float32),
        role=role,
        partner=partner,
        elasticity=(config.price_elasticity * np.exp(rng.normal(0, config.elasticity_spread, n))).astype(np.float32),
        demand=np.zeros(n, dtype=np.float32),
        log_price=log_prices(config, launch, rng),
        season=np.stack([amplitude * np.cos(phase), amplitude * np.sin(phase)], axis=1).astype(np.float32),
    )


def _product_lifetimes(config: WorldConfig, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Launch day and end day of each product, (n_products,)."""
    n, draws = config.n_products, rng.random((2, config.n_products))
    is_new = draws[0] < config.new_products
    launch = np.where(is_new, rng.integers(0, config.n_days, n), -rng.integers(1, 1_500, n))
    early_end = rng.integers(np.maximum(launch, 0) + 45, config.n_days + 90)
    return launch, np.where(draws[1] < config.dying_products, early_end, 10 * config.n_days)


def _groups(config: WorldConfig, subcategory: Ints, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Role and partner of each product, (n_products,): bundles within a category, substitutes within a
    subcategory.
    """
    n = config.n_products
    role, partner = np.full(n, UNPAIRED), np.full(n, -1)
    draws, category = rng.random(n), category_of(subcategory)
    companion = draws < config.bundle_share
    substitute = ~companion & (draws < config.bundle_share + config.substitute_share)
    free = ~companion & ~substitute
    for c in range(len(CATEGORIES)):
        companions, anchors = (rng.permutation(np.flatnonzero((category == c) & mask)) for mask in (companion, free))
        _pair(role, partner, anchors, companions, ANCHOR, COMPANION)
    for s in range(len(SUBCATEGORIES)):
        pool = rng.permutation(np.flatnonzero(substitute & (subcategory == s)))
        _pair(role, partner, pool[0::2], pool[1::2], SUBSTITUTE, SUBSTITUTE)
    return role, partner


def _pair(role: Ints, partner: Ints, left: Ints, right: Ints, left_role: int, right_role: int) -> None:
    """Pairs left and right products in order, in place; the rest of the longer list stays unpaired."""
    n = min(len(left), len(right))
    left, right = left[:n], right[:n]
    role[left], role[right] = left_role, right_role
    partner[left], partner[right] = right, left


def make_users(config: WorldConfig, rng: np.random.Generator) -> Users:
    """Draws the users. Larger firms visit more often, place larger orders, and buy slightly more expensive products."""
    n = config.n_users
    industry = rng.integers(len(INDUSTRIES), size=n)
    size = rng.normal(size=n)
    revenue = np.exp(14.0 + 1.3 * size).round(-3).clip(min=1_000)
    join, leave = _user_lifetimes(config, rng)
    active_days = (np.minimum(leave, config.n_days) - np.maximum(join, config.lead_in_days)).clip(min=0)
    visits = _visits_a_day(config, size, active_days, rng)
    basket_size = np.exp(config.basket_spread * (0.4 * size + 0.9 * rng.normal(size=n)))
    brand_taste = rng.normal(0, config.brand_spread, (n, len(CATEGORIES) * BRANDS_PER_CATEGORY))
    return Users(
        industry=industry,
        business_type=_business_types(industry, rng),
        region=rng.choice(len(REGIONS), n, p=[0.22, 0.2, 0.17, 0.16, 0.2, 0.05]),
        annual_revenue=revenue,
        credit_limit=(revenue * rng.uniform(0.01, 0.05, n)).round(-2).clip(min=500),
        join_day=join,
        leave_day=leave,
        visits_a_day=visits,
        basket_size=(basket_size / np.average(basket_size, weights=visits * active_days)).astype(np.float32),
        cycle_factor=(np.clip(0.05 / visits, 0.5, 4.0) ** 0.5).astype(np.float32),
        taste=_tastes(config, industry, rng),
        brand_taste=brand_taste.astype(np.float32),
        price_level=(0.3 * size + 0.8 * rng.normal(size=n)).astype(np.float32),
        latent=rng.normal(0, config.latent_spread, (n, config.latent_size)).astype(np.float32),
        closed_subcategories=rng.random((n, len(SUBCATEGORIES))) < config.closed_subcategories,
        closed_brands=rng.random((n, brand_taste.shape[1])) < config.closed_brands,
    )


def _user_lifetimes(config: WorldConfig, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """The day on which each user joins, negative if before the simulation, and the first day after it has left."""
    n, last = config.n_users, config.n_days
    is_new, is_leaving = rng.random(n) < config.new_users, rng.random(n) < config.leaving_users
    join = np.where(is_new, rng.integers(0, last, n), -rng.integers(1, 1_500, n))
    return join, np.where(is_leaving, rng.integers(np.maximum(join, 0) + 30, last + 60), 10 * last)


def _visits_a_day(
    config: WorldConfig, size: NDArray[np.float64], active_days: Ints, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Visit rates of the users, scaled so that n_orders visits are expected; (n_users,)."""
    visits: NDArray[np.float64] = np.exp(config.visit_spread * (0.45 * size + 0.9 * rng.normal(size=len(size))))
    for _ in range(10):  # at most one visit a day counts, so the scale has no closed form
        visits_on_average_day = np.mean([1 - np.exp(-visits * factor) for factor in config.visit_factors], axis=0)
        visits *= config.n_orders / (visits_on_average_day * active_days).sum()
    return visits


def _tastes(config: WorldConfig, industry: Ints, rng: np.random.Generator) -> Floats:
    """Log taste of each user for each subcategory: the taste of its industry plus the user's own deviation."""
    n, n_sub = len(industry), len(SUBCATEGORIES)
    affinity = np.array([CATALOGUE[category][0] for category in CATEGORIES]).T[industry]
    category_taste = affinity + rng.normal(0, config.category_spread, (n, len(CATEGORIES)))
    industry_taste = rng.normal(0, 0.5, (len(INDUSTRIES), n_sub))[industry]
    user_taste = rng.normal(0, config.taste_spread, (n, n_sub))
    taste: Floats = (category_taste[:, category_of(np.arange(n_sub))] + industry_taste + user_taste).astype(np.float32)
    return taste


def _business_types(industry: Ints, rng: np.random.Generator) -> Ints:
    typical = np.array([0, 3, 2, 2, 4, 4, 1, 3])[
        industry
    ]  # most common type of each industry, in the order of INDUSTRIES
    any_type = rng.integers(len(BUSINESS_TYPES), size=len(industry))
    return np.where(rng.random(len(industry)) < 0.6, typical, any_type)
