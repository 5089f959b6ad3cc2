"""Parser of the B2B marketplace: three Parquet files, written by recommenders.simulation or exported in that layout."""

from pathlib import Path

from recommenders.datasets.reading.ingest import Plan
from recommenders.datasets.reading.source_reading import Reading
from recommenders.errors import DataError

BUYERS = {
    "buyer_id": "VARCHAR",
    "business_type": "VARCHAR",
    "industry": "VARCHAR",
    "region": "VARCHAR",
    "annual_revenue": "DOUBLE",
    "credit_limit": "DOUBLE",
}
PRODUCTS = {
    **dict.fromkeys(
        ("product_id", "name", "description", "category", "subcategory", "brand"),
        "VARCHAR",
    ),
    "price": "DOUBLE",
    "rating": "DOUBLE",
    "launched_at": "TIMESTAMPTZ",
    "ended_at": "TIMESTAMPTZ",
}
ORDER_LINES = {
    "order_id": "VARCHAR",
    "buyer_id": "VARCHAR",
    "product_id": "VARCHAR",
    "ordered_at": "TIMESTAMPTZ",
    "quantity": "DOUBLE",
    "unit_price": "DOUBLE",
}

INTERACTIONS = """
    select buyer_id as user_id, product_id as item_id, ordered_at as timestamp, 'purchase' as event, 1.0 as weight,
        order_id, quantity, unit_price
    from good_order_lines
"""

ITEMS = """
    select product_id as item_id, name as title, category, subcategory, brand, price, rating, description as text,
        launched_at as available_from, ended_at as available_until
    from good_products order by item_id
"""

USERS = """
    select buyer_id as user_id, business_type as segment, industry, region, annual_revenue, credit_limit
    from good_buyers order by user_id
"""


def parse(reading: Reading, source: Path) -> Plan:
    """An event is an order line, weight 1. Raises DataError if a file is missing or cannot be read completely."""
    folder = source if source.is_dir() else source.parent
    for name, columns in (("buyers", BUYERS), ("products", PRODUCTS), ("order_lines", ORDER_LINES)):
        path = folder / f"{name}.parquet"
        if not path.is_file():
            raise DataError(
                f"custom_b2b: {path} is missing; expected buyers.parquet, products.parquet and order_lines.parquet"
            )
        reading.parquet(name, [path], columns)
    for name, key in (("buyers", "buyer_id"), ("products", "product_id")):
        twice = f"row_number() over (partition by {key} order by line) > 1"
        reading.apply_rules(name, {f"no {key}": f"coalesce(trim({key}), '') = ''", f"{key} occurs twice": twice})
    reading.apply_rules(
        "order_lines",
        {
            **{f"no {key}": f"coalesce(trim({key}), '') = ''" for key in ("order_id", "buyer_id", "product_id")},
            "no ordered_at": "ordered_at is null",
            "ordered_at is before 1970": "epoch(ordered_at) < 0",
            "ordered_at is in the future": "ordered_at > now() + interval 1 day",
            "quantity is not above 0": "coalesce(not (quantity > 0 and isfinite(quantity)), true)",
            "quantity is above a billion": "quantity > 1e9",
            "unit_price is not above 0": "coalesce(not (unit_price > 0 and isfinite(unit_price)), true)",
            "unit_price is above a billion": "unit_price > 1e9",
        },
        references={
            "unknown buyer_id": "buyer_id not in (select buyer_id from good_buyers)",
            "unknown product_id": "product_id not in (select product_id from good_products)",
        },
    )
    return Plan(INTERACTIONS, ITEMS, USERS, events=("order_lines",), attributes=("buyers", "products"))
