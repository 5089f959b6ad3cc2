"""Repurchase: habits with known answers, and what the model makes of them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.special import expit

from recommenders.errors import ConfigurationError
from recommenders.events.histories import DAY, Histories
from recommenders.events.ids import IdMap
from recommenders.events.interactions import Interactions
from recommenders.features.repurchase import SIGNS, ItemHabits, Pairs
from recommenders.models.repurchase import TIE_BREAK, Repurchase, RepurchaseConfig, _regression

N_ITEMS = 12


def make_log(events: list[tuple[float, int, int]], n_users: int, repeat: bool = True) -> Interactions:
    """Events (day, user, item) of weight 1."""
    days, users, items = np.array(sorted(events)).T
    ones = np.ones(len(days), np.float32)
    return Interactions(
        IdMap(np.array([f"u{user:03}" for user in range(n_users)])),
        IdMap(np.array([f"i{item:02}" for item in range(N_ITEMS)])),
        users.astype(np.int32),
        items.astype(np.int32),
        (days * DAY).astype(np.int64),
        ones,
        ones,
        np.ones(N_ITEMS, dtype=np.bool_),
        repeat,
    )


@pytest.fixture(scope="module")
def staples() -> Interactions:
    """60 buyers over 400 days: each buys its two staples every 20 days or so, and a random item along with them."""
    rng = np.random.default_rng(0)
    events = []
    for user in range(60):
        for day in np.arange(rng.uniform(0, 20), 400, 20):
            visit = round(float(day + rng.uniform(-3, 3)), 3)
            events += [(visit, user, item) for item in (user % 4, 4 + user % 3, 7 + int(rng.integers(5)))]
    return make_log(events, 60)


def test_a_pair_is_described_by_its_visits_and_days() -> None:
    log = make_log([(0, 0, 1), (10, 0, 1), (10, 0, 1), (30, 0, 1), (34, 0, 2), (5, 1, 2)], 2)
    pairs = Pairs(log.histories(), 40 * DAY, dated=True)
    assert pairs.rows.tolist() == [0, 0, 1]
    assert pairs.item_columns.tolist() == [1, 2, 2]
    assert pairs.visits.tolist() == [3, 1, 1]
    assert pairs.amount.tolist() == [4, 1, 1]
    assert pairs.days_since.tolist() == [10, 6, 35]
    assert pairs.days_between.tolist() == [30, 0, 0]
    assert pairs.visits_since.tolist() == [1, 0, 0]
    assert pairs.n_visits.tolist() == [4, 1]
    np.testing.assert_allclose(pairs.recent_amount(10.0)[:2], [0.5 + 2 * 0.5**3 + 0.5**4, 0.5**0.6])
    np.testing.assert_allclose(pairs.recent_visits(10.0)[:2], [0.5 + 0.5**3 + 0.5**4, 0.5**0.6])
    assert pairs.signs(ItemHabits.of(pairs, 10.0), 10.0).shape == (3, len(SIGNS))


def test_without_dates_days_say_nothing() -> None:
    log = make_log([(0, 0, 1), (10, 0, 1), (34, 0, 2)], 1)
    pairs = Pairs(log.histories(), 40 * DAY, dated=False)
    assert not pairs.days_since.any()
    assert not pairs.days_between.any()
    assert pairs.visits_since.tolist() == [1, 0]


def test_items_start_from_what_is_usual() -> None:
    events = [(day, user, 0) for user in range(9) for day in (0, 10, 20)] + [(0, 0, 1)]
    pairs = Pairs(make_log(events, 9).histories(), 30 * DAY, dated=True)
    habits = ItemHabits.of(pairs, 10.0)
    np.testing.assert_allclose(habits.days_between, 10.0)  # no gap but of 10 days was ever seen
    assert habits.reordered[0] > habits.reordered[2] > habits.reordered[1]


def test_the_regression_finds_the_weights_that_made_the_labels() -> None:
    rng = np.random.default_rng(0)
    signs = rng.normal(size=(50_000, 3)) * [1, 2, 0] + [0, 5, 1]
    labels = (rng.random(50_000) < expit(signs @ [1.0, -0.5, 0.0] + 1.0)).astype(float)
    np.testing.assert_allclose(_regression(signs, labels, reg=1e-3), [1.0, 1.0, -0.5, 0.0], atol=0.06)


def test_staples_are_expected_again_and_chances_are_calibrated(staples: Interactions) -> None:
    model = Repurchase().fit(staples)
    rows, known = np.arange(60, dtype=np.int32), staples.histories()
    scores = model.score(rows, known)
    first = np.sort(np.argsort(-scores, axis=1)[:, :2], axis=1)
    np.testing.assert_array_equal(first, np.stack([rows % 4, 4 + rows % 3], axis=1))
    chances = scores[rows, rows % 4]
    assert (chances > 0.8).all()  # bought in each of the visits that a horizon of a month holds
    assert (chances <= 1.0 + 2 * TIE_BREAK).all()


def test_the_future_is_not_looked_into(staples: Interactions) -> None:
    """Signs of a window's pairs come from before it: other events after its beginning change labels alone."""
    model = Repurchase(RepurchaseConfig(windows=1)).fit(staples)
    (past, future, now), *rest = list(model._windows(staples, float(staples.ages().max())))
    assert not rest
    assert past.timestamps.max() < now <= future.timestamps.min()
    signs, labels = model._described(past, future, now)
    changed = replace(future, item_columns=((future.item_columns + 5) % N_ITEMS).astype(np.int32))
    again, other_labels = model._described(past, changed, now)
    np.testing.assert_array_equal(signs, again)
    assert (labels != other_labels).any()


