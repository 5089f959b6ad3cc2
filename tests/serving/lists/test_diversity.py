"""Diversity: equal to its definition, live and from precomputed lists, with rules, filters and reasons."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from recommenders.datasets.spec import Protocol
from recommenders.events.histories import Histories
from recommenders.features.items import encode_items
from recommenders.models.collaborative_filtering.model import CollaborativeFiltering
from recommenders.models.content_based import ContentBased
from recommenders.models.ensembles.hybrid_learned.config import HybridLearnedConfig
from recommenders.models.ensembles.hybrid_learned.model import HybridLearned
from recommenders.models.popularity import Popularity
from recommenders.splitting.temporal import training_log
from serving.lists import precomputed
from serving.lists.diversity import MULTIPLIER, PoolSimilarities, Similarities, UserSamples, by_marginal_relevance
from serving.lists.explanations import Explanation
from serving.lists.predictor import Prediction, Predictor
from serving.steering.rules.active_rules import ActiveRule, Steering
from serving.steering.rules.rule_types import parse

N_ITEMS, NOW = 45, 1_780_000_000_000_000
SCENES = ("for_you", "for_you", "discover", "reorder", "basket")
LEARNED = HybridLearnedConfig(
    base_models=("popularity", "ease", "collaborative_filtering"), n_windows=1, n_estimators=10, n_candidates=12
)
MODELS: dict[str, Callable[[], Any]] = {
    "popularity": Popularity,
    "content_based": ContentBased,
    "collaborative_filtering": CollaborativeFiltering,
    "hybrid_learned": lambda: HybridLearned(LEARNED),
}


@pytest.fixture(scope="module")
def predictors(weekly: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Predictor]:
    """One of each model, with precomputed lists, on a log of 60 users and 45 items."""
    interactions, items = weekly(40)
    log = training_log(interactions, items, Protocol("time_cut", test_days=7))
    for name, n_values in (("category", 4), ("brand", 7)):
        values = [f"{name} {place % n_values}" for place in range(N_ITEMS)]
        items = items.set_column(items.column_names.index(name), name, [values])
    features, folder, found = encode_items(items, log.items), tmp_path_factory.mktemp("bundles"), {}
    for name, make in MODELS.items():
        model = make()
        model.fit(log, features) if model.uses_features else model.fit(log)
        bundle: Path = model.save(folder / name)
        found[name] = Predictor(bundle)
        found[name].precomputed = precomputed.write(bundle, "sha", found[name].lists)
    return found


def random_request(rng: np.random.Generator, predictor: Predictor) -> dict[str, Any]:
    ids = predictor.item_ids
    return {
        "user_id": f"u{rng.integers(0, 62):02}",  # the last two have no events
        "history": rng.choice(ids, int(rng.choice([0, 0, 3]))).tolist(),
        "n": int(rng.choice([1, 4, 10, 20])),
        "moment": NOW,
        "scene": str(rng.choice(SCENES)),
        "exclude": rng.choice(ids, int(rng.choice([0, 0, 2]))).tolist(),
        "eligible": rng.random(N_ITEMS) < 0.6 if rng.random() < 0.3 else None,
    }


def user_cosines(histories: Histories) -> NDArray[np.float64]:
    """(n_items, n_items): the cosine of the sets of users of any two items, from the definition."""
    has = np.zeros(histories.shape)
    has[histories.rows, histories.item_columns] = 1.0
    counts = has.sum(axis=0)
    return np.asarray(has.T @ has / np.sqrt(np.maximum(np.outer(counts, counts), 1.0)))


def pairs(predictor: Predictor) -> NDArray[np.float64]:
    """(n_items, n_items): the similarity of any two items, from the definition; each item has fewer than 128 users."""
    found = user_cosines(predictor.model.histories_)
    if isinstance(predictor.model, ContentBased):
        for column in range(N_ITEMS):
            neighbours, cosines = predictor.model.cosines(column)
            found[column, neighbours] = np.maximum(found[column, neighbours], cosines)
    return found


def expected(columns: list[int], diversity: float, similarity: NDArray[np.float64], n: int) -> list[int]:
    """The list of n items by maximal marginal relevance from the model's list."""
    chosen: list[int] = []
    while len(chosen) < min(n, len(columns)):
        marginal = {
            column: (1 - diversity) * (1 - place / len(columns))
            - diversity * max((similarity[one, column] for one in chosen), default=0.0)
            for place, column in enumerate(columns)
            if column not in chosen
        }
        chosen.append(max(marginal, key=lambda column: round(marginal[column], 9)))  # the first of equal ones
    return chosen


