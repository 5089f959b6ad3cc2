"""Applies the scenarios of the simulated world: each one changes the products or the users from its first day on.
Arrays that an earlier day reads are not changed.
"""

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommenders.simulation.config import BRANDS_PER_CATEGORY, SUBCATEGORIES, Scenario, WorldConfig
from recommenders.simulation.market import UNPAIRED, Products, Users
from recommenders.simulation.prices import log_prices

LAUNCH_DAYS = 14  # within which the new products of a scenario are launched
LEAVE_DAYS = 30  # within which churned users leave
STRATUM_SIZE = 20  # users of about equal activity who exchange tastes with each other

TASTES = ("taste", "brand_taste", "latent", "price_level")
PER_PRODUCT = tuple(f.name for f in fields(Products) if f.name not in ("log_price", "season"))

Stage = tuple[int, Products, Users]


def apply_scenarios(config: WorldConfig, products: Products, users: Users) -> Iterator[Stage]:
    """(first day, products, users) of each era, in time order; the first era begins on day 0, without any scenario.

    A product keeps its number: new products are appended.
    """
    scenarios = sorted((s for s in config.scenarios if s.kind != "broken_feed"), key=lambda s: s.start)
    yield 0, products, users
    for index, scenario in enumerate(scenarios):
        rng, day = np.random.default_rng([config.seed, 4, index]), config.day(scenario.start)
        if scenario.kind == "new_items":
            products = _launch_products(config, scenario, products, day, rng)
        elif scenario.kind in ("demand_shift", "price_inflation"):
            products = _shift_demand_or_prices(scenario, products, rng)
        elif scenario.kind == "churn":
            users = _remove_users(scenario, users, day, rng)
        else:
            users = _permute_tastes(scenario, users, day, rng)
        yield day, products, users


def _shift_demand_or_prices(scenario: Scenario, products: Products, rng: np.random.Generator) -> Products:
    if scenario.kind == "price_inflation":
        return replace(products, log_price=products.log_price + np.float32(np.log1p(scenario.strength)))
    shift = rng.normal(0, scenario.strength, len(SUBCATEGORIES)).astype(np.float32)
    return replace(products, demand=products.demand + shift[products.subcategory])


def _remove_users(scenario: Scenario, users: Users, day: int, rng: np.random.Generator) -> Users:
    leaves = (rng.random(len(users.leave_day)) < scenario.strength) & (users.join_day < day)
    last = np.where(leaves, day + rng.integers(LEAVE_DAYS, size=len(leaves)), users.leave_day)
    return replace(users, leave_day=np.minimum(users.leave_day, last))


def _permute_tastes(scenario: Scenario, users: Users, day: int, rng: np.random.Generator) -> Users:
    """The users with tastes permuted among users who buy about as much, so that each product keeps the number and the
    activity of its buyers; repurchase cycles and contracts do not change.
    """
    active = (users.join_day <= day) & (day < users.leave_day)
    chosen = np.flatnonzero(active & (rng.random(len(active)) < scenario.strength))
    ranked = chosen[np.argsort(-(users.visits_a_day * users.basket_size)[chosen], kind="stable")]
    owner = np.arange(len(active))
    for start in range(0, len(ranked), STRATUM_SIZE):
        stratum = rng.permutation(ranked[start : start + STRATUM_SIZE])
        owner[stratum] = np.roll(stratum, 1)  # no user keeps the own taste, except in a stratum of one
    tastes: dict[str, Any] = {name: getattr(users, name)[owner] for name in TASTES}
    return replace(users, **tastes)


def _launch_products(
    config: WorldConfig, scenario: Scenario, products: Products, day: int, rng: np.random.Generator
) -> Products:
    """The products with new ones appended: each is a variation of an existing product, with another brand and without
    a partner.
    """
    n = max(1, round(scenario.strength * config.n_products))
    template, launch = rng.integers(config.n_products, size=n), day + rng.integers(LAUNCH_DAYS, size=n)
    launched: dict[str, NDArray[Any]] = {name: getattr(products, name)[template] for name in PER_PRODUCT}
    launched |= {
        "brand": rng.integers(BRANDS_PER_CATEGORY, size=n),
        "latent": launched["latent"] + rng.normal(0, 0.3, launched["latent"].shape).astype(np.float32),
        "price": (launched["price"] * np.exp(rng.normal(0, 0.2, n))).round(2).clip(min=0.05),
        "rating": np.full(n, np.nan),
        "launch_day": launch,
        "end_day": np.full(n, 10 * config.n_days),
        "role": np.full(n, UNPAIRED),
        "partner": np.full(n, -1),
    }
    extended: dict[str, Any] = {name: np.concatenate([getattr(products, name), launched[name]]) for name in PER_PRODUCT}
    prices = np.concatenate([products.log_price, log_prices(config, launch, rng)], axis=1)
    return replace(products, **extended, log_price=prices)
