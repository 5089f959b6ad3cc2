"""The learned hybrid: what its ranker looks at, what it learns from, and what it answers."""

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
from recommenders.models.ensembles.hybrid_learned.features import (
    BUYER_FACTS,
    PAIR_FACTS,
    Habits,
    item_facts,
    usual_intervals,
)
from recommenders.models.ensembles.hybrid_learned.model import HybridLearned
from recommenders.models.ensembles.hybrid_learned.windows import first_events, windows
from recommenders.models.popularity import Popularity
from recommenders.models.repurchase import Repurchase

CONFIG = HybridLearnedConfig(members=("popularity", "ease"), n_windows=1, trees=20, depth=3)


def small(log: Interactions, features: Any = None) -> HybridLearned:
    members = {"popularity": Popularity().fit(log), "ease": EASE().fit(log)}
    learned = HybridLearned(CONFIG).compose(members, log, features)
    assert isinstance(learned, HybridLearned)
    return learned


@pytest.fixture(scope="module")
def learned(reorder_world: Any) -> HybridLearned:
    return small(*reorder_world)


def habits_of(days: list[float], columns: list[int], *, known: bool = True, now: float = 100.0) -> Habits:
    """One buyer's events on those days."""
    histories = Histories(
        np.array([0, len(days)]),
        np.array(columns, np.int32),
        (np.array(days) * DAY).astype(np.int64),
        np.ones(len(days), np.float32),
        5,
    )
    return Habits(histories, np.array([known]), int(now * DAY), dated=True, horizon_days=30.0)


def told(habits: Habits, column: int, categories: tuple[int, ...] = (0, 0, 1, 1, 1)) -> dict[str, float]:
    facts = habits.pairs(
        np.array([0]), np.array([column], np.int32), np.full(5, 20.0, np.float32), np.array(categories, np.int32)
    )
    return dict(zip(PAIR_FACTS, facts[0].tolist(), strict=True))


def test_members_that_take_minutes_are_not_fitted_where_each_window_would_fit_them_anew(reorder_world: Any) -> None:
    log, _ = reorder_world
    dear = {"sasrec", "neural_collaborative"}
    many, one = HybridLearned(HybridLearnedConfig()), HybridLearned(HybridLearnedConfig(n_windows=1))
    assert log.dated
    assert set(many.wanted()) - set(many.worth_fitting(log)) == dear
    assert many.worth_fitting(replace(log, dated=False)) == many.wanted()
    assert one.worth_fitting(log) == one.wanted()


def test_a_habit_is_told_by_orders_not_by_lines() -> None:
    habits = habits_of([10, 40, 40, 70, 90], [1, 1, 1, 1, 2])  # two lines of one order on day 40
    found = told(habits, 1)
    assert found["pair_orders"] == pytest.approx(np.log1p(3))
    assert found["pair_order_share"] == pytest.approx(3 / 4)
    assert found["pair_days_since"] == pytest.approx(30)
    assert found["pair_orders_since"] == 1
    assert found["pair_interval"] == pytest.approx(30)
    assert found["pair_due"] == pytest.approx(1.0)
    assert found["pair_due_as_item"] == pytest.approx(30 / 20)
    assert found["pair_category_share"] == pytest.approx(4 / 5)
    assert found["pair_recent_short"] == pytest.approx(sum(2 ** (-age / 15) for age in (90, 60, 30)), rel=1e-5)
    buyer = dict(zip(BUYER_FACTS, habits.buyers[0].tolist(), strict=True))
    assert buyer["buyer_orders"] == pytest.approx(np.log1p(4))
    assert buyer["buyer_days_since_order"] == pytest.approx(10)
    assert buyer["buyer_days_between_orders"] == pytest.approx(80 / 3)


def test_what_was_never_bought_has_no_habit() -> None:
    found = told(habits_of([10, 40], [1, 1]), 3)
    assert found["pair_orders"] == found["pair_order_share"] == found["pair_recent_long"] == 0
    assert all(found[f"pair_{name}"] == -1 for name in ("days_since", "orders_since", "interval", "due"))


