"""The built-in data set: a simulated B2B marketplace, written as three files to be read like any other
source.

    buyers.parquet        buyer_id 1..2000, business type, industry, region, annual revenue, credit limit,
                          joined_at, left_at
    products.parquet      product_id 1..5000, name, description, category, subcategory, brand, price,
                          min_order_quantity, rating, launched_at, ended_at
    order_lines.parquet   order_id, buyer_id, product_id, ordered_at, quantity, unit_price; in time order

The law of the world stands in b2b_market and b2b_orders. The log holds the last `n_orders` orders of the
simulation; what was bought in the lead-in before them shapes them, as the past of a real export does.
"""

import shutil
import uuid
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from recommenders import bundle, schema
from recommenders.datasets.b2b_config import (
    BUSINESS_TYPES,
    CATEGORIES,
    INDUSTRIES,
    REGIONS,
    STYLES,
    SUBCATEGORIES,
    WorldConfig,
)
from recommenders.datasets.b2b_market import Buyers, Ints, Products, category_of
from recommenders.datasets.b2b_orders import Lines, World, make_world, simulate
from recommenders.errors import ConfigurationError

BRAND_NAMES = (
    "Alder",
    "Birch",
    "Cedar",
    "Dover",
    "Elm",
    "Fjord",
    "Grove",
    "Harbor",
    "Iris",
    "Juniper",
    "Kestrel",
    "Linden",
)


def write_world(folder: Path, scale: float = 1.0, seed: int = 42) -> None:
    """Writes the world's three files; the folder appears whole or not at all. The same scale and seed give
    the same bytes.

    Raises ConfigurationError unless 0 < scale <= 10 (at 1 it takes a few seconds, at 10 minutes and
    gigabytes).
    """
    if not 0 < scale <= 10:
        raise ConfigurationError(
            f"scale of the B2B world is {scale}; it must be above 0 and at most 10; 1 is the full world"
        )
    config = WorldConfig.scaled(scale, seed)
    with threadpool_limits(limits=1):  # sums in another order would give other bytes
        world = make_world(config)
        lines = simulate(world)
    staging = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
    try:
        staging.mkdir(parents=True)
        pq.write_table(_buyers_table(config, world.buyers), staging / "buyers.parquet")
        pq.write_table(_products_table(config, world.products), staging / "products.parquet")
        pq.write_table(_lines_table(world, lines), staging / "order_lines.parquet", compression="zstd")
        bundle.replace_folder(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _numbered(values: NDArray[np.int64]) -> pa.Array:
    """Rows from 0 as the ids '1', '2' ..."""
    return pa.array(values + 1).cast(pa.string())


def _named(names: tuple[str, ...], places: Ints) -> pa.Array:
    return pa.array(np.array(names)[places])


def _midnights(config: WorldConfig, days: Ints, known_only: bool = False) -> pa.Array:
    """The start of simulated days. known_only: null past the last day, because nobody could know it yet."""
    start = np.datetime64(config.end - timedelta(days=config.n_days - 1), "us")
    times = start + days.astype("timedelta64[D]").astype("timedelta64[us]")
    return pa.array(times, mask=(days >= config.n_days) if known_only else None).cast(schema.TIME)


def _buyers_table(config: WorldConfig, buyers: Buyers) -> pa.Table:
    return pa.table(
        {
            "buyer_id": _numbered(np.arange(config.n_buyers)),
            "business_type": _named(BUSINESS_TYPES, buyers.business_type),
            "industry": _named(INDUSTRIES, buyers.industry),
            "region": _named(REGIONS, buyers.region),
            "annual_revenue": buyers.annual_revenue,
            "credit_limit": buyers.credit_limit,
            "joined_at": _midnights(config, buyers.join_day),
            "left_at": _midnights(config, buyers.leave_day, known_only=True),
        }
    )


def _products_table(config: WorldConfig, products: Products) -> pa.Table:
    category = category_of(products.subcategory)
    brands = [f"{BRAND_NAMES[b]} {CATEGORIES[c].split()[0]}" for b, c in zip(products.brand, category, strict=True)]
    subcategories = [SUBCATEGORIES[s][1] for s in products.subcategory]
    styles = [STYLES[s] for s in products.style]
    numbers = range(1, config.n_products + 1)
    return pa.table(
        {
            "product_id": _numbered(np.arange(config.n_products)),
            "name": [f"{b} {t} {s} {n}" for b, t, s, n in zip(brands, styles, subcategories, numbers, strict=True)],
            "description": [
                f"{t} {s} for business, sold in packs of {q}"
                for t, s, q in zip(styles, subcategories, products.min_order_quantity, strict=True)
            ],
            "category": _named(CATEGORIES, category),
            "subcategory": subcategories,
            "brand": brands,
            "price": products.price,
            "min_order_quantity": products.min_order_quantity,
            "rating": pa.array(products.rating, from_pandas=True),
            "launched_at": _midnights(config, products.launch_day),
            "ended_at": _midnights(config, products.end_day, known_only=True),
        }
    )


def _lines_table(world: World, lines: Lines) -> pa.Table:
    """The last n_orders orders as lines in time order, with quantities, prices and times of day."""
    config, products = world.config, world.products
    rng = np.random.default_rng([config.seed, 3])
    n_orders = int(lines.order[-1]) + 1
    second = rng.triangular(8 * 3600, 10.5 * 3600, 18 * 3600, n_orders).astype(np.int64)[lines.order]
    packs = np.ceil(np.exp(rng.normal(0.1, 0.8, len(lines.order))) * world.buyers.basket[lines.buyer])
    quantity = packs.astype(np.int64) * products.min_order_quantity[lines.product]
    discount = np.select([packs >= 20, packs >= 5], [0.9, 0.95], 1.0)
    kept = np.flatnonzero(lines.order >= n_orders - config.n_orders)
    kept = kept[np.lexsort((lines.product[kept], lines.order[kept], second[kept], lines.day[kept]))]
    first_seen = np.unique(lines.order[kept], return_index=True)[1].argsort().argsort()
    number = first_seen[lines.order[kept] - lines.order[kept].min()]
    midnight = _midnights(config, lines.day[kept])
    times = midnight.cast(pa.int64()).to_numpy() + second[kept] * 1_000_000
    return pa.table(
        {
            "order_id": _numbered(number),
            "buyer_id": _numbered(lines.buyer[kept]),
            "product_id": _numbered(lines.product[kept]),
            "ordered_at": pa.array(times).cast(schema.TIME),
            "quantity": quantity[kept],
            "unit_price": (products.price[lines.product[kept]] * discount[kept]).round(2),
        }
    )
