"""The features by name: what each means, and in which unit. recommenders.features.tables obeys it."""

from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True)
class Feature:
    """One column of a feature table. Null means unknown, never zero."""

    name: str
    meaning: str
    unit: str
    type: pa.DataType


TEXT, WHOLE, REAL = pa.string(), pa.int64(), pa.float64()

ITEM_FEATURES = (
    Feature("item_id", "the item", "id", TEXT),
    Feature("title", "what it is called", "text", TEXT),
    Feature("category", "its category", "name", TEXT),
    Feature("subcategory", "its place within the category", "name", TEXT),
    Feature("brand", "who makes it", "name", TEXT),
    Feature("price", "list price", "source currency", REAL),
    Feature("rating", "mean stars the source states", "stars", REAL),
    Feature(
        "price_level",
        "share of the category's other items that are cheaper; 0.5 if it is alone",
        "share",
        REAL,
    ),
    Feature("age_days", "time since its launch, or since its first event where no launch is known", "days", REAL),
    Feature("n_buyers", "different users with an event", "users", WHOLE),
    Feature("n_orders", "different orders it stands in", "orders", WHOLE),
    Feature("popularity_30d", "different users with an event in the last 30 days", "users", WHOLE),
    Feature("popularity_trend", "ln((1 + events of the last 30 days) / (1 + of the 30 before))", "log ratio", REAL),
)

USER_FEATURES = (
    Feature("user_id", "the user", "id", TEXT),
    Feature("segment", "kind of business", "name", TEXT),
    Feature("industry", "its industry", "name", TEXT),
    Feature("region", "where it is", "name", TEXT),
    Feature("annual_revenue", "its revenue in a year", "source currency", REAL),
    Feature("credit_limit", "what it may owe", "source currency", REAL),
    Feature("recency_days", "time since its last event", "days", REAL),
    Feature("n_orders", "different orders", "orders", WHOLE),
    Feature("n_items", "different items", "items", WHOLE),
    Feature("spend", "sum of quantity x unit price", "source currency", REAL),
    Feature("mean_order_value", "spend an order", "source currency", REAL),
    Feature("mean_days_between_orders", "mean gap between its orders; null before the second", "days", REAL),
    Feature("top_category", "category of most of its events; of equals the first by name", "name", TEXT),
)


def schema_of(features: tuple[Feature, ...]) -> pa.Schema:
    """The table's schema; the id, first, is never null."""
    return pa.schema([pa.field(f.name, f.type, nullable=place > 0) for place, f in enumerate(features)])
