"""The repurchase model and its features, on logs with known results."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.special import expit

from recommenders.errors import ConfigurationError
from recommenders.events.histories import DAY, Histories
from recommenders.events.ids import IdMap
from recommenders.events.interactions import Interactions
from recommenders.features.repurchase import REPURCHASE_FEATURES, ItemRepurchase, Pairs
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
    """60 users over 400 days: each buys its two staples about every 20 days, and a random item with them."""
    rng = np.random.default_rng(0)
    events = []
    for user in range(60):
        for day in np.arange(rng.uniform(0, 20), 400, 20):
            visit = round(float(day + rng.uniform(-3, 3)), 3)
            events += [(visit, user, item) for item in (user % 4, 4 + user % 3, 7 + int(rng.integers(5)))]
    return make_log(events, 60)


def test_pair_statistics_are_visits_and_days() -> None:
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
    np.testing.assert_allclose(pairs.recent_visits(5.0, 10.0)[1, :2], [0.5 + 0.5**3 + 0.5**4, 0.5**0.6])
    assert pairs.features(ItemRepurchase.from_pairs(pairs, 10.0), 10.0).shape == (3, len(REPURCHASE_FEATURES))


def test_repurchase_features_are_logarithms_of_counts_and_times() -> None:
    log = make_log([(0, 0, 1), (10, 0, 1), (10, 0, 1), (30, 0, 1), (34, 0, 2), (5, 1, 2)], 2)
    pairs = Pairs(log.histories(), 40 * DAY, dated=True)
    items = ItemRepurchase.from_pairs(pairs, 10.0)
    found = dict(zip(REPURCHASE_FEATURES, pairs.features(items, 10.0).T, strict=True))
    interval = (30 + items.days_between[1]) / 3  # three visits of user 0 for item 1
    first = {name: values[0] for name, values in found.items()}
    assert np.exp(first["purchases"]) == pytest.approx(3)
    assert np.exp(first["amount_each"]) == pytest.approx(4 / 3)
    assert np.exp(first["share"]) == pytest.approx(3 / 4)
    assert np.exp(first["due"]) == pytest.approx((10 + 1) / (interval + 1))
    assert np.exp(first["visits_due"]) == pytest.approx((1 + 1) * 3 / 4)
    assert np.expm1(first["regularity"]) == pytest.approx(interval)
    assert first["due_squared"] == pytest.approx(first["due"] ** 2)
    assert found["share"][2] == 0  # one visit of one line: its share of the lines of that visit


def test_without_dates_days_are_0() -> None:
    log = make_log([(0, 0, 1), (10, 0, 1), (34, 0, 2)], 1)
    pairs = Pairs(log.histories(), 40 * DAY, dated=False)
    assert not pairs.days_since.any()
    assert not pairs.days_between.any()
    assert pairs.visits_since.tolist() == [1, 0]


def test_item_statistics_are_smoothed_towards_the_mean() -> None:
    events = [(day, user, 0) for user in range(9) for day in (0, 10, 20)] + [(0, 0, 1)]
    pairs = Pairs(make_log(events, 9).histories(), 30 * DAY, dated=True)
    items = ItemRepurchase.from_pairs(pairs, 10.0)
    np.testing.assert_allclose(items.days_between, 10.0)  # all gaps are 10 days
    assert items.reordered[0] > items.reordered[2] > items.reordered[1]


def test_the_regression_recovers_the_weights_of_the_labels() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(50_000, 3)) * [1, 2, 0] + [0, 5, 1]
    labels = (rng.random(50_000) < expit(features @ [1.0, -0.5, 0.0] + 1.0)).astype(float)
    np.testing.assert_allclose(_regression(features, labels, reg=1e-3), [1.0, 1.0, -0.5, 0.0], atol=0.06)


@pytest.mark.parametrize("reg", [0.01, 1.0, 500.0])
def test_the_regression_minimises_the_penalised_loss_of_standardised_features(reg: float) -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(4_000, 4)) * [1, 20, 0, 0.1] + [0, 50, 7, -3]  # the third is constant
    labels = (rng.random(4_000) < expit(features[:, 0] - 0.05 * features[:, 1])).astype(float)
    found = _regression(features, labels, reg)
    errors = expit(features @ found[1:] + found[0]) - labels
    spread = features.std(axis=0)
    standardised = (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1)
    gradient = standardised.T @ errors + reg * found[1:] * spread
    np.testing.assert_allclose([errors.sum(), *gradient], 0, atol=1e-3)
    assert found[3] == 0


def test_staples_rank_first_with_high_probabilities(staples: Interactions) -> None:
    model = Repurchase().fit(staples)
    rows, known = np.arange(60, dtype=np.int32), staples.histories()
    scores = model.score(rows, known)
    first = np.sort(np.argsort(-scores, axis=1)[:, :2], axis=1)
    np.testing.assert_array_equal(first, np.stack([rows % 4, 4 + rows % 3], axis=1))
    probabilities = scores[rows, rows % 4]
    assert (probabilities > 0.8).all()  # bought in each visit of a horizon of a month
    assert (probabilities <= 1.0 + 2 * TIE_BREAK).all()


def test_features_do_not_use_the_future(staples: Interactions) -> None:
    """Features of a window's pairs come from before it: other events after its beginning change only the labels."""
    model = Repurchase(RepurchaseConfig(n_windows=1)).fit(staples)
    (past, future, now), *rest = list(model._windows(staples, float(staples.ages().max())))
    assert not rest
    assert past.timestamps.max() < now <= future.timestamps.min()
    features, labels = model._examples(past, future, now)
    changed = replace(future, item_columns=((future.item_columns + 5) % N_ITEMS).astype(np.int32))
    again, other_labels = model._examples(past, changed, now)
    np.testing.assert_array_equal(features, again)
    assert (labels != other_labels).any()


