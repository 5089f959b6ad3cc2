"""The buyers and the products of the simulated marketplace as tables, with names a person can read."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from recommenders.simulation.config import (
    BUSINESS_TYPES,
    CATEGORIES,
    INDUSTRIES,
    REGIONS,
    STYLES,
    SUBCATEGORIES,
    WorldConfig,
)
from recommenders.simulation.market import Bools, Buyers, Ints, Products, category_of
from recommenders.storage import schema

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
BRANDS = tuple(f"{name} {category.split()[0]}" for category in CATEGORIES for name in BRAND_NAMES)


def numbered(values: Ints) -> pa.Array:
    """Rows from 0 as the ids '1', '2' ..."""
    return pa.array(values + 1).cast(pa.string())


def _named(names: tuple[str, ...], places: Ints) -> pa.Array:
    return pa.array(np.array(names)[places])


def _listed(names: Sequence[str], chosen: Bools) -> pa.Array:
    """The names that are chosen in each row of (n, n_names), as lists."""
    ends = np.concatenate([[0], np.cumsum(chosen.sum(axis=1))])
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.array(np.array(names)[np.nonzero(chosen)[1]]))


def midnights(config: WorldConfig, days: Ints, known_only: bool = False) -> pa.Array:
    """The start of simulated days. known_only: null past the last day, because nobody could know it yet."""
    times = np.datetime64(config.first_date, "us") + days.astype("timedelta64[D]").astype("timedelta64[us]")
    return pa.array(times, mask=(days >= config.n_days) if known_only else None).cast(schema.TIME)


def buyers_table(config: WorldConfig, buyers: Buyers) -> pa.Table:
    """buyers.parquet."""
    return pa.table(
        {
            "buyer_id": numbered(np.arange(config.n_buyers)),
            "business_type": _named(BUSINESS_TYPES, buyers.business_type),
            "industry": _named(INDUSTRIES, buyers.industry),
            "region": _named(REGIONS, buyers.region),
            "annual_revenue": buyers.annual_revenue,
            "credit_limit": buyers.credit_limit,
            "joined_at": midnights(config, buyers.join_day),
            "left_at": midnights(config, buyers.leave_day, known_only=True),
            "closed_subcategories": _listed([name for _, name in SUBCATEGORIES], buyers.closed_subcategories),
            "closed_brands": _listed(BRANDS, buyers.closed_brands),
        }
    )


def products_table(config: WorldConfig, products: Products) -> pa.Table:
    """products.parquet; `price` is what was asked at the launch, or when the log begins."""
    category = category_of(products.subcategory)
    brands = [BRANDS[b] for b in products.maker]
    subcategories = [SUBCATEGORIES[s][1] for s in products.subcategory]
    styles = [STYLES[s] for s in products.style]
    numbers = range(1, len(products.price) + 1)
    return pa.table(
        {
            "product_id": numbered(np.arange(len(products.price))),
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
            "launched_at": midnights(config, products.launch_day),
            "ended_at": midnights(config, products.end_day, known_only=True),
        }
    )
