"""Reorders, returns and errors, small enough to check by hand."""

from datetime import UTC, datetime, timedelta
from math import log, sqrt

import pyarrow as pa
import pytest

from recommenders.errors import ConfigurationError, DataError
from recommenders.features.tables import item_features, user_features
from recommenders.storage import schema

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def purchases() -> pa.Table:
    """u1 buys a every 20 days and b once; u2 buys a 25 and 15 days ago and returns half of the last purchase."""
    rows = [  # user, item, days before NOW, order, quantity, price, units back, days before NOW they came
        ("u1", "a", 70, "o1", 2.0, 10.0, None, None),
        ("u1", "a", 50, "o2", 2.0, 10.0, 1.0, 45),
        ("u1", "a", 30, "o3", 2.0, 10.0, 1.0, -5),
        ("u1", "b", 30, "o3", 1.0, 5.0, None, None),
        ("u2", "a", 25, "p1", 4.0, 10.0, None, None),
        ("u2", "a", 15, "p2", 4.0, 8.0, 2.0, 1),
        ("u2", "c", 15, "p2", 1.0, 1.0, None, None),
    ]
    names = ("user_id", "item_id", "timestamp", "order_id", "quantity", "unit_price", "returned_quantity")
    found = [
        dict(zip(names, (u, i, NOW - timedelta(days=d), o, q, p, back), strict=True))
        | {"event": "purchase", "weight": 1.0, "returned_at": None if came is None else NOW - timedelta(days=came)}
        for u, i, d, o, q, p, back, came in rows
    ]
    return schema.conform(pa.Table.from_pylist(found), schema.INTERACTIONS, "events")


def test_reorders_and_returns_of_items_and_users(purchases: pa.Table, items: pa.Table, users: pa.Table) -> None:
    a = item_features(purchases, items, NOW).to_pylist()[0]
    assert (a["net_quantity"], a["repeat_rate"], a["reorder_days"]) == (11.0, 1.0, 20)
    assert (a["popularity_7d"], a["popularity_30d"], a["popularity_90d"]) == (0, 1, 2)
    assert (a["mean_price_paid"], a["paid_to_list"]) == (pytest.approx(9.6), pytest.approx(0.96))
    one, two, three = user_features(purchases, users, NOW, items).to_pylist()
    assert (one["spend"], one["n_orders"], one["n_orders_30d"], one["n_orders_90d"]) == (55.0, 3, 0, 3)
    assert (one["mean_days_between_orders"], one["std_days_between_orders"], one["tenure_days"]) == (20, 0, 70)
    assert (one["repeat_share"], one["price_level"]) == (0.5, 0.75)
    assert (one["category_entropy"], one["top_category_share"]) == (0, 1)
    assert two["std_days_between_orders"] is None
    assert two["category_entropy"] == pytest.approx(-2 / 3 * log(2 / 3) - 1 / 3 * log(1 / 3))
    assert (three["n_orders_90d"], three["repeat_share"], three["price_level"]) == (0, None, None)


def test_the_deviation_is_the_sample_deviation(users: pa.Table) -> None:
    days = (30, 20, 16)
    rows = [{"user_id": "u1", "item_id": "a", "timestamp": NOW - timedelta(days=d)} for d in days]
    rows = [{**dict.fromkeys(schema.INTERACTIONS.names), **row, "event": "x", "weight": 1.0} for row in rows]
    one = user_features(pa.Table.from_pylist(rows, schema.INTERACTIONS), users, NOW).to_pylist()[0]
    assert one["std_days_between_orders"] == pytest.approx(sqrt(((10 - 7) ** 2 + (4 - 7) ** 2) / 1))


def test_an_item_has_its_newest_description(purchases: pa.Table, items: pa.Table) -> None:
    later = {"item_id": "a", "category": "catering", "price": 99.0, "valid_from": NOW - timedelta(days=20)}
    never = {"item_id": "b", "category": "catering", "price": 7.0, "valid_from": NOW + timedelta(days=1)}
    rows = [row for row in items.to_pylist() if row["item_id"] != "b"]
    rows += [{**dict.fromkeys(schema.ITEMS.names), **row} for row in (later, never)]
    table = pa.Table.from_pylist(rows, schema.ITEMS)
    now = {row["item_id"]: row for row in item_features(purchases, table, NOW).to_pylist()}
    before = {row["item_id"]: row for row in item_features(purchases, table, NOW - timedelta(days=21)).to_pylist()}
    assert (now["a"]["category"], now["a"]["price"], before["a"]["price"]) == ("catering", 99.0, 10.0)
    assert (now["b"]["category"], now["b"]["price"], now["b"]["n_buyers"]) == (None, None, 1)


def test_errors_name_the_fix(purchases: pa.Table, items: pa.Table) -> None:
    with pytest.raises(DataError, match="events: column 'event' is missing"):
        item_features(purchases.drop_columns(["event"]), items, NOW)
    with pytest.raises(ConfigurationError, match="features: memory_limit '1MB' is too small"):
        item_features(purchases, items, NOW, memory_limit="1MB")
    with pytest.raises(DataError, match="events: no Parquet files are given"):
        item_features([], items, NOW)
    words = purchases.set_column(6, "quantity", pa.array(["many"] * purchases.num_rows))
    with pytest.raises(DataError, match=r"features: Conversion Error.*fix that column"):
        item_features(words, items, NOW)
