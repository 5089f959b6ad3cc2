"""A few orders, small enough to check by hand."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from recommenders.storage import schema

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture(scope="session")
def events() -> pa.Table:
    rows = [  # user, item, days before NOW, order, quantity, price
        ("u1", "a", 70, "o1", 2.0, 10.0),
        ("u1", "b", 70, "o1", 1.0, 5.0),
        ("u1", "a", 10, "o2", 4.0, 10.0),
        ("u2", "a", 5, "o3", 1.0, 10.0),
        ("u2", "c", 40, "o4", 3.0, 1.0),
        ("u3", "c", -2, "o5", 9.0, 1.0),
    ]
    names = ("user_id", "item_id", "timestamp", "order_id", "quantity", "unit_price")
    table = pa.Table.from_pylist(
        [
            dict(zip(names, (u, i, NOW - timedelta(days=d), o, q, p), strict=True))
            | {"event": "purchase", "weight": 1.0}
            for u, i, d, o, q, p in rows
        ]
    )
    return schema.conform(table, schema.INTERACTIONS, "events")


@pytest.fixture(scope="session")
def items() -> pa.Table:
    rows = [
        {
            "item_id": "a",
            "title": "Brown tape",
            "category": "packaging",
            "subcategory": "tape",
            "brand": "Elm",
            "price": 10.0,
        },
        {
            "item_id": "b",
            "title": "Clear tape",
            "category": "packaging",
            "subcategory": "tape",
            "brand": "Elm",
            "price": 5.0,
        },
        {
            "item_id": "c",
            "title": "Coffee beans",
            "category": "catering",
            "subcategory": "coffee",
            "brand": "Iris",
            "price": 1.0,
        },
        {
            "item_id": "d",
            "title": "Coffee cups",
            "category": "catering",
            "available_from": NOW - timedelta(days=3),
        },
        {
            "item_id": "e",
            "title": "Not yet",
            "category": "catering",
            "available_from": NOW + timedelta(days=3),
            "price": 2.0,
        },
    ]
    names = set().union(*rows)
    table = pa.Table.from_pylist([dict.fromkeys(names) | row for row in rows])
    return schema.conform(table, schema.ITEMS, "items")


@pytest.fixture(scope="session")
def users() -> pa.Table:
    rows = [{"user_id": f"u{n}", "segment": "retailer", "annual_revenue": 1e6 * n} for n in range(1, 4)]
    return schema.conform(pa.Table.from_pylist(rows), schema.USERS, "users")
