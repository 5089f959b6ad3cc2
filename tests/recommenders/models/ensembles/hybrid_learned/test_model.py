"""The learned hybrid: training windows and examples, and recommendations."""

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

from recommenders.errors import UnsuitableError
from recommenders.events.histories import DAY, Histories
from recommenders.events.ids import IdMap
from recommenders.events.interactions import Interactions
from recommenders.events.sale_periods import SalePeriods
from recommenders.features.items import ItemFeatures
from recommenders.models.ease import EASE
from recommenders.models.ensembles.hybrid_learned import training
from recommenders.models.ensembles.hybrid_learned.config import HybridLearnedConfig
from recommenders.models.ensembles.hybrid_learned.model import HybridLearned
from recommenders.models.popularity import Popularity
from recommenders.models.repurchase import Repurchase
from recommenders.splitting.windows import first_events, windows

CONFIG = HybridLearnedConfig(base_models=("popularity", "ease"), n_windows=1, n_estimators=20, max_depth=3)


def small(log: Interactions, features: Any = None) -> HybridLearned:
    base_models = {"popularity": Popularity().fit(log), "ease": EASE().fit(log)}
    learned = HybridLearned(CONFIG).fit_from(base_models, log, features)
    assert isinstance(learned, HybridLearned)
    return learned


@pytest.fixture(scope="module")
def learned(reorder_world: Any) -> HybridLearned:
    return small(*reorder_world)


def test_expensive_base_models_are_not_used_where_each_window_would_refit_them(reorder_world: Any) -> None:
    log, _ = reorder_world
    expensive = {"sasrec", "neural_collaborative"}
    many, one = HybridLearned(HybridLearnedConfig()), HybridLearned(HybridLearnedConfig(n_windows=1))
    assert log.dated
    assert set(many.base_model_names()) - set(many.required_models(log)) == expensive
    assert many.required_models(replace(log, dated=False)) == many.base_model_names()
    assert one.required_models(log) == one.base_model_names()


def test_windows_lie_after_the_known_events(reorder_world: Any) -> None:
    log = reorder_world[0]
    found = list(windows(log, 3, 20.0))
    assert len(found) == 3
    for number, window in enumerate(found):
        cut = log.timestamps.max() - int(20 * (1 + number / 2) * DAY)
        assert window.log.timestamps.max() < cut
        later = (log.timestamps >= cut) & ((log.timestamps < cut + 20 * DAY) | (number == 0))  # the newest event too
        bought = {(u, i) for u, i in zip(log.user_rows[later], log.item_columns[later], strict=True)}
        rows, columns = window.targets.nonzero()
        assert {(window.user_rows[r], c) for r, c in zip(rows, columns, strict=True)} <= bought
        assert not window.log.available[np.bincount(window.log.item_columns, minlength=len(log.items)) == 0].any()


def test_without_dates_the_newest_events_are_the_targets(world: Any) -> None:
    log = replace(world[0], dated=False)
    (window,) = windows(log, 3, 20.0)
    assert len(window.log) + window.targets.nnz == len(log)
    n_targets = np.diff(window.targets.indptr)
    assert (n_targets >= 1).all()
    assert (n_targets <= 3).all()
    last = np.zeros(len(log.users))
    np.maximum.at(last, window.log.user_rows, window.log.timestamps)
    first_target = np.array(
        [
            min(log.timestamps[(log.user_rows == user) & np.isin(log.item_columns, window.targets[[place]].indices)])
            for place, user in enumerate(window.user_rows)
        ]
    )
    assert (first_target >= last[window.user_rows]).all()


def new_users_of(market: Interactions) -> Interactions:
    numbers = np.array([int(name.removeprefix("u")) for name in market.users.ids])  # rows are in the order of text
    return market.select(numbers[market.user_rows] >= 40)


def test_new_users_of_a_window_have_no_earlier_events(market: Interactions) -> None:
    (window, *_) = windows(market, 3, 20.0)
    new_users = window.new_users
    assert len(new_users) == 20
    assert (new_users.counts == 4).all()
    assert new_users.timestamps.min() > window.log.timestamps.max()
    assert (new_users.item_columns.reshape(20, 4)[:, 1:] == [0, 1, 2]).all()  # the oldest first