def test_what_is_due_beats_what_was_just_bought() -> None:
    """Buyers come for one of two items in turn, every 15 days: the one not bought last is next."""
    events = [(15 * visit + user * 0.1, user, (visit + user) % 2) for user in range(80) for visit in range(24)]
    model = Repurchase(RepurchaseConfig(horizon_days=15)).fit(make_log(events, 80))
    rows = np.arange(80, dtype=np.int32)
    best = model.score(rows, model.histories_)[:, :2].argmax(axis=1)
    np.testing.assert_array_equal(best, (24 + rows) % 2)


def test_the_unknown_comes_last_the_popular_first(staples: Interactions) -> None:
    model = Repurchase().fit(staples)
    scores = model.score(np.array([-1], np.int32), Histories.of_lists([[0, 7]], N_ITEMS, model.as_of_))[0]
    unknown = np.setdiff1d(np.arange(N_ITEMS), [0, 7])
    assert scores[[0, 7]].min() > scores[unknown].max()
    assert 0 < scores[unknown].max() <= TIE_BREAK * 1.001
    assert scores[unknown].argmax() == model.popularity_[unknown].argmax()


def test_of_a_stranger_how_often_an_item_is_named_counts(staples: Interactions) -> None:
    model = Repurchase().fit(staples)
    history = Histories.of_lists([[8, 9, 9, 9]], N_ITEMS, model.as_of_)
    scores = model.score(np.array([-1], np.int32), history)[0]
    assert scores[9] > scores[8]


def test_one_by_one_is_the_batch_and_a_bundle_keeps_it(staples: Interactions, tmp_path: Any) -> None:
    model = Repurchase().fit(staples)
    known = Histories.of_lists([[], [1, 2], [], [3]], N_ITEMS, model.as_of_)
    rows = np.full(4, -1, np.int32)
    together = model.score(rows, known)
    alone = np.concatenate([model.score(rows[[i]], known[[i]]) for i in range(4)])
    np.testing.assert_allclose(alone, together, rtol=1e-6)
    assert np.isfinite(together).all()
    assert model.knows(rows, known).tolist() == [False, True, False, True]
    again = Repurchase.load(model.save(tmp_path / "bundle"))
    np.testing.assert_array_equal(again.score(rows, known), together)


def test_a_log_without_dates_is_learned_from_by_last_visits(staples: Interactions) -> None:
    model = Repurchase().fit(replace(staples, dated=False))
    rows = np.arange(60, dtype=np.int32)
    first = np.argsort(-model.score(rows, staples.histories()), axis=1)[:, :2]
    np.testing.assert_array_equal(np.sort(first, axis=1), np.stack([rows % 4, 4 + rows % 3], axis=1))


def test_a_log_of_one_event_gives_a_list() -> None:
    model = Repurchase().fit(make_log([(0, 0, 3)], 1))
    ranked = model.recommend(np.array([0], np.int32), model.histories_, 3).item_columns
    assert ranked.tolist() == [[3, 0, 1]]


def test_a_sample_bounds_what_is_learned_from(staples: Interactions) -> None:
    sampled = Repurchase(RepurchaseConfig(max_pairs=300)).fit(staples)
    assert (sampled.coefficients_ != Repurchase().fit(staples).coefficients_).any()
    np.testing.assert_array_equal(
        sampled.coefficients_, Repurchase(RepurchaseConfig(max_pairs=300)).fit(staples).coefficients_
    )


def test_a_log_whose_buyers_do_not_come_back_is_refused_in_one_line(staples: Interactions) -> None:
    with pytest.raises(ConfigurationError, match="repeat is false") as caught:
        Repurchase().fit(replace(staples, repeat=False))
    assert "\n" not in str(caught.value)