def test_of_a_stranger_no_time_is_told() -> None:
    habits = habits_of([100, 100], [1, 2], known=False)
    found = told(habits, 1)
    assert found["pair_orders"] > 0
    assert found["pair_days_since"] == found["pair_interval"] == -1
    assert habits.buyers[0, BUYER_FACTS.index("buyer_days_since_order")] == -1


def test_facts_of_items_do_not_grow_with_the_log(reorder_world: Any) -> None:
    log = reorder_world[0]
    twice = replace(
        log,
        **{
            name: np.repeat(getattr(log, name), 2)
            for name in ("user_rows", "item_columns", "timestamps", "weights", "strengths")
        },
    )
    once, doubled = item_facts(log, 30.0), item_facts(twice, 30.0)
    np.testing.assert_allclose(doubled[:, :6], once[:, :6], rtol=1e-5)
    assert usual_intervals(log, 30.0).shape == (len(log.items),)
    assert (usual_intervals(log, 30.0) > 0).all()


def test_windows_lie_behind_what_is_known(reorder_world: Any) -> None:
    log = reorder_world[0]
    found = list(windows(log, 3, 20.0))
    assert len(found) == 3
    for number, window in enumerate(found):
        cut = log.timestamps.max() - int(20 * (1 + number / 2) * DAY)
        assert window.log.timestamps.max() < cut
        later = (log.timestamps >= cut) & ((log.timestamps < cut + 20 * DAY) | (number == 0))  # the newest event too
        wanted = {(u, i) for u, i in zip(log.user_rows[later], log.item_columns[later], strict=True)}
        rows, columns = window.wanted.nonzero()
        assert {(window.user_rows[r], c) for r, c in zip(rows, columns, strict=True)} <= wanted
        assert not window.log.available[np.bincount(window.log.item_columns, minlength=len(log.items)) == 0].any()


def test_without_a_calendar_the_newest_events_are_foretold(world: Any) -> None:
    log = replace(world[0], dated=False)
    (window,) = windows(log, 3, 20.0)
    assert len(window.log) + window.wanted.nnz == len(log)
    held = np.diff(window.wanted.indptr)
    assert (held >= 1).all()
    assert (held <= 3).all()
    last = np.zeros(len(log.users))
    np.maximum.at(last, window.log.user_rows, window.log.timestamps)
    first_held = np.array(
        [
            min(log.timestamps[(log.user_rows == user) & np.isin(log.item_columns, window.wanted[[place]].indices)])
            for place, user in enumerate(window.user_rows)
        ]
    )
    assert (first_held >= last[window.user_rows]).all()


def newcomers_of(market: Interactions) -> Interactions:
    numbers = np.array([int(name.removeprefix("u")) for name in market.users.ids])  # rows are in the order of text
    return market.select(numbers[market.user_rows] >= 40)


def test_newcomers_of_a_window_are_those_who_never_came_before_it(market: Interactions) -> None:
    (window, *_) = windows(market, 3, 20.0)
    came = window.newcomers
    assert len(came) == 20
    assert (came.counts == 4).all()
    assert came.timestamps.min() > window.log.timestamps.max()
    assert (came.item_columns.reshape(20, 4)[:, 1:] == [0, 1, 2]).all()  # the oldest first


def test_new_buyers_are_asked_for_later_visits_never_for_the_rest_of_one() -> None:
    # visits: {1, 2}, {3, 4}, {5}
    came = Histories(
        np.array([0, 5]),
        np.array([1, 2, 3, 4, 5], np.int32),
        np.array([1, 1, 2, 2, 3], np.int64),
        np.ones(5, np.float32),
        6,
    )
    found = {first: first_events(came, first) for first in (None, 1, 3)}
    known = {first: seen.item_columns.tolist() for first, (seen, _) in found.items()}
    wanted = {first: later.indices.tolist() for first, (_, later) in found.items()}
    assert known == {None: [1, 2], 1: [1], 3: [1, 2, 3]}
    assert wanted == {None: [3, 4, 5], 1: [3, 4, 5], 3: [5]}


