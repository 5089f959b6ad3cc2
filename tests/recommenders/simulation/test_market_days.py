"""The market day by day: its visits are those of the log, and its probabilities are those of its purchases."""

import itertools
from datetime import date

import numpy as np
import pytest

from recommenders.simulation.config import Scenario, WorldConfig
from recommenders.simulation.market_days import MarketDays, exchange
from recommenders.simulation.order_sampling import simulate
from recommenders.simulation.purchase_model import make_world

DAYS = range(100, 128)


EXCHANGED = 112  # the day on which users exchange what they do


@pytest.fixture(scope="module", params=["a change of the market", "an exchange of users"])
def market(request: pytest.FixtureRequest) -> MarketDays:
    if request.param == "an exchange of users":
        return exchanged()
    changes = (Scenario("demand_shift", date(2026, 6, 15), 1.0), Scenario("new_items", date(2026, 6, 15), 0.2))
    config = WorldConfig(n_users=60, n_products=80, n_orders=700, days=70, seed=3, scenarios=changes)
    return MarketDays(make_world(config))


def exchanged() -> MarketDays:
    world = make_world(WorldConfig(n_users=60, n_products=80, n_orders=700, days=70, seed=3))
    return MarketDays(world, exchange(world, EXCHANGED))


def test_an_exchange_changes_users_and_not_the_market() -> None:
    market = exchanged()
    lines, alone = market.lines, MarketDays(market.world).lines
    assert np.array_equal(alone, simulate(market.world, np.arange(60)))
    late = alone["day"] >= EXCHANGED
    assert late.any()
    assert np.array_equal(lines[lines["day"] < EXCHANGED], alone[~late])
    found = exchange(market.world, EXCHANGED)
    users = market.world.eras[0].users
    behind, active = found.behind, (users.join_day <= EXCHANGED) & (users.leave_day > EXCHANGED)
    assert np.array_equal(np.sort(behind), np.arange(60))
    assert (behind[~active] == np.flatnonzero(~active)).all()
    assert np.mean(behind[active] != np.flatnonzero(active)) > 0.6  # not one who is alone in the region
    for name in ("business_type", "region"):
        values = getattr(users, name)
        assert np.array_equal(values[behind], values)
    own = lines[lines["day"] >= EXCHANGED].copy()
    own["user"] = behind[own["user"]]
    assert np.array_equal(np.sort(own), np.sort(alone[late]))


def test_the_visits_of_all_days_have_all_lines(market: MarketDays) -> None:
    lines = market.lines
    lines = lines[(lines["day"] >= DAYS.start) & (lines["day"] < DAYS.stop)]
    visits = [visit for day in DAYS for visit in market.visits(day)]
    found = np.concatenate([visit.lines for visit in visits])
    assert np.array_equal(np.sort(found), np.sort(lines))
    assert all(
        (visit.lines["user"] == visit.user).all() and (visit.lines["second"] == visit.second).all() for visit in visits
    )
    assert any(not len(visit.lines) for visit in visits)  # a visit without an order is one, too
    for day in DAYS:
        seconds = [visit.second for visit in market.visits(day)]
        assert seconds == sorted(seconds)


def test_purchases_are_as_frequent_as_their_probabilities(market: MarketDays) -> None:
    """By decile of probability, within four standard errors; all days together, those after the change too."""
    chances, bought = [], []
    for day in DAYS:
        visits = market.visits(day)
        if visits:
            users = np.array([visit.user for visit in visits])
            chances.append(market.probabilities(day, users))
            bought.append(np.array([np.isin(np.arange(market.world.n_products), v.lines["product"]) for v in visits]))
    p, hit = np.concatenate(chances).ravel(), np.concatenate(bought).ravel()
    assert (p >= 0).all()
    assert (p <= 1).all()
    assert not hit[p == 0].any()
    edges = np.quantile(p[p > 0], np.linspace(0, 1, 11))
    for low, high in itertools.pairwise(edges):
        inside = (p > 0) & (p >= low) & (p <= high)
        error = np.sqrt((p[inside] * (1 - p[inside])).sum())
        assert abs(hit[inside].sum() - p[inside].sum()) < 4 * error + 1


def test_after_an_exchange_a_user_buys_with_the_probabilities_of_another() -> None:
    """Of the one behind it, whose purchases before and after count as its own."""
    exchanged_market = exchanged()
    alone = MarketDays(exchanged_market.world)
    behind = exchange(exchanged_market.world, EXCHANGED).behind
    for day in (EXCHANGED - 1, EXCHANGED, EXCHANGED + 10):
        users = np.array([visit.user for visit in exchanged_market.visits(day)])
        rows = users if day < EXCHANGED else behind[users]
        assert np.array_equal(exchanged_market.probabilities(day, users), alone.probabilities(day, rows))
