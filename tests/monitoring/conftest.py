"""A seeded toy market without drift, except where a test asks for it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from monitoring.drift.columns import EncodedLog
from recommenders.storage.schema import INTERACTIONS, ITEMS, USERS, conform

DAY = 86_400
START = 1_700_000_000  # seconds since 1970
N_ITEMS, N_USERS = 600, 200


class Market:
    """Eight categories, long-tailed popularity, orders of several lines; windows are independent draws."""

    def __init__(self) -> None:
        rng = np.random.default_rng(7)
        self.categories = rng.integers(0, 8, N_ITEMS)
        self.prices = np.exp(rng.normal(2, 1, N_ITEMS))
        self.regions = rng.integers(0, 4, N_USERS)

    @property
    def items(self) -> pa.Table:
        ids, categories = [f"i{n}" for n in range(N_ITEMS)], [f"c{n}" for n in self.categories]
        return conform(pa.table({"item_id": ids, "category": categories}), ITEMS, "items")

    @property
    def users(self) -> pa.Table:
        ids, regions = [f"u{n}" for n in range(N_USERS)], [f"r{n}" for n in self.regions]
        return conform(pa.table({"user_id": ids, "region": regions}), USERS, "users")

    def window(
        self,
        seed: int,
        first_day: int,
        days: int,
        *,
        orders_a_day: int = 22,
        price: float = 1.0,
        quantity: float = 1.0,
        category: float = 1.0,
        popularity: float = 1.0,
        region: float = 1.0,
        rating: float | None = None,
    ) -> pa.Table:
        """Events of some days. price and quantity are factors; category and region multiply the odds of one label.

        popularity scales the exponent of the long tail; rating is the mean of the ratings, None: no ratings.
        """
        rng = np.random.default_rng([seed, first_day])
        n_orders = orders_a_day * days
        order = np.repeat(np.arange(n_orders), rng.poisson(5, n_orders) + 1)
        n = order.size
        odds = np.arange(1.0, N_ITEMS + 1) ** (-0.9 * popularity) * np.where(self.categories == 2, category, 1)
        item = rng.choice(N_ITEMS, n, p=odds / odds.sum())
        user_odds = np.where(self.regions == 1, region, 1.0)
        user = rng.choice(N_USERS, n_orders, p=user_odds / user_odds.sum())[order]
        seconds = START + first_day * DAY + np.sort(rng.random(n_orders))[order] * days * DAY
        columns: dict[str, Any] = {
            "user_id": [f"u{x}" for x in user],
            "item_id": [f"i{x}" for x in item],
            "timestamp": pa.array((seconds * 1e6).astype(np.int64)),
            "event": ["purchase"] * n,
            "weight": np.ones(n, np.float32),
            "order_id": [f"o{seed}-{first_day}-{x}" for x in order],
            "quantity": np.ceil(np.exp(rng.normal(1.5, 1, n))) * quantity,
            "unit_price": self.prices[item] * price * np.exp(rng.normal(0, 0.1, n)),
        }
        if rating is not None:
            columns["rating"] = np.clip(np.round(rng.normal(rating, 1, n)), 1, 5)
        return conform(pa.table(columns), INTERACTIONS, "events")


def make_still_log(rng: np.random.Generator, n_windows: int = 26, n_orders: int = 120) -> EncodedLog:
    """The columns of a market whose weeks are all samples of one distribution; the last week is the current one.

    Orders of one to some eight lines, 200 users of different size, 300 items with a long tail: 480 events per week.
    """
    order = np.repeat(np.arange(n_windows * n_orders), rng.poisson(3, n_windows * n_orders) + 1)
    odds, size = np.cumsum(1 / np.arange(1.0, 301) ** 0.9), np.cumsum(np.exp(rng.normal(size=200)))
    user = np.searchsorted(size, rng.random(n_windows * n_orders) * size[-1])[order]
    taste = rng.integers(0, 8, 200)  # each user likes one category more
    category = np.where(rng.random(order.size) < 0.3, taste[user], rng.integers(0, 8, order.size))
    return EncodedLog(
        n_reference=int(np.searchsorted(order, (n_windows - 1) * n_orders)),
        numbers={name: rng.normal(size=order.size) for name in ("log_unit_price", "rating")},
        labels={"category": category.astype(np.int32), "region": rng.integers(0, 4, 200).astype(np.int32)[user]},
        names={"category": tuple("abcdefgh"), "region": tuple("pqrs")},
        items=np.searchsorted(odds, rng.random(order.size) * odds[-1]).astype(np.int32),
        users=user.astype(np.int32),
        orders=order.astype(np.int32),
        seconds=(order + 1) / n_orders * 7 * DAY,
    )


@pytest.fixture(scope="session")
def market() -> Market:
    return Market()


@pytest.fixture(scope="session")
def still_log() -> Callable[[np.random.Generator], EncodedLog]:
    return make_still_log
