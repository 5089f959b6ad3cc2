"""The feature catalogue: the meaning, unit, type and source columns of each feature. Defines the table schemas.

docs/features.md contains it; `python -m recommenders.features.catalog` prints that part of the page.
"""

from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True)
class Feature:
    """One column of a feature table. Null means unknown, never zero.

    `source` names the columns it is computed from, as table.column.
    """

    name: str
    meaning: str
    unit: str
    type: pa.DataType
    source: str


TEXT, WHOLE, REAL = pa.string(), pa.int64(), pa.float64()
EVENTS = "interactions.user_id, item_id"
TIMES = "interactions.timestamp"
ORDERS = "interactions.order_id, timestamp"
VALUE = "interactions.quantity, unit_price, returned_quantity, returned_at"
UNITS = "interactions.quantity, returned_quantity, returned_at"
MONEY = "source currency"
TASTE = "interactions.item_id, items.category"

USER_FEATURES = (
    Feature("user_id", "the user", "id", TEXT, "users.user_id"),
    Feature("segment", "kind of business", "name", TEXT, "users.segment"),
    Feature("industry", "industry", "name", TEXT, "users.industry"),
    Feature("region", "region", "name", TEXT, "users.region"),
    Feature("annual_revenue", "revenue in a year", MONEY, REAL, "users.annual_revenue"),
    Feature("credit_limit", "credit limit", MONEY, REAL, "users.credit_limit"),
    Feature("recency_days", "time since its last event", "days", REAL, TIMES),
    Feature("tenure_days", "time since its first event", "days", REAL, TIMES),
    Feature("n_orders", "distinct orders", "orders", WHOLE, ORDERS),
    Feature("n_orders_30d", "orders started in the last 30 days", "orders", WHOLE, ORDERS),
    Feature("n_orders_90d", "orders started in the last 90 days", "orders", WHOLE, ORDERS),
    Feature("n_items", "distinct items", "items", WHOLE, EVENTS),
    Feature("spend", "sum of (quantity - returned quantity) x unit price", MONEY, REAL, VALUE),
    Feature("mean_order_value", "spend per order", MONEY, REAL, f"{VALUE}, order_id"),
    Feature("mean_days_between_orders", "mean gap between order starts; null before the second", "days", REAL, ORDERS),
    Feature(
        "std_days_between_orders",
        "sample standard deviation of these gaps; null before the third",
        "days",
        REAL,
        ORDERS,
    ),
    Feature("repeat_share", "share of its order lines with an item that it ordered before", "share", REAL, ORDERS),
    Feature("price_level", "mean price_level of the items of its events", "share", REAL, "items.price, category"),
    Feature("category_entropy", "entropy of its events over categories; 0 is one category", "nats", REAL, TASTE),
    Feature("top_category", "category of most of its events; of ties the first by name", "name", TEXT, TASTE),
    Feature("top_category_share", "share of its events in that category", "share", REAL, TASTE),
)

ITEM_FEATURES = (
    Feature("item_id", "the item", "id", TEXT, "items.item_id, interactions.item_id"),
    Feature("title", "title", "text", TEXT, "items.title"),
    Feature("category", "category", "name", TEXT, "items.category"),
    Feature("subcategory", "subcategory, a part of the category", "name", TEXT, "items.subcategory"),
    Feature("brand", "brand", "name", TEXT, "items.brand"),
    Feature("price", "list price", MONEY, REAL, "items.price"),
    Feature("rating", "mean rating in the source", "stars", REAL, "items.rating"),
    Feature(
        "price_level",
        "share of the category's other items that are cheaper; 0.5 without other items",
        "share",
        REAL,
        "items.price, category",
    ),
    Feature("mean_price_paid", "mean unit price of its lines", MONEY, REAL, "interactions.unit_price"),
    Feature("paid_to_list", "mean price paid / list price", "ratio", REAL, "interactions.unit_price, items.price"),
    Feature(
        "age_days",
        "time since its launch, or since its first event if the launch is not known",
        "days",
        REAL,
        f"items.available_from, {TIMES}",
    ),
    Feature("n_buyers", "distinct users with an event", "users", WHOLE, EVENTS),
    Feature("n_orders", "distinct orders with it", "orders", WHOLE, ORDERS),
    Feature("net_quantity", "units bought - units returned", "units", REAL, UNITS),
    Feature("repeat_rate", "share of its users who ordered it again", "share", REAL, ORDERS),
    Feature("reorder_days", "median gap between two orders of it by one user", "days", REAL, ORDERS),
    Feature("popularity_7d", "distinct users with an event in the last 7 days", "users", WHOLE, TIMES),
    Feature("popularity_30d", "distinct users with an event in the last 30 days", "users", WHOLE, TIMES),
    Feature("popularity_90d", "distinct users with an event in the last 90 days", "users", WHOLE, TIMES),
    Feature(
        "popularity_trend", "ln((1 + events of the last 30 days) / (1 + of the 30 before))", "log ratio", REAL, TIMES
    ),
)

CATALOGUE = {"user": USER_FEATURES, "item": ITEM_FEATURES}


def schema_of(features: tuple[Feature, ...]) -> pa.Schema:
    """The schema of the feature table; the first column, the id, is never null."""
    return pa.schema([pa.field(f.name, f.type, nullable=place > 0) for place, f in enumerate(features)])


def page_tables() -> str:
    """The catalogue as Markdown, one table per kind. A test compares it with docs/features.md."""
    return "\n".join(_page_table(kind, features) for kind, features in CATALOGUE.items())


def _page_table(kind: str, features: tuple[Feature, ...]) -> str:
    head = [f"### {kind}", "", "| feature | meaning | unit | type | source |", "|---|---|---|---|---|"]
    rows = [f"| `{f.name}` | {f.meaning} | {f.unit} | {f.type} | {f.source} |" for f in features]
    return "\n".join([*head, *rows, ""])


if __name__ == "__main__":
    print(page_tables())
