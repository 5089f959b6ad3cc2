"""The users and the products of the simulated marketplace as Arrow tables, with readable names."""

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
from recommenders.simulation.market import Bools, Ints, Products, Users, category_of
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


def ids_from_rows(values: Ints) -> pa.Array:
    """The ids '1', '2' ... of rows numbered from 0."""
    return pa.array(values + 1).cast(pa.string())


def _names_at(names: tuple[str, ...], indices: Ints) -> pa.Array:
    return pa.array(np.array(names)[indices])


def _name_lists(names: Sequence[str], chosen: Bools) -> pa.Array:
    """The names chosen in each row of `chosen`, (n, n_names), as lists."""
    ends = np.concatenate([[0], np.cumsum(chosen.sum(axis=1))])
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.array(np.array(names)[np.nonzero(chosen)[1]]))


def day_starts(config: WorldConfig, days: Ints, hide_future: bool = False) -> pa.Array:
    """The start times of simulated days. hide_future: null after the last day, because it is not known yet."""
    times = np.datetime64(config.first_date, "us") + days.astype("timedelta64[D]").astype("timedelta64[us]")
    return pa.array(times, mask=(days >= config.n_days) if hide_future else None).cast(schema.TIME)


def users_table(config: WorldConfig, users: Users) -> pa.Table:
    """The table of buyers.parquet."""
    return pa.table(
        {
            "buyer_id": ids_from_rows(np.arange(config.n_users)),
            "business_type": _names_at(BUSINESS_TYPES, users.business_type),
            "industry": _names_at(INDUSTRIES, users.industry),
            "region": _names_at(REGIONS, users.region),
            "annual_revenue": users.annual_revenue,
            "credit_limit": users.credit_limit,
            "joined_at": day_starts(config, users.join_day),
            "left_at": day_starts(config, users.leave_day, hide_future=True),
            "closed_subcategories": _name_lists([name for _, name in SUBCATEGORIES], users.closed_subcategories),
            "closed_brands": _name_lists(BRANDS, users.closed_brands),
        }
    )


def products_table(config: WorldConfig, products: Products) -> pa.Table:
    """The table of products.parquet; `price` is the list price at the launch, or at the begin of the log."""
    category = category_of(products.subcategory)
    brands = [BRANDS[b] for b in products.brand_index]
    subcategories = [SUBCATEGORIES[s][1] for s in products.subcategory]
    styles = [STYLES[s] for s in products.style]
    numbers = range(1, len(products.price) + 1)
    return pa.table(
        {
            "product_id": ids_from_rows(np.arange(len(products.price))),
            "name": [f"{b} {t} {s} {n}" for b, t, s, n in zip(brands, styles, subcategories, numbers, strict=True)],
            "description": [
                f"{t} {s} for business, sold in packs of {q}"
                for t, s, q in zip(styles, subcategories, products.min_order_quantity, strict=True)
            ],
            "category": _names_at(CATEGORIES, category),
            "subcategory": subcategories,
            "brand": brands,
            "price": products.price,
            "min_order_quantity": products.min_order_quantity,
            "rating": pa.array(products.rating, from_pandas=True),
            "launched_at": day_starts(config, products.launch_day),
            "ended_at": day_starts(config, products.end_day, hide_future=True),
        }
    )
