"""What happens to the market of the simulated world in the middle of the log: each scenario gives the products
and the buyers from its first day on. Nothing that an earlier day reads is changed.
"""

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommenders.simulation.config import BRANDS_PER_CATEGORY, SUBCATEGORIES, Scenario, WorldConfig
from recommenders.simulation.market import ALONE, Buyers, Products
from recommenders.simulation.prices import log_prices

LAUNCH_DAYS = 14  # over which a wave of new items comes
LEAVE_DAYS = 30  # over which buyers go
STRATUM = 20  # buyers of about equal activity, who swap tastes among themselves

TASTES = ("taste", "brand_taste", "latent", "price_level")
PER_PRODUCT = tuple(f.name for f in fields(Products) if f.name not in ("log_price", "season"))

Stage = tuple[int, Products, Buyers]


def changed(config: WorldConfig, products: Products, buyers: Buyers) -> Iterator[Stage]:
    """(first day, products, buyers) of each era, in time order; day 0 comes first and knows no scenario.

    A product keeps its number: a wave of new ones comes after all there were.
    """
    scenarios = sorted((s for s in config.scenarios if s.kind != "broken_feed"), key=lambda s: s.start)
    yield 0, products, buyers
    for place, scenario in enumerate(scenarios):
        rng, day = np.random.default_rng([config.seed, 4, place]), config.day(scenario.start)
        if scenario.kind == "new_items":
            products = _with_wave(config, scenario, products, day, rng)
        elif scenario.kind in ("demand_shift", "price_inflation"):
            products = _moved(scenario, products, rng)
        elif scenario.kind == "churn":
            buyers = _thinned(scenario, buyers, day, rng)
        else:
            buyers = _permuted(scenario, buyers, day, rng)
        yield day, products, buyers


def _moved(scenario: Scenario, products: Products, rng: np.random.Generator) -> Products:
    if scenario.kind == "price_inflation":
        return replace(products, log_price=products.log_price + np.float32(np.log1p(scenario.strength)))
    shift = rng.normal(0, scenario.strength, len(SUBCATEGORIES)).astype(np.float32)
    return replace(products, demand=products.demand + shift[products.subcategory])


def _thinned(scenario: Scenario, buyers: Buyers, day: int, rng: np.random.Generator) -> Buyers:
    goes = (rng.random(len(buyers.leave_day)) < scenario.strength) & (buyers.join_day < day)
    last = np.where(goes, day + rng.integers(LEAVE_DAYS, size=len(goes)), buyers.leave_day)
    return replace(buyers, leave_day=np.minimum(buyers.leave_day, last))


def _permuted(scenario: Scenario, buyers: Buyers, day: int, rng: np.random.Generator) -> Buyers:
    """Tastes change owners among buyers who buy about as much, so each product keeps its expected sales; habits
    and contracts stay where they are.
    """
    here = (buyers.join_day <= day) & (day < buyers.leave_day)
    chosen = np.flatnonzero(here & (rng.random(len(here)) < scenario.strength))
    ranked = chosen[np.argsort(-(buyers.visits_a_day * buyers.basket)[chosen], kind="stable")]
    owner = np.arange(len(here))
    for start in range(0, len(ranked), STRATUM):
        circle = rng.permutation(ranked[start : start + STRATUM])
        owner[circle] = np.roll(circle, 1)  # nobody keeps the own taste, unless alone
    tastes: dict[str, Any] = {name: getattr(buyers, name)[owner] for name in TASTES}
    return replace(buyers, **tastes)


def _with_wave(
    config: WorldConfig, scenario: Scenario, products: Products, day: int, rng: np.random.Generator
) -> Products:
    """More products: each like some product there is, by another maker, without a partner."""
    n = max(1, round(scenario.strength * config.n_products))
    like, launch = rng.integers(config.n_products, size=n), day + rng.integers(LAUNCH_DAYS, size=n)
    wave: dict[str, NDArray[Any]] = {name: getattr(products, name)[like] for name in PER_PRODUCT}
    wave |= {
        "brand": rng.integers(BRANDS_PER_CATEGORY, size=n),
        "latent": wave["latent"] + rng.normal(0, 0.3, wave["latent"].shape).astype(np.float32),
        "price": (wave["price"] * np.exp(rng.normal(0, 0.2, n))).round(2).clip(min=0.05),
        "rating": np.full(n, np.nan),
        "launch_day": launch,
        "end_day": np.full(n, 10 * config.n_days),
        "role": np.full(n, ALONE),
        "partner": np.full(n, -1),
    }
    grown: dict[str, Any] = {name: np.concatenate([getattr(products, name), wave[name]]) for name in PER_PRODUCT}
    prices = np.concatenate([products.log_price, log_prices(config, launch, rng)], axis=1)
    return replace(products, **grown, log_price=prices)