def columns_of(predictor: Predictor, found: Prediction) -> list[int]:
    return [predictor.item_ids.index(id_) for id_ in found.item_ids]


@pytest.mark.parametrize("model", MODELS)
def test_the_list_is_that_of_the_definition(predictors: dict[str, Predictor], model: str) -> None:
    predictor, rng, n_changed = predictors[model], np.random.default_rng(0), 0
    similarity, length = pairs(predictor), predictor.model.longest_list
    some = np.arange(0, 14 * 20, 14, dtype=np.int32) % N_ITEMS  # in an order of their own, without the others
    pool = Similarities(predictor.model).among(some)
    assert np.array([pool.of(place) for place in range(len(some))]) == pytest.approx(similarity[np.ix_(some, some)])
    for _ in range(100):
        asked, diversity = random_request(rng, predictor), float(rng.choice([0.05, 0.3, 0.7, 1.0]))
        whole = predictor.predict(**{**asked, "n": max(asked["n"], length)})
        columns = columns_of(predictor, whole)
        found = predictor.predict(**asked, diversity=diversity)
        assert columns_of(predictor, found) == expected(columns, diversity, similarity, asked["n"])
        place = dict(zip(whole.item_ids, range(len(columns)), strict=True))
        assert found.scores == [whole.scores[place[id_]] for id_ in found.item_ids]  # the item keeps what it had
        if whole.probabilities is not None:
            assert found.probabilities == [whole.probabilities[place[id_]] for id_ in found.item_ids]
        assert (found.strategy, found.unknown_items) == (whole.strategy, whole.unknown_items)
        assert found.item_ids[:1] == whole.item_ids[:1]
        assert len(found.item_ids) == min(asked["n"], len(columns))
        n_changed += found.item_ids != whole.item_ids[: asked["n"]]
    assert n_changed > 20


@pytest.mark.parametrize("model", MODELS)
def test_diversity_0_changes_nothing_and_1_makes_lists_more_diverse(
    predictors: dict[str, Predictor], model: str
) -> None:
    predictor, rng = predictors[model], np.random.default_rng(1)
    similarity = pairs(predictor)

    def alike(found: Prediction) -> float:
        columns = columns_of(predictor, found)
        return float(similarity[np.ix_(columns, columns)][np.triu_indices(len(columns), 1)].mean())

    means = []
    for _ in range(60):
        asked = random_request(rng, predictor) | {"n": 8, "scene": "for_you", "eligible": None}
        assert predictor.predict(**asked, diversity=0.0) == predictor.predict(**asked)
        means.append([alike(predictor.predict(**asked, diversity=step)) for step in (0.0, 0.3, 1.0)])
    mean = np.mean(means, axis=0)
    assert mean[2] < mean[1] < mean[0]
    assert all(last <= first for first, _, last in means)