def test_no_example_of_a_window_depends_on_what_came_after_it(
    staples: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the statistics of the pairs nor those of the items: the other log differs in the last 30 days only.

    The windows are 33 days long, so all but the newest one have ended by then.
    """
    late = staples.ages() < 30
    columns = np.where(late, (staples.item_columns + 5) % N_ITEMS, staples.item_columns).astype(np.int32)
    other = replace(staples, item_columns=columns, weights=np.where(late, 9, staples.weights).astype(np.float32))
    examples, found = Repurchase._examples, []

    def kept(*arguments: Any) -> Any:
        found.append(examples(*arguments))
        return found[-1]

    monkeypatch.setattr(Repurchase, "_examples", kept)
    for log in (staples, other):
        Repurchase(RepurchaseConfig(n_windows=3, horizon_days=33)).fit(log)
    (newest, *ended), (other_newest, *same) = found[:3], found[3:]
    assert (newest[1] != other_newest[1]).any()  # its labels are in the changed days
    for one, another in zip(ended, same, strict=True):
        np.testing.assert_array_equal(one[0], another[0])
        np.testing.assert_array_equal(one[1], another[1])


def test_an_item_that_is_due_ranks_above_one_just_bought() -> None:
    """Users buy one of two items in turn, every 15 days: the one not bought last is next."""
    events = [(15 * visit + user * 0.1, user, (visit + user) % 2) for user in range(80) for visit in range(24)]
    model = Repurchase(RepurchaseConfig(horizon_days=15)).fit(make_log(events, 80))
    rows = np.arange(80, dtype=np.int32)
    best = model.score(rows, model.histories_)[:, :2].argmax(axis=1)
    np.testing.assert_array_equal(best, (24 + rows) % 2)


def test_unknown_items_rank_last_by_popularity(staples: Interactions) -> None:
    model = Repurchase().fit(staples)
    scores = model.score(np.array([-1], np.int32), Histories.from_lists([[0, 7]], N_ITEMS, model.as_of_))[0]
    unknown = np.setdiff1d(np.arange(N_ITEMS), [0, 7])
    assert scores[[0, 7]].min() > scores[unknown].max()
    assert 0 < scores[unknown].max() <= TIE_BREAK * 1.001
    assert scores[unknown].argmax() == model.popularity_[unknown].argmax()


def test_for_a_cold_start_user_the_count_of_an_item_matters(staples: Interactions) -> None:
    model = Repurchase().fit(staples)
    history = Histories.from_lists([[8, 9, 9, 9]], N_ITEMS, model.as_of_)
    scores = model.score(np.array([-1], np.int32), history)[0]
    assert scores[9] > scores[8]


def test_single_users_score_as_in_a_batch_and_a_bundle_round_trips(staples: Interactions, tmp_path: Any) -> None:
    model = Repurchase().fit(staples)
    known = Histories.from_lists([[], [1, 2], [], [3]], N_ITEMS, model.as_of_)
    rows = np.full(4, -1, np.int32)
    together = model.score(rows, known)
    alone = np.concatenate([model.score(rows[[i]], known[[i]]) for i in range(4)])
    np.testing.assert_allclose(alone, together, rtol=1e-6)
    assert np.isfinite(together).all()
    assert model.covers(rows, known).tolist() == [False, True, False, True]
    again = Repurchase.load(model.save(tmp_path / "bundle"))
    np.testing.assert_array_equal(again.score(rows, known), together)


def test_without_dates_the_last_visits_are_the_labels(staples: Interactions) -> None:
    model = Repurchase().fit(replace(staples, dated=False))
    rows = np.arange(60, dtype=np.int32)
    first = np.argsort(-model.score(rows, staples.histories()), axis=1)[:, :2]
    np.testing.assert_array_equal(np.sort(first, axis=1), np.stack([rows % 4, 4 + rows % 3], axis=1))


def test_a_log_of_one_event_gives_a_list() -> None:
    model = Repurchase().fit(make_log([(0, 0, 3)], 1))
    ranked = model.recommend(np.array([0], np.int32), model.histories_, 3).item_columns
    assert ranked.tolist() == [[3, 0, 1]]


def test_max_pairs_limits_the_training_sample(staples: Interactions) -> None:
    sampled = Repurchase(RepurchaseConfig(max_pairs=300)).fit(staples)
    assert (sampled.coefficients_ != Repurchase().fit(staples).coefficients_).any()
    np.testing.assert_array_equal(
        sampled.coefficients_, Repurchase(RepurchaseConfig(max_pairs=300)).fit(staples).coefficients_
    )


def test_a_log_without_repeat_purchases_is_unsuitable_with_a_one_line_error(staples: Interactions) -> None:
    with pytest.raises(ConfigurationError, match="repeat is false") as caught:
        Repurchase().fit(replace(staples, repeat=False))
    assert "\n" not in str(caught.value)