def test_a_stranger_is_shown_what_newcomers_want_and_a_settled_buyer_its_own(market: Interactions) -> None:
    config = CONFIG.model_copy(update={"n_windows": 3, "trees": 60})
    members = {"popularity": Popularity().fit(market), "ease": EASE().fit(market)}
    model = HybridLearned(config).compose(members, market)
    stranger = model.recommend(np.array([-1], np.int32), Histories.of_lists([[5]], 23), 3)
    assert set(stranger.item_columns[0].tolist()) == {0, 1, 2}
    settled = model.recommend(np.array([4], np.int32), model.histories_[[4]], 2)
    assert set(settled.item_columns[0].tolist()) == {7, 14}
    both = model.recommend(np.array([4, -1], np.int32), model.histories_[[4, 4]], 2)
    np.testing.assert_array_equal(both.item_columns[0], settled.item_columns[0])
    assert both.scores[0, 0] != both.scores[1, 0]  # the same history, seen as a stranger's


def test_a_log_of_newcomers_alone_teaches_what_newcomers_want(market: Interactions) -> None:
    model = small(newcomers_of(market))
    stranger = model.recommend(np.array([-1], np.int32), Histories.of_lists([[5]], 23), 3)
    assert set(stranger.item_columns[0].tolist()) == {0, 1, 2}


def test_newcomers_alone_are_declined_where_no_share_is_for_strangers(market: Interactions) -> None:
    log = replace(newcomers_of(market), horizon_days=19.9)  # nobody comes on both sides of the cut
    members = {"popularity": Popularity().fit(log), "ease": EASE().fit(log)}
    with pytest.raises(UnsuitableError, match="what buyers wanted next"):
        HybridLearned(CONFIG.model_copy(update={"stranger_share": 0.0})).compose(members, log)