@pytest.mark.parametrize("model", MODELS)
def test_precomputed_lists_change_no_list(
    predictors: dict[str, Predictor], model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor, rng, n_stored = predictors[model], np.random.default_rng(2), 0
    best = precomputed.PrecomputedLists.best

    def counted(*given: Any) -> Any:
        nonlocal n_stored
        found = best(*given)
        n_stored += found is not None
        return found

    monkeypatch.setattr(precomputed.PrecomputedLists, "best", counted)
    for _ in range(150):
        asked = random_request(rng, predictor) | {"diversity": float(rng.choice([0.1, 0.5, 1.0]))}
        asked["steering"] = random_steering(rng, asked["n"]) if rng.random() < 0.5 else None
        with_lists = predictor.predict(**asked)
        assert with_lists == predictor.predict(**asked)
        with monkeypatch.context() as without:
            without.setattr(predictor, "precomputed", None)
            live = predictor.predict(**asked)
        # a model sums in another order for many users at once, so their scores may differ by rounding
        assert live.scores == pytest.approx(with_lists.scores, rel=1e-4)
        assert (live.probabilities or []) == pytest.approx(with_lists.probabilities or [], rel=1e-4)
        assert replace(live, scores=[], probabilities=None) == replace(with_lists, scores=[], probabilities=None)
    assert n_stored > 10


def random_steering(rng: np.random.Generator, n: int) -> Steering:
    """A pin, a limit, a boost and buried items."""
    contents: list[dict[str, Any]] = [
        {"action": "pin", "slot": int(rng.integers(1, 6)), "items": "true"},
        {"action": "limit", "attribute": "brand", "at_most": int(rng.integers(1, 4))},
        {"action": "boost", "factor": float(rng.choice([0.3, 3.0])), "items": "true"},
        {"action": "bury", "items": "true"},
    ]
    active = []
    for place in rng.choice(4, int(rng.integers(1, 5)), replace=False).tolist():
        rule = parse({"rules": [{"name": f"r{place}", **contents[place]}]}, "f").rules[0]
        is_limit = rule.action == "limit"
        items = np.ones(N_ITEMS, np.bool_) if is_limit else rng.random(N_ITEMS) < 0.2
        active.append(ActiveRule(rule, items, np.arange(N_ITEMS) % 5 if is_limit else None))
    return Steering(tuple(active), n)


def test_rules_choose_from_the_list_that_diversity_orders(predictors: dict[str, Predictor]) -> None:
    """With one pin and one limit: the pinned item at its slot, the others in the order without rules."""
    predictor, rng = predictors["collaborative_filtering"], np.random.default_rng(3)
    brands, pinned = np.arange(N_ITEMS) % 5, np.arange(N_ITEMS) == 7
    rules = [
        {"name": "top", "action": "pin", "slot": 3, "items": "true"},
        {"name": "two", "action": "limit", "attribute": "brand", "at_most": 2},
    ]
    pin, limit = (parse({"rules": [rule]}, "f").rules[0] for rule in rules)
    steering = Steering((ActiveRule(pin, pinned, None), ActiveRule(limit, np.ones(N_ITEMS, np.bool_), brands)), 10)
    for _ in range(50):
        asked = random_request(rng, predictor) | {"n": 10, "scene": "for_you", "eligible": None, "exclude": []}
        order = columns_of(predictor, predictor.predict(**asked | {"n": N_ITEMS}, diversity=0.5))
        found = predictor.predict(**asked, steering=steering, diversity=0.5)
        chosen = [7]
        for column in order:
            if column != 7 and sum(brands[one] == brands[column] for one in chosen) < 2 and len(chosen) < 10:
                chosen.append(column)
        assert columns_of(predictor, found) == [*chosen[1:3], 7, *chosen[3:]]
        assert found.rules[2] == ("top",)


def test_a_factor_moves_an_item_from_its_new_place(predictors: dict[str, Predictor]) -> None:
    """Without a calibration the worth is 1 / rank: an item at place 6 with factor 4 comes before those from place 2."""
    predictor = predictors["collaborative_filtering"]
    asked = {"user_id": "u03", "history": [], "n": 10, "moment": NOW, "diversity": 0.5}
    before = predictor.predict(**asked).item_ids
    assert before != predictor.predict(**asked | {"diversity": 0.0}).item_ids
    boost = parse({"rules": [{"name": "b", "action": "boost", "factor": 4.0, "items": "true"}]}, "f").rules[0]
    mask = np.arange(N_ITEMS) == predictor.item_ids.index(before[6])
    calibration, predictor.model.calibration_ = predictor.model.calibration_, None
    try:
        after = predictor.predict(**asked, steering=Steering((ActiveRule(boost, mask, None),), 10)).item_ids
    finally:
        predictor.model.calibration_ = calibration
    assert after == [before[0], before[6], *before[1:6], *before[7:]]


@pytest.mark.parametrize("model", ["collaborative_filtering", "hybrid_learned"])
def test_reasons_are_those_of_the_list_with_diversity(predictors: dict[str, Predictor], model: str) -> None:
    """The items of the explained list are those that are served; a rank without events is that of a list made so."""
    predictor, rng, n_true = predictors[model], np.random.default_rng(4), 0
    for _ in range(30):
        asked = random_request(rng, predictor)
        n, diversity = asked["n"], float(rng.choice([0.1, 0.5, 1.0]))
        for_query = {key: value for key, value in asked.items() if key not in ("n", "moment")}
        query, _ = predictor.query(**for_query, diversity=diversity)
        explanation = Explanation(predictor, query, n, NOW)
        served = predictor.predict(**asked, diversity=diversity)
        assert [predictor.item_ids[column] for column in explanation._columns] == served.item_ids
        for column in explanation.trials()[:5]:
            explanation.rank_without(column)
        reasons = explanation.reasons()
        assert [reason.score for reason in reasons] == pytest.approx(served.scores, rel=1e-4)
        for reason in reasons:
            assert sum(part.amount for part in reason.contributions) == pytest.approx(reason.score, abs=1e-4)
        for column, deep in explanation._trials.items():
            shorter, _ = predictor.rank(query.without(column, query.excludes_known(predictor.model.repeat_)), n, NOW)
            assert deep[:n] == shorter.item_columns[0][: len(deep)].tolist()
            n_true += 1
    assert n_true > 40


@given(st.integers(0, 2**32 - 1), st.integers(0, 12), st.floats(0, 1))
def test_the_order_is_that_of_the_definition(seed: int, n: int, diversity: float) -> None:
    similarity = np.random.default_rng(seed).random((n, n))
    order = list(by_marginal_relevance(n, diversity, lambda place: similarity[place]))
    assert order == expected(list(range(n)), diversity, similarity, n)


def test_cosines_are_close_for_items_with_more_users_than_a_sample() -> None:
    rng = np.random.default_rng(5)
    shares = np.array([0.0, 0.001, 0.01, 0.02, 0.2, 0.5, 0.9, 1.0])
    lists = [np.flatnonzero(rng.random(len(shares)) < shares) for _ in range(5000)]
    histories = Histories.from_lists(lists, len(shares))
    model: Any = SimpleNamespace(histories_=histories, base_models_={})
    pool = Similarities(model).among(np.arange(len(shares), dtype=np.int32))
    errors = np.abs([pool.of(place) for place in range(len(shares))] - user_cosines(histories))
    assert errors.max() < 0.15  # three standard errors
    assert errors.mean() < 0.03
    counts = np.bincount(histories.item_columns, minlength=len(shares))
    assert np.diff(UserSamples.from_histories(histories).indptr).tolist() == np.minimum(counts, 128).tolist()


def test_a_cosine_is_that_of_the_first_users_up_to_the_end_of_the_shorter_sample() -> None:
    """Of 60 users in the random order; a sample has at most 4. Each user counts once, however often it bought."""
    n_users, rng = 60, np.random.default_rng(6)
    has = rng.random((n_users, 9)) < np.array([0.0, 0.03, 0.05, 0.07, 0.1, 0.2, 0.5, 0.9, 1.0])
    histories = Histories.from_lists([np.flatnonzero(row).tolist() * (n % 3 + 1) for n, row in enumerate(has)], 9)
    histories = replace(histories, timestamps=np.arange(len(histories.item_columns)) // 2)  # orders of two items
    has = has[np.argsort(np.arange(n_users) * MULTIPLIER % 2**32)].astype(float)
    ends = [users[3] if len(users) > 4 else n_users for users in map(np.flatnonzero, has.T)]
    columns = np.array([8, 3, 0, 6, 1, 2, 7, 4, 5], np.int32)
    pool = PoolSimilarities(columns, UserSamples.from_histories(histories, 4), None)
    for place, one in enumerate(columns):
        for other, found in zip(columns, pool.of(place), strict=True):
            a, b = has[: min(ends[one], ends[other]) + 1, [one, other]].T
            assert found == pytest.approx(a @ b / np.sqrt(max(a.sum() * b.sum(), 1.0)))