def test_known_and_new_users_of_a_window_count_as_users_who_buy_again(market: Interactions) -> None:
    (window, *_) = windows(market, 3, 20.0)
    assert len(window.user_rows)
    assert training._Tried.of(window, None) == (0, 0, len(window.user_rows) + 20)


def test_targets_of_new_users_are_later_visits_never_the_rest_of_a_visit() -> None:
    # visits: {1, 2}, {3, 4}, {5}
    new_users = Histories(
        np.array([0, 5]),
        np.array([1, 2, 3, 4, 5], np.int32),
        np.array([1, 1, 2, 2, 3], np.int64),
        np.ones(5, np.float32),
        6,
    )
    found = {first: first_events(new_users, first) for first in (None, 1, 3)}
    known = {first: events.item_columns.tolist() for first, (events, _) in found.items()}
    targets = {first: later.indices.tolist() for first, (_, later) in found.items()}
    assert known == {None: [1, 2], 1: [1], 3: [1, 2, 3]}
    assert targets == {None: [3, 4, 5], 1: [3, 4, 5], 3: [5]}


def test_a_cold_start_user_gets_items_of_new_users_and_a_known_user_its_own(market: Interactions) -> None:
    config = CONFIG.model_copy(update={"n_windows": 3, "n_estimators": 60})
    base_models = {"popularity": Popularity().fit(market), "ease": EASE().fit(market)}
    model = HybridLearned(config).fit_from(base_models, market)
    cold_start = model.recommend(np.array([-1], np.int32), Histories.from_lists([[5]], 23), 3)
    assert set(cold_start.item_columns[0].tolist()) == {0, 1, 2}
    known = model.recommend(np.array([4], np.int32), model.histories_[[4]], 2)
    assert set(known.item_columns[0].tolist()) == {7, 14}
    both = model.recommend(np.array([4, -1], np.int32), model.histories_[[4, 4]], 2)
    np.testing.assert_array_equal(both.item_columns[0], known.item_columns[0])
    assert both.scores[0, 0] != both.scores[1, 0]  # the same history, as a cold-start user's


def test_a_log_of_new_users_alone_trains_the_cold_start_ranker(market: Interactions) -> None:
    model = small(new_users_of(market))
    cold_start = model.recommend(np.array([-1], np.int32), Histories.from_lists([[5]], 23), 3)
    assert set(cold_start.item_columns[0].tolist()) == {0, 1, 2}


def test_new_users_alone_are_unsuitable_if_the_cold_start_share_is_0(market: Interactions) -> None:
    log = replace(new_users_of(market), horizon_days=19.9)  # no user has events on both sides of the cut
    base_models = {"popularity": Popularity().fit(log), "ease": EASE().fit(log)}
    with pytest.raises(UnsuitableError, match="got 120 users who buy again, and 0 of their 2,640 cand"):
        HybridLearned(CONFIG.model_copy(update={"cold_start_share": 0.0})).fit_from(base_models, log)


