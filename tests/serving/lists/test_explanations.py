"""Reasons: parts add up to scores, and each counterfactual holds when the list is made again from other data."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recommenders.events.histories import DAY
from recommenders.events.ids import IdMap
from recommenders.events.interactions import Interactions
from recommenders.features.items import ItemFeatures, encode_items
from recommenders.models.all_models import model_class
from recommenders.models.ensembles.hybrid import Hybrid, HybridConfig
from recommenders.models.ensembles.hybrid_learned.config import HybridLearnedConfig
from recommenders.models.ensembles.hybrid_learned.model import HybridLearned
from recommenders.models.recommender import Recommender
from recommenders.storage import schema
from serving.lists.explanations import MAX_TRIALS, Explanation
from serving.lists.predictor import Predictor

N_USERS, N_ITEMS, N_TASTES = 60, 40, 4
BASE_MODELS = ("popularity", "collaborative_filtering", "ease", "content_based")
NAMES = ("popularity", "collaborative_filtering", "ease", "ials", "content_based", "hybrid", "hybrid_learned")
SCENES = ("for_you", "discover", "reorder", "basket")
N_CANDIDATES = 12  # of each base model of hybrid_learned: fewer than items
NOW = 10**9  # days of the log are near 1970


def taste_log(repeat: bool) -> Interactions:
    """Users buy two items per visit, mostly of their taste: item i has the taste i % N_TASTES. The last item is new.

    The last user has only the first item.
    """
    rng = np.random.default_rng(3)
    rows = np.repeat(np.arange(N_USERS), 12)
    own = rng.integers(0, N_ITEMS // N_TASTES, len(rows)) * N_TASTES + rows % N_TASTES
    columns = np.where(rng.random(len(rows)) < 0.75, own, rng.integers(0, N_ITEMS, len(rows))) % (N_ITEMS - 1)
    columns[rows == N_USERS - 1] = 0
    days = np.sort(rng.integers(0, 100, (N_USERS, 6)), axis=1).repeat(2, axis=1).ravel()
    if not repeat:
        _, first = np.unique(rows * N_ITEMS + columns, return_index=True)
        rows, columns, days = rows[np.sort(first)], columns[np.sort(first)], days[np.sort(first)]
    users, items = (IdMap.from_ids(f"{n:02}" for n in range(count)) for count in (N_USERS, N_ITEMS))
    order, ones = np.argsort(days, kind="stable"), np.ones(len(rows), dtype=np.float32)
    return Interactions(
        *(users, items, rows[order].astype(np.int32), columns[order].astype(np.int32), days[order] * DAY, ones, ones),
        *(np.ones(N_ITEMS, dtype=np.bool_), repeat),
        horizon_days=15.0,
    )


def features_of(log: Interactions) -> ItemFeatures:
    table = {"item_id": log.items.ids.tolist(), "category": [f"c{item % N_TASTES}" for item in range(N_ITEMS)]}
    return encode_items(schema.conform(pa.table(table), schema.ITEMS, "items"), log.items)


@pytest.fixture(scope="module", params=[True, False], ids=["repeats", "no repeats"])
def models(request: pytest.FixtureRequest) -> dict[str, Recommender]:
    log = taste_log(request.param)
    features = features_of(log)
    names = [name for name in NAMES if name not in ("hybrid", "hybrid_learned")]
    fitted = {name: model_class(name)().fit(log, features) for name in names}
    weights = HybridConfig(model_weights={"collaborative_filtering": 0.7, "content_based": 0.3})
    learned = HybridLearnedConfig(base_models=BASE_MODELS, n_windows=2, n_estimators=25, n_candidates=N_CANDIDATES)
    fitted["hybrid"] = Hybrid(weights).fit_from(fitted, log, features)
    fitted["hybrid_learned"] = HybridLearned(learned).fit_from(fitted, log, features)
    return fitted


@pytest.fixture(params=NAMES)
def predictor(request: pytest.FixtureRequest, models: dict[str, Recommender], tmp_path: Path) -> Predictor:
    return Predictor(models[request.param].save(tmp_path / "bundle"))


def without_events(predictor: Predictor, user_id: str, item_id: str) -> Predictor:
    """A predictor of the same model, in whose log the user never bought the item."""
    found, model = copy.copy(predictor), copy.copy(predictor.model)
    user, item = model.users_.row(user_id), model.items_.row(item_id)
    events = model.histories_
    kept = events.select((events.rows != user) | (events.item_columns != item))
    model.context_ = replace(model.context_, histories=kept)
    found.model = model
    return found


def question(rng: np.random.Generator, place: int) -> dict[str, Any]:
    """A random request: known and cold-start users, with and without a history, all scenes."""
    history = [f"{item:02}" for item in rng.integers(0, N_ITEMS, rng.integers(0, 5))]
    user = ("unknown", f"{rng.integers(0, N_USERS):02}", f"{N_USERS - 1:02}")[place % 3]
    excluded = [f"{item:02}" for item in rng.integers(0, N_ITEMS, 2)] if place % 5 < 3 else []
    return {"user_id": user, "history": history, "scene": SCENES[place % 4], "exclude": excluded}


def explained(predictor: Predictor, asked: dict[str, Any], k: int) -> Any:
    explanation = Explanation(predictor, predictor.query(**asked)[0], k, predictor.lists.moment(NOW))
    for column in explanation.trials():
        explanation.rank_without(column)
    return explanation.reasons()


def test_each_counterfactual_is_true_when_the_list_is_made_again(predictor: Predictor) -> None:
    rng, n_true, k = np.random.default_rng(0), 0, 5
    depth = N_CANDIDATES if predictor.model.name == "hybrid_learned" else 100
    for place in range(36):
        asked = question(rng, place)
        moment = predictor.lists.moment(NOW)
        served = predictor.predict(**asked, n=k, moment=moment)
        reasons = explained(predictor, asked, k)
        assert len(reasons) == len(served.item_ids)
        for rank, (item_id, reason) in enumerate(zip(served.item_ids, reasons, strict=True), 1):
            assert len(reason.counterfactuals) <= 3
            for one in reason.counterfactuals:
                stays_out = asked["scene"] in ("discover", "basket") or (
                    not predictor.model.repeat_ and asked["scene"] == "for_you"
                )
                again = without_events(predictor, asked["user_id"], one.without).predict(
                    asked["user_id"],
                    [id_ for id_ in asked["history"] if id_ != one.without],
                    depth,
                    moment,
                    asked["scene"],
                    [*asked["exclude"], one.without] if stays_out else asked["exclude"],
                )
                place_again = again.item_ids.index(item_id) + 1 if item_id in again.item_ids else None
                assert (one.rank, one.rank_without) == (rank, place_again)
                assert place_again is None or place_again > rank
                n_true += 1
    assert n_true >= (0 if predictor.model.name == "popularity" else 60)


def test_the_parts_of_a_score_add_up_to_it(predictor: Predictor) -> None:
    rng = np.random.default_rng(1)
    for place in range(36):
        asked = question(rng, place)
        served = predictor.predict(**asked, n=8, moment=predictor.lists.moment(NOW))
        for score, reason in zip(served.scores, explained(predictor, asked, 8), strict=True):
            assert sum(part.amount for part in reason.contributions) == pytest.approx(score, abs=1e-5)
            assert reason.score == score
            sources = {part.source for part in reason.contributions}
            if served.strategy == "popularity":
                assert sources <= {"popularity"}
                assert not reason.counterfactuals


def test_a_counterfactual_counts_all_events_of_an_item_and_dates_the_newest(models: Any, tmp_path: Path) -> None:
    predictor = Predictor(models["ease"].save(tmp_path / "bundle"))
    model = predictor.model
    history = model.histories_[7:8]
    bought = model.items_.ids[history.item_columns].tolist()
    new = next(id_ for id_ in model.items_.ids.tolist() if id_ not in bought)
    found = {}
    for reason in explained(predictor, {"user_id": "07", "history": [bought[0], new], "scene": "discover"}, 10):
        found |= {one.without: one for one in reason.counterfactuals}
    assert set(found) & set(bought)
    for item_id, one in found.items():
        column = model.items_.row(item_id)
        assert one.n_events == bought.count(item_id) + [bought[0], new].count(item_id)
        dates = history.timestamps[history.item_columns == column]
        assert one.last_event == (dates.max() if len(dates) else None)


def test_a_long_history_is_tried_in_part(models: Any, tmp_path: Path) -> None:
    predictor = Predictor(models["hybrid_learned"].save(tmp_path / "bundle"))
    history = predictor.item_ids[:35]
    query, _ = predictor.query("unknown", history)
    trials = Explanation(predictor, query, 10, predictor.lists.moment(NOW)).trials()
    assert len(set(trials)) == len(trials) == MAX_TRIALS
    # first those that are in the list themselves, if users buy items again
    listed = {predictor.model.items_.row(id_) for id_ in predictor.predict("unknown", history, 10, NOW).item_ids}
    if predictor.model.repeat_:
        assert listed & set(query.known.item_columns.tolist()) <= set(trials[:10])


def test_a_user_without_stored_events_is_a_cold_start_user(models: Any, tmp_path: Path) -> None:
    predictor = Predictor(models["hybrid_learned"].save(tmp_path / "bundle"))
    last = f"{N_USERS - 1:02}"
    for user_id, row in ((last, -1), ("07", 7)):
        query = predictor.query(user_id, ["00", "01"])[0].without(0, stays_out=False)
        again = without_events(predictor, user_id, "00").query(user_id, ["01"])[0]
        assert (query.user_row, query.n_stored) == (again.user_row, again.n_stored)
        assert query.user_row == row
        np.testing.assert_array_equal(query.known.item_columns, again.known.item_columns)
