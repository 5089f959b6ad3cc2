"""The true probabilities against futures that are simulated from the same state."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from recommenders.errors import ConfigurationError
from recommenders.simulation.config import Scenario, WorldConfig
from recommenders.simulation.market import ANCHOR, COMPANION, SUBSTITUTE, UNPAIRED
from recommenders.simulation.order_sampling import second_at, share_before, simulate
from recommenders.simulation.purchase_model import World, make_world, visit_probability
from recommenders.simulation.truth import (
    History,
    _window,
    history,
    purchase_probabilities,
    purchase_probability,
    visit_purchase_probability,
)

FUTURES, HORIZON = 200, 20
AS_OF = datetime(2026, 5, 20)
BUSY = WorldConfig(
    n_users=24, n_products=126, n_orders=900, bundle_share=0.25, substitute_share=0.35, staple_share=0.7, seed=5
)


def futures(world: World, past: History) -> NDArray[np.bool_]:
    """(FUTURES, n_rows, n_products): whether each product is bought within the horizon, in each simulated future."""
    start = world.config.day(AS_OF.date())
    bought = np.zeros((FUTURES, *past.last_bought.shape), dtype=np.bool_)
    for number in range(FUTURES):
        days = range(start, start + HORIZON)
        lines = simulate(world, past.rows, days, stream=1_000 + number, last_bought=past.last_bought)
        bought[number, lines["user"], lines["product"]] = True
    return bought


def strata(world: World, probability: NDArray[np.float32]) -> Iterator[NDArray[np.bool_]]:
    """Masks (n_rows, n_products): all pairs, each role, each decile of the probability."""
    yield np.ones(probability.shape, dtype=np.bool_)
    for role in (UNPAIRED, ANCHOR, COMPANION, SUBSTITUTE):
        yield np.broadcast_to(world.eras[-1].products.role == role, probability.shape)
    edges = np.quantile(probability[probability > 0], np.linspace(0, 1, 11))
    for low, high in pairwise(edges):
        yield (probability >= low) & (probability <= high)


@pytest.mark.parametrize(
    "scenarios",
    [
        (),
        (
            Scenario("demand_shift", date(2026, 5, 25), 1.0),
            Scenario("price_inflation", date(2026, 5, 28), 0.5),
            Scenario("new_items", date(2026, 5, 22), 0.3),
            Scenario("churn", date(2026, 5, 24), 0.4),
            Scenario("taste_permutation", date(2026, 6, 1), 1.0),
        ),
    ],
    ids=["plain", "all scenarios start within the window"],
)
def test_probabilities_match_simulated_frequencies(scenarios: tuple[Scenario, ...]) -> None:
    world = make_world(replace(BUSY, scenarios=scenarios))
    past = history(world, np.arange(BUSY.n_users), AS_OF)
    probability = purchase_probability(world, past, HORIZON)
    bought = futures(world, past)
    assert not bought[:, probability == 0].any()
    for mask in strata(world, probability):
        totals = bought[:, mask].sum(axis=1)
        error = max(totals.std() / FUTURES**0.5, 1 / FUTURES)
        assert abs(totals.mean() - probability[mask].sum()) < 4 * error


def test_blocks_of_users_give_the_same_probabilities() -> None:
    world = make_world(BUSY)
    whole = purchase_probability(world, history(world, np.arange(BUSY.n_users), AS_OF), HORIZON)
    rows = np.array([17, 3, 5])
    parts = list(purchase_probabilities(world, AS_OF, HORIZON, rows, block=2))
    assert [list(of_block) for of_block, _ in parts] == [[17, 3], [5]]
    found = np.concatenate([probability for _, probability in parts])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, whole[rows], rtol=2e-4, atol=1e-7)


def test_visit_purchase_probability_is_the_mean_over_sizes() -> None:
    sizes = BUSY.size_floor + (1 - BUSY.size_floor) * np.random.default_rng(1).gamma(
        BUSY.size_shape, 1 / BUSY.size_shape, 400_000
    )
    for x in (1e-4, 0.1, 1.0, 5.0):
        sampled = -np.expm1(-sizes * x).mean()
        assert visit_purchase_probability(BUSY, np.array(x)) == pytest.approx(sampled, rel=0.01)


def test_a_cut_within_a_day_splits_its_visits() -> None:
    world, rows, noon = make_world(BUSY), np.arange(BUSY.n_users), AS_OF.replace(hour=12)
    no_purchases = History(noon, rows, np.full((len(rows), world.n_products), -1, np.int16), rows % 2 == 0)
    days, p_visit = _window(world, no_purchases, 3)
    first = BUSY.day(AS_OF.date())
    assert days.tolist() == [first, first + 1, first + 2, first + 3]
    whole, before = visit_probability(world, rows, days), share_before(12 * 3600)
    missed = (1 - whole[:, 0] * before) * (1 - p_visit[:, 0])
    np.testing.assert_allclose(missed[1::2], (1 - whole[:, 0])[1::2])
    assert (p_visit[::2, 0] == 0).all()
    np.testing.assert_allclose(p_visit[:, 1:3], whole[:, 1:3])
    np.testing.assert_allclose(p_visit[:, 3], whole[:, 3] * before)
    midnight = replace(no_purchases, as_of=AS_OF)
    assert len(_window(world, midnight, 3)[0]) == 3


def test_visit_times_match_their_distribution_function() -> None:
    seconds = second_at(np.random.default_rng(1).random(50_000))
    for hour in (8, 9, 10.5, 13, 18, 24):
        assert (seconds <= hour * 3600).mean() == pytest.approx(share_before(hour * 3600), abs=0.01)


def test_windows_outside_the_simulated_days_raise() -> None:
    world = make_world(BUSY)
    past = history(world, np.array([0]), AS_OF)
    with pytest.raises(ConfigurationError, match="horizon of the window is 0 days; it must be at least 1"):
        purchase_probability(world, past, 0)
    with pytest.raises(ConfigurationError, match="the world has no day 2027"):
        purchase_probability(world, past, 300)
    with pytest.raises(ConfigurationError, match="choose from 2025-05-02 to 2026-09-28"):
        history(world, np.array([0]), AS_OF - timedelta(days=900))


def test_history_knows_whether_a_user_visited_today() -> None:
    world = make_world(BUSY)
    lines = simulate(world, np.arange(BUSY.n_users))
    line = lines[lines["day"] == BUSY.day(AS_OF.date())][0]
    for seconds, visited in ((0, True), (-1, False)):
        past = history(world, line["user"][None], AS_OF + timedelta(seconds=int(line["second"]) + seconds))
        assert past.visited_today[0] == visited
        assert (past.last_bought[0, line["product"]] == line["day"]) == visited
