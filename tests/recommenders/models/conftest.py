"""A log with two kinds of users: users with repeat purchases, and users who are active on one day."""

from typing import Any

import pytest

from recommenders.events.interactions import Interactions


@pytest.fixture(scope="session")
def market(toy_events: Any) -> Interactions:
    """40 known users each buy two of the items 3..22 every ten days. Each day one new user buys one of those items and
    then the items 0, 1 and 2, and never returns."""
    pairs, days = [], []
    for day in range(120):
        known = [(u, 3 + (u + side) % 20) for u in range(40) for side in (0, 7) if (u + day) % 10 == 0]
        new = [(40 + day, 3 + day % 20), *((40 + day, item) for item in (0, 1, 2))]
        pairs += known + new
        days += [float(day)] * len(known) + [day + 0.2 * (1 + place) for place in range(4)]
    return Interactions.from_table(toy_events(pairs, days), repeat=True, horizon_days=20.0)
