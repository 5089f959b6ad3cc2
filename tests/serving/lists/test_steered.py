"""Lists by rules, made by models: the same live and from precomputed lists, and equal to the definition."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from recommenders.datasets.spec import Protocol
from recommenders.models.calibration import Calibration, Curve
from recommenders.models.collaborative_filtering.model import CollaborativeFiltering
from recommenders.models.ensembles.hybrid_learned.config import HybridLearnedConfig
from recommenders.models.ensembles.hybrid_learned.model import HybridLearned
from recommenders.splitting.temporal import training_log
from serving.lists import precomputed
from serving.lists.explanations import Explanation
from serving.lists.predictor import Predictor
from serving.steering.rules.active_rules import ActiveRule, Steering
from serving.steering.rules.exploration import Draw
from serving.steering.rules.rule_types import Boost, Bury, Limit, Pin, parse

N_ITEMS, NOW = 45, 1_780_000_000_000_000
SCENES = ("for_you", "for_you", "discover", "reorder", "basket")
REMOVING = ("exclude", "include_only", "allow_bought", "forbid_bought")
ORDERING = ("pin", "boost", "boost", "bury", "limit")
CONFIG = HybridLearnedConfig(
    base_models=("popularity", "ease", "collaborative_filtering"), n_windows=1, n_estimators=10, n_candidates=12
)
MODELS = {"collaborative_filtering": CollaborativeFiltering, "hybrid_learned": lambda: HybridLearned(CONFIG)}
CURVES = tuple(
    Curve(np.array([0.0, top]), np.array([0.01, share])) for top, share in ((2.0, 0.4), (3.0, 0.3), (4, 0.2))
)


class Short(CollaborativeFiltering):
    """Its lists are no longer than those of hybrid_learned, so rules ask for items that they lack."""

    longest_list = 12  # type: ignore[assignment]


@pytest.fixture(scope="module", params=[True, False], ids=["repeat", "once"])
def predictors(request: Any, weekly: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Predictor]:
    """One of each model, with precomputed lists, on a log of 60 users and 45 items."""
    log = training_log(*weekly(40), Protocol("time_cut", test_days=7, repeat=request.param))
    folder, found = tmp_path_factory.mktemp("bundles"), {}
    for name, make in MODELS.items():
        bundle: Path = make().fit(log).save(folder / name)
        found[name] = Predictor(bundle)
        if name == "collaborative_filtering":
            found[name].model.__class__ = Short
            found[name].model.calibration_ = Calibration({"all": CURVES})
        found[name].precomputed = precomputed.write(bundle, "sha", found[name].lists)
    return found


@dataclass(frozen=True)
class Asked:
    """A random request and the rules that are active for it."""

    user_id: str
    history: list[str]
    n: int
    scene: Any
    exclude: list[str]
    eligible: NDArray[np.bool_] | None
    steering: Steering

    def predict(self, predictor: Predictor) -> Any:
        steering = self.steering if self.steering.active else None
        return predictor.predict(
            self.user_id, self.history, self.n, NOW, self.scene, self.exclude, self.eligible, steering
        )

    def query(self, predictor: Predictor) -> Any:
        return predictor.query(self.user_id, self.history, self.scene, self.exclude, self.eligible, self.steering)[0]


def random_rule(rng: np.random.Generator, place: int, action: str) -> ActiveRule:
    content: dict[str, Any] = {"name": f"r{place}", "action": action, "items": "true"}
    if action == "pin":
        content["slot"] = int(rng.integers(1, 12))
    if action == "boost":
        content["factor"] = float(rng.choice([0.2, 2.0, 30.0]))
    if action == "limit":
        content |= {"attribute": "brand", "at_most": int(rng.integers(1, 4))}
    share = 0.9 if action == "include_only" else rng.choice([0.05, 0.3])
    items = rng.random(N_ITEMS) < (0.9 if action == "limit" else share)
    codes = rng.integers(-1, 8, N_ITEMS) if action == "limit" else None
    return ActiveRule(parse({"rules": [content]}, "f").rules[0], items, codes)


def random_request(rng: np.random.Generator, predictor: Predictor, actions: tuple[str, ...]) -> Asked:
    ids, n = predictor.item_ids, int(rng.choice([1, 4, 10, 20]))
    rules = [random_rule(rng, place, str(rng.choice(actions))) for place in range(int(rng.integers(1, 5)))]
    return Asked(
        f"u{rng.integers(0, 62):02}",  # the last two have no events
        rng.choice(ids, int(rng.choice([0, 0, 3]))).tolist(),
        n,
        str(rng.choice(SCENES)),
        rng.choice(ids, int(rng.choice([0, 0, 2]))).tolist(),
        rng.random(N_ITEMS) < 0.6 if rng.random() < 0.3 else None,
        Steering(tuple(rules), n),
    )


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("actions", [ORDERING, REMOVING, ORDERING + REMOVING], ids=["order", "remove", "both"])
def test_precomputed_lists_change_no_list(
    predictors: dict[str, Predictor], model: str, actions: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor, rng, n_stored = predictors[model], np.random.default_rng(1), 0
    best = precomputed.PrecomputedLists.best

    def counted(*args: Any) -> Any:
        nonlocal n_stored
        found = best(*args)
        n_stored += found is not None
        return found

    monkeypatch.setattr(precomputed.PrecomputedLists, "best", counted)
    stored = predictor.precomputed
    for _ in range(250):
        asked, before = random_request(rng, predictor, actions), n_stored
        if rng.random() < 0.3:
            asked = replace(asked, steering=replace(asked.steering, draw=Draw(0.4, 30, str(rng.random()))))
        with_lists = asked.predict(predictor)
        if model == "hybrid_learned" and n_stored > before:  # without an item, it may list another one
            assert asked.query(predictor).eligible is None
        with monkeypatch.context() as without:
            without.setattr(predictor, "precomputed", None)
            live = asked.predict(predictor)
        # a model sums in another order for many users at once, so their scores may differ by rounding
        assert live.scores == pytest.approx(with_lists.scores, rel=1e-4)
        assert (live.probabilities or []) == pytest.approx(with_lists.probabilities or [], rel=1e-4)
        assert replace(live, scores=[], probabilities=None) == replace(with_lists, scores=[], probabilities=None)
    assert predictor.precomputed is stored
    assert n_stored > (5 if model == "collaborative_filtering" or actions == ORDERING else 0)


@pytest.mark.parametrize("actions", [ORDERING, ORDERING + REMOVING], ids=["order", "both"])
def test_the_list_is_that_of_the_definition(predictors: dict[str, Predictor], actions: tuple[str, ...]) -> None:
    predictor, rng = predictors["collaborative_filtering"], np.random.default_rng(2)
    n_beyond = 0
    for _ in range(400):
        asked = random_request(rng, predictor, actions)
        columns, probabilities = expected(predictor, asked)
        found = asked.predict(predictor)
        assert found.item_ids == [predictor.item_ids[column] for column in columns]
        assert found.probabilities == pytest.approx([probabilities[column] for column in columns], abs=2e-6)
        n_beyond += any(column in columns[:3] for column in list(probabilities)[12:])
    assert n_beyond > 20  # lists with an item that the model has not among its best


def expected(predictor: Predictor, asked: Asked) -> tuple[list[int], dict[int, float]]:
    """The list, chosen from the model's list of all eligible items; and the probability of each of these."""
    plain = Steering(tuple(one for one in asked.steering.active if one.rule.action in REMOVING), asked.n)
    query = asked.query(predictor)
    ranked, by_popularity = predictor.rank(query.__class__(**{**vars(query), "steering": plain}), N_ITEMS, NOW)
    ranking = ranked.item_columns[0][ranked.item_columns[0] >= 0].tolist()
    probabilities = worth(predictor, ranked.scores[0][: len(ranking)], by_popularity, max(asked.n, 12))
    value = dict(zip(ranking, probabilities, strict=True))
    factors, buried = {}, set()
    for rule, items, _ in asked.steering.active:
        for column in np.flatnonzero(items).tolist():
            if isinstance(rule, Boost):
                factors.setdefault(column, rule.factor)
            if isinstance(rule, Bury):
                buried.add(column)
    ordered = sorted(ranking, key=lambda one: (one in buried, -value[one] * factors.get(one, 1.0), ranking.index(one)))
    slots: dict[int, int] = {}
    for rule, items, _ in asked.steering.active:
        if isinstance(rule, Pin) and rule.slot <= asked.n and rule.slot not in slots:
            could = (
                one
                for one in ranking
                if items[one] and fits(asked, [*slots.values(), one]) and one not in slots.values()
            )
            if (column := next(could, None)) is not None:
                slots[rule.slot] = column
    others: list[int] = []
    for column in ordered:
        if column not in slots.values() and len(others) + len(slots) < asked.n:
            others += [column] if fits(asked, [*slots.values(), *others, column]) else []
    length = len(others) + len(slots)
    late = [column for slot, column in sorted(slots.items()) if slot > length]
    return [slots[slot] if slot in slots else (others or late).pop(0) for slot in range(1, length + 1)], value