def test_no_example_of_a_window_depends_on_what_came_after_it(
    market: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Features, candidates, base models and labels of a window that had ended stay as they are whatever happens later.

    In the other log, what was bought in the last nine days is something else, and more of it; the windows that begin
    30 and 40 days before the end, 20 days long, had ended by then.
    """
    late = market.ages() < 9
    other = replace(
        market,
        item_columns=np.where(late, (market.item_columns + 5) % 23, market.item_columns).astype(np.int32),
        weights=np.where(late, 9, market.weights).astype(np.float32),
        strengths=np.where(late, 2, market.strengths).astype(np.float32),
    )
    config = HybridLearnedConfig(members=("popularity", "ease", "repurchase"), n_windows=3, trees=5, depth=2)
    examples, found = training._examples, []

    def kept(*arguments: Any) -> Any:
        found.append(examples(*arguments))
        return found[-1]

    monkeypatch.setattr(training, "_examples", kept)
    for log in (market, other):
        members = {"popularity": Popularity(), "ease": EASE(), "repurchase": Repurchase()}
        HybridLearned(config).compose({name: member.fit(log) for name, member in members.items()}, log)
    assert len(found) == 6
    assert not np.array_equal(found[0].labels, found[3].labels)  # the newest window saw the other days
    for one, same in ((found[1], found[4]), (found[2], found[5])):
        for part, other_part in zip(one, same, strict=True):
            np.testing.assert_array_equal(part, other_part)


def test_what_is_known_of_items_in_a_window_is_what_was_known_then(market: Interactions, monkeypatch: Any) -> None:
    asked: list[Any] = []

    class Known(ItemFeatures):
        def as_of(self, moment: Any, items: Any) -> ItemFeatures:
            asked.append(moment)
            return self

    nothing = csr_array((23, 1), dtype=np.float32)
    members = {"popularity": Popularity().fit(market), "ease": EASE().fit(market)}
    config = CONFIG.model_copy(update={"n_windows": 3})
    HybridLearned(config).compose(members, market, Known(nothing, np.array([""] * 23)))
    assert asked == [window.log.last_event for window in windows(market, 3, 20.0)]
    assert max(asked) < market.last_event


def test_items_on_sale_that_were_not_yet_bought_are_candidates_of_a_window(market: Interactions) -> None:
    last = int(market.timestamps.max())
    begins = np.full(25, np.iinfo(np.int64).min)
    begins[23:] = last - 50 * DAY, last - 10 * DAY  # both unsold; one begins before every window, one after
    periods = SalePeriods(begins, np.full(25, np.iinfo(np.int64).max))
    items = IdMap.of([*market.items.ids.tolist(), "i98", "i99"])
    log = replace(market, items=items, available=np.ones(25, dtype=np.bool_), sale_periods=periods)
    for window in windows(log, 3, 20.0):
        assert window.log.available[23]
        assert not window.log.available[24]
    for window in windows(replace(log, sale_periods=None), 3, 20.0):
        assert not window.log.available[23:].any()


def test_windows_too_short_to_hold_much_are_helped_by_the_newest_events(
    market: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    examples = training._examples

    def told(model: Any, window: Any, *others: Any) -> Any:
        asked.append(len(window.user_rows))
        return examples(model, window, *others)

    monkeypatch.setattr(training, "_examples", told)
    small(replace(market, horizon_days=1e-6))  # the newest event alone lies in such a window
    assert asked == [1, 160]
    asked.clear()
    small(market)
    assert len(asked) == 1


def test_members_left_aside_are_named_where_too_few_are_left(market: Interactions) -> None:
    config = HybridLearnedConfig(members=("popularity", "sasrec"))
    with pytest.raises(UnsuitableError, match=r"set models\.hybrid_learned\.n_windows: 1 to make use of sasrec"):
        HybridLearned(config).fit(market)


def test_a_log_without_second_events_is_declined(toy_events: Any) -> None:
    log = Interactions.from_table(toy_events([(u, u % 3) for u in range(6)], [0.0] * 6), repeat=False, dated=False)
    with pytest.raises(UnsuitableError, match="no second event"):
        small(log)


def test_the_list_is_the_best_of_the_scores(learned: HybridLearned) -> None:
    rows, known = np.array([0, 5, -1], np.int32), learned.histories_[[0, 5, 7]]
    ranked = learned.recommend(rows, known, 5)
    scores = learned.score_items(rows, known, ranked.item_columns)
    np.testing.assert_allclose(scores, ranked.scores, rtol=1e-4, atol=1e-5)
    everything = learned.score(rows, known)
    everything[:, ~learned.available_] = -np.inf
    np.testing.assert_allclose(np.sort(everything, axis=1)[:, ::-1][:, :5], ranked.scores, rtol=1e-4, atol=1e-5)


def test_features_have_names_and_no_nan(learned: HybridLearned) -> None:
    rows, known = np.array([0, -1], np.int32), learned.histories_[[0, 1]]
    looks, columns = learned.candidates_.propose(rows, known, 5, learned.available_, exclude_known=False)
    features = learned.candidates_.features(rows, known, columns, looks)
    assert features.shape == ((columns >= 0).sum(), len(learned.candidates_.feature_names()))
    assert np.isfinite(features).all()


def test_a_buyer_of_whom_nothing_is_known_gets_a_list(learned: HybridLearned) -> None:
    ranked = learned.recommend(np.array([-1], np.int32), Histories.of_lists([[]], 22), 30)
    assert (ranked.item_columns[0] >= 0).sum() == learned.available_.sum()


def test_where_nothing_may_be_recommended_the_list_is_empty(learned: HybridLearned) -> None:
    nothing = np.zeros(22, dtype=np.bool_)
    ranked = learned.recommend(np.array([0], np.int32), learned.histories_[:1], 3, candidates=nothing)
    assert ranked.item_columns.tolist() == [[-1, -1, -1]]


def test_a_member_that_cannot_learn_from_an_earlier_window_is_gone_without(reorder_world: Any) -> None:
    log, features = reorder_world

    class Late(EASE):
        def _fit(self, interactions: Interactions, *others: Any) -> None:
            if len(interactions) < len(log):
                raise UnsuitableError("too short a log")
            super()._fit(interactions, *others)

    members = {"popularity": Popularity().fit(log), "ease": EASE().fit(log), "repurchase": Late().fit(log)}
    config = CONFIG.model_copy(update={"members": ("popularity", "ease", "repurchase")})
    model = HybridLearned(config).compose(members, log, features)
    assert list(model.members_) == ["popularity", "ease"]
    assert np.isfinite(model.recommend(np.array([0], np.int32), model.histories_[:1], 3).scores).all()
