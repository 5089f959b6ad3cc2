"""A log whose users want different things: those who come back, and those who come once."""

from typing import Any

import pytest

from recommenders.events.interactions import Interactions


@pytest.fixture(scope="session")
def market(toy_events: Any) -> Interactions:
    """40 settled buyers buy their own two of items 3..22 every ten days; a newcomer a day, which begins with one of
    those and then buys the three that newcomers need, 0, 1 and 2, and is not seen again."""
    pairs, days = [], []
    for day in range(120):
        settled = [(u, 3 + (u + side) % 20) for u in range(40) for side in (0, 7) if (u + day) % 10 == 0]
        come = [(40 + day, 3 + day % 20), *((40 + day, item) for item in (0, 1, 2))]
        pairs += settled + come
        days += [float(day)] * len(settled) + [day + 0.2 * (1 + place) for place in range(4)]
    return Interactions.from_table(toy_events(pairs, days), repeat=True, horizon_days=20.0)