def worth(predictor: Predictor, scores: NDArray[np.float32], by_popularity: bool, depth: int) -> list[float]:
    """The probability of each item of the model's list; one below the first `depth` counts as that after them."""
    kind: Any = "popularity" if by_popularity else "all"
    rows = [[*scores[: min(place, depth)], scores[place]] for place in range(len(scores))]
    return [float(predictor.lists.probabilities(kind, np.array([row], np.float32))[0, -1]) for row in rows]  # type: ignore[index]


def fits(asked: Asked, columns: list[int]) -> bool:
    """Whether the items break no limit."""
    for rule, items, codes in asked.steering.active:
        if isinstance(rule, Limit) and codes is not None:
            counts = Counter(int(codes[one]) for one in columns if items[one] and codes[one] >= 0)
            if max(counts.values(), default=0) > rule.at_most:
                return False
    return True


@pytest.mark.parametrize("model", MODELS)
def test_ranks_of_counterfactuals_are_those_of_lists_by_the_rules(predictors: dict[str, Predictor], model: str) -> None:
    """The items of the explained list are those that are served; a rank without events is that of a list made so."""
    predictor, rng, n_true = predictors[model], np.random.default_rng(3), 0
    for _ in range(60):
        asked = random_request(rng, predictor, ORDERING + REMOVING)
        query, n = asked.query(predictor), asked.n
        explanation = Explanation(predictor, query, n, NOW)
        served = asked.predict(predictor)
        assert [predictor.item_ids[column] for column in explanation._columns] == served.item_ids
        for column in explanation.trials():
            explanation.rank_without(column)
        assert len(explanation.reasons()) == len(served.item_ids)
        for column, deep in explanation._trials.items():
            shorter, _ = predictor.rank(query.without(column, query.excludes_known(predictor.model.repeat_)), n, NOW)
            assert deep[:n] == shorter.item_columns[0][: len(deep)].tolist()
            n_true += 1
        for place, reason in enumerate(explanation.reasons(), 1):
            assert all(one.rank == place for one in reason.counterfactuals)
    assert n_true > 100
