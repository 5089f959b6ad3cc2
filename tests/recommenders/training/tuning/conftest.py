"""The validation window of a market in which users of one colour buy items of that colour."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from recommenders.datasets.spec import Protocol
from recommenders.evaluation.window_task import WindowTask, window_task
from recommenders.storage import schema

START = datetime(2026, 1, 1, tzinfo=UTC)
PROTOCOL = Protocol(split="time_cut", test_days=10)


def tables(seed_of_test: int = 0) -> tuple[pa.Table, pa.Table]:
    """interactions and items; another seed changes the test window alone."""
    rng, days, n_users, n_items = np.random.default_rng(3), 70, 30, 40
    visits = [(day, user) for day in range(days) for user in range(n_users) if (day + user) % 5 == 0]
    chosen = rng.zipf(1.5, len(visits)) % (n_items // 2)
    late = np.array([day >= days - 10 for day, _ in visits])
    chosen[late] = np.random.default_rng([3, seed_of_test]).integers(0, n_items // 2, late.sum())
    columns = {
        "user_id": [f"u{user:02}" for _, user in visits],
        "item_id": [f"i{2 * item + user % 2:02}" for item, (_, user) in zip(chosen, visits, strict=True)],
        "timestamp": pa.array([START + timedelta(days=day) for day, _ in visits], schema.TIME),
        "event": ["purchase"] * len(visits),
        "weight": pa.array([1.0] * len(visits), pa.float32()),
    }
    items = pa.table({"item_id": [f"i{n:02}" for n in range(n_items)], "category": ["even", "odd"] * (n_items // 2)})
    return (
        schema.conform(pa.table(columns), schema.INTERACTIONS, "interactions"),
        schema.conform(items, schema.ITEMS, "items"),
    )


@pytest.fixture(scope="session")
def window() -> WindowTask:
    return window_task(*tables(), PROTOCOL, "validation")


@pytest.fixture(scope="session")
def window_of_other_test() -> WindowTask:
    """The same market with another test window."""
    return window_task(*tables(1), PROTOCOL, "validation")