def test_no_example_of_a_window_depends_on_what_came_after_it(
    market: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Features, candidates, base models and labels of a window that has ended do not depend on later events.

    The other log has other items and larger quantities in the last nine days. The windows that begin 30 and 40 days
    before the end, 20 days long, have ended by then.
    """
    late = market.ages() < 9
    other = replace(
        market,
        item_columns=np.where(late, (market.item_columns + 5) % 23, market.item_columns).astype(np.int32),
        weights=np.where(late, 9, market.weights).astype(np.float32),
        strengths=np.where(late, 2, market.strengths).astype(np.float32),
    )
    config = HybridLearnedConfig(
        base_models=("popularity", "ease", "repurchase"), n_windows=3, n_estimators=5, max_depth=2
    )
    examples, found = training._examples, []

    def kept(*arguments: Any) -> Any:
        found.append(examples(*arguments))
        return found[-1]

    monkeypatch.setattr(training, "_examples", kept)
    for log in (market, other):
        base_models = {"popularity": Popularity(), "ease": EASE(), "repurchase": Repurchase()}
        HybridLearned(config).fit_from({name: model.fit(log) for name, model in base_models.items()}, log)
    assert len(found) == 6
    assert not np.array_equal(found[0].labels, found[3].labels)  # the newest window holds the changed days
    for one, same in ((found[1], found[4]), (found[2], found[5])):
        for part, other_part in zip(one, same, strict=True):
            np.testing.assert_array_equal(part, other_part)


def test_item_features_of_a_window_are_those_of_its_cut_time(market: Interactions, monkeypatch: Any) -> None:
    moments: list[Any] = []

    class Known(ItemFeatures):
        def as_of(self, moment: Any, items: Any) -> ItemFeatures:
            moments.append(moment)
            return self

    nothing = csr_array((23, 1), dtype=np.float32)
    base_models = {"popularity": Popularity().fit(market), "ease": EASE().fit(market)}
    config = CONFIG.model_copy(update={"n_windows": 3})
    HybridLearned(config).fit_from(base_models, market, Known(nothing, np.array([""] * 23)))
    assert moments == [window.log.last_event for window in windows(market, 3, 20.0)]
    assert max(moments) < market.last_event


def test_items_on_sale_without_purchases_are_available_in_a_window(market: Interactions) -> None:
    last = int(market.timestamps.max())
    begins = np.full(25, np.iinfo(np.int64).min)
    begins[23:] = (
        last - 50 * DAY,
        last - 10 * DAY,
    )  # not bought; one sale begins before every window, one after
    periods = SalePeriods(begins, np.full(25, np.iinfo(np.int64).max))
    items = IdMap.from_ids([*market.items.ids.tolist(), "i98", "i99"])
    log = replace(market, items=items, available=np.ones(25, dtype=np.bool_), sale_periods=periods)
    for window in windows(log, 3, 20.0):
        assert window.log.available[23]
        assert not window.log.available[24]
    for window in windows(replace(log, sale_periods=None), 3, 20.0):
        assert not window.log.available[23:].any()


def test_windows_with_too_few_positives_are_complemented_by_the_newest_events(
    market: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_users: list[int] = []
    examples = training._examples

    def counted(model: Any, window: Any, *others: Any) -> Any:
        n_users.append(len(window.user_rows))
        return examples(model, window, *others)

    monkeypatch.setattr(training, "_examples", counted)
    small(replace(market, horizon_days=1e-6))  # such a window holds only the newest event
    assert n_users == [1, 160]
    n_users.clear()
    small(market)
    assert len(n_users) == 1


def test_unused_base_models_are_named_if_too_few_are_left(market: Interactions) -> None:
    config = HybridLearnedConfig(base_models=("popularity", "sasrec"))
    with pytest.raises(UnsuitableError, match=r"set models\.hybrid_learned\.n_windows: 1 to use sasrec"):
        HybridLearned(config).fit(market)


@pytest.mark.parametrize("dated", [True, False])
def test_a_log_without_second_events_is_unsuitable(toy_events: Any, dated: bool) -> None:
    log = Interactions.from_table(toy_events([(u, u % 3) for u in range(6)], [0.0] * 6), repeat=False, dated=dated)
    with pytest.raises(UnsuitableError, match="got 0 users who buy again, and 0 of their 0 candidates are bought"):
        small(log)


@pytest.mark.parametrize("dated", [True, False])
def test_a_log_in_which_each_item_is_bought_once_is_unsuitable(toy_events: Any, dated: bool) -> None:
    """Each user has a dozen events, but no item can be a candidate before it is bought."""
    pairs = [(user, event * 8 + user) for event, user in itertools.product(range(12), range(8))]
    log = Interactions.from_table(
        toy_events(pairs, [float(event) for event in range(12) for _ in range(8)]), dated=dated
    )
    with pytest.raises(UnsuitableError, match=r"got 8 users who buy again, and 0 of their \d{2,} candidates") as error:
        small(log)
    for words in (
        "needs a training window with 1 candidate that is bought and 1 that is not",
        "items that were bought before",
        "enabled",
    ):
        assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_the_list_holds_the_items_with_the_best_scores(learned: HybridLearned) -> None:
    rows, known = np.array([0, 5, -1], np.int32), learned.histories_[[0, 5, 7]]
    ranked = learned.recommend(rows, known, 5)
    scores = learned.score_items(rows, known, ranked.item_columns)
    np.testing.assert_allclose(scores, ranked.scores, rtol=1e-4, atol=1e-5)
    everything = learned.score(rows, known)
    everything[:, ~learned.available_] = -np.inf
    np.testing.assert_allclose(np.sort(everything, axis=1)[:, ::-1][:, :5], ranked.scores, rtol=1e-4, atol=1e-5)


def test_features_have_names_and_no_nan(learned: HybridLearned) -> None:
    rows, known = np.array([0, -1], np.int32), learned.histories_[[0, 1]]
    base_scores, columns = learned.candidates_.propose(rows, known, 5, learned.available_, exclude_known=False)
    features = learned.candidates_.features(rows, known, columns, base_scores)
    assert features.shape == ((columns >= 0).sum(), len(learned.candidates_.feature_names()))
    assert np.isfinite(features).all()


def test_a_user_without_a_history_gets_a_list(learned: HybridLearned) -> None:
    ranked = learned.recommend(np.array([-1], np.int32), Histories.from_lists([[]], 22), 30)
    assert (ranked.item_columns[0] >= 0).sum() == learned.available_.sum()


def test_without_available_items_the_list_is_empty(learned: HybridLearned) -> None:
    nothing = np.zeros(22, dtype=np.bool_)
    ranked = learned.recommend(np.array([0], np.int32), learned.histories_[:1], 3, candidates=nothing)
    assert ranked.item_columns.tolist() == [[-1, -1, -1]]


def test_a_base_model_that_cannot_be_fitted_on_an_earlier_window_is_skipped(reorder_world: Any) -> None:
    log, features = reorder_world

    class Late(EASE):
        def _fit(self, interactions: Interactions, *others: Any) -> None:
            if len(interactions) < len(log):
                raise UnsuitableError("too short a log")
            super()._fit(interactions, *others)

    base_models = {"popularity": Popularity().fit(log), "ease": EASE().fit(log), "repurchase": Late().fit(log)}
    config = CONFIG.model_copy(update={"base_models": ("popularity", "ease", "repurchase")})
    model = HybridLearned(config).fit_from(base_models, log, features)
    assert list(model.base_models_) == ["popularity", "ease"]
    assert np.isfinite(model.recommend(np.array([0], np.int32), model.histories_[:1], 3).scores).all()


def test_the_calibration_is_learned_on_held_out_users_and_stays_in_refit_and_bundle(
    market: Interactions, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setattr("recommenders.models.calibration.MIN_USERS", 15)
    monkeypatch.setattr("recommenders.models.calibration.MIN_BOUGHT", 10)
    fitted = small(market)
    assert fitted.calibration_
    # no known user ever buys an item that is new to the user: nothing to learn a curve of discovery from
    assert set(fitted.calibration_.curves) == {"all", "reorder", "cold_start", "popularity"}
    window = next(windows(market, 1, 20.0))
    users = window.user_rows
    earlier = fitted.recommend(users, market.histories()[users], 10)
    probabilities = fitted.calibration_.probabilities("all", earlier.scores)
    assert probabilities is not None
    # a known user buys the same two items every ten days, so they are bought in each window of twenty
    listed = np.take_along_axis(window.targets.toarray() > 0, earlier.item_columns.astype(np.int64), axis=1)
    assert probabilities[listed].mean() > 0.9
    assert probabilities[~listed].mean() < 0.2
    refitted = fitted.refit(market.select(market.timestamps < market.timestamps.max()))
    assert refitted.calibration_ is fitted.calibration_
    loaded = HybridLearned.load(fitted.save(tmp_path / "bundle"))
    assert loaded.calibration_
    np.testing.assert_array_equal(loaded.calibration_.probabilities("all", earlier.scores), probabilities)
