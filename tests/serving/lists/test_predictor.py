"""The strategy and the list of each kind of user, on a market whose lists are known."""

import time
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest

from recommenders.errors import BundleError
from recommenders.events.histories import DAY, Histories
from recommenders.events.interactions import Interactions
from recommenders.events.sale_periods import ALWAYS, SalePeriods
from recommenders.models import all_models
from recommenders.models.calibration import Calibration, Curve
from recommenders.models.collaborative_filtering.model import CollaborativeFiltering
from recommenders.models.ensembles.hybrid import Hybrid, HybridConfig
from recommenders.models.popularity import Popularity, PopularityConfig
from recommenders.models.recommender import Recommender, TrainingOptions
from serving.lists import served_lists
from serving.lists.predictor import Predictor
from serving.release.refit import refit_candidate


class Neighbour(Recommender):
    """Recommends the item after each item of the history, and the item before the training row's number."""

    name = "neighbour"
    handles_new_users: ClassVar[bool] = True

    def _fit(self, interactions: Any, features: Any, options: Any) -> None: ...

    def score(self, user_rows: Any, histories: Any) -> Any:
        scores = np.roll(histories.matrix.toarray(), 1, axis=1).astype(np.float32)
        known = np.flatnonzero(user_rows >= 0)
        scores[known, user_rows[known] - 1] += 0.5
        return scores

    def arrays(self) -> dict[str, Any]:
        return {}

    def restore(self, arrays: dict[str, Any]) -> None: ...


def predictor(model: Recommender, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Predictor:
    monkeypatch.setattr(all_models, "load", lambda _: model)
    return Predictor(tmp_path)


@pytest.fixture
def neighbour(market, monkeypatch, tmp_path):
    return predictor(Neighbour().fit(market.log()), monkeypatch, tmp_path)


def test_a_known_user_is_ranked_by_row_stored_history_and_new_events(neighbour):
    plain = neighbour.predict("3", [], 3)  # bought 101 twice and 103 once
    assert plain.strategy == "known_user"
    assert (plain.item_ids, plain.scores) == (["102", "104", "101"], [2.5, 1.0, 0.0])
    appended = neighbour.predict("3", ["109", "109", "109"], 1)
    assert (appended.strategy, appended.item_ids) == ("known_user", ["110"])


def test_a_cold_start_user_is_ranked_by_the_history_of_the_request(neighbour):
    found = neighbour.predict("unknown", ["105"], 1)
    assert (found.strategy, found.item_ids, found.scores) == ("history", ["106"], [1.0])


def test_a_cold_start_user_without_a_usable_history_gets_the_most_popular_items(neighbour):
    found = neighbour.predict("unknown", ["no such item"], 2)
    assert (found.strategy, found.item_ids, found.unknown_items) == (
        "popularity",
        ["101", "102"],
        ["no such item"],
    )
    assert found.scores == [13.0, 1.0]


def test_popularity_serves_cold_start_users_if_the_model_cannot(market, monkeypatch, tmp_path):
    monkeypatch.setattr(Neighbour, "handles_new_users", False)
    known_only = predictor(Neighbour().fit(market.log()), monkeypatch, tmp_path)
    assert known_only.predict("unknown", ["105"], 1).strategy == "popularity"
    assert known_only.predict("3", [], 1).strategy == "known_user"


def test_popularity_serves_users_that_the_model_does_not_cover(market, monkeypatch, tmp_path):
    monkeypatch.setattr(Neighbour, "covers", lambda *_: np.array([False]))
    assert predictor(Neighbour().fit(market.log()), monkeypatch, tmp_path).predict("3", [], 1).strategy == "popularity"


def test_known_items_are_excluded_only_without_repeat_consumption(market, monkeypatch, tmp_path):
    with_repeats = predictor(Popularity().fit(market.log()), monkeypatch, tmp_path)
    assert "101" in with_repeats.predict("3", [], 12).item_ids
    without_repeats = predictor(Popularity().fit(market.log(repeat=False)), monkeypatch, tmp_path)
    found = without_repeats.predict("3", ["112"], 12).item_ids
    assert not {"101", "103", "112"} & set(found)
    assert len(found) == 9


def test_items_not_on_sale_are_never_recommended(market, monkeypatch, tmp_path):
    on_sale = [n < 4 for n in range(12)]
    model = predictor(Popularity().fit(market.log(available=on_sale)), monkeypatch, tmp_path)
    for user_id in ("3", "unknown"):
        assert model.predict(user_id, [], 100).item_ids == ["101", "102", "103", "104"]


NOW = 1_800_000_000_000_000  # microseconds
DATES = {"101": (ALWAYS.min, NOW - 5), "102": (NOW + 5, ALWAYS.max), "103": (NOW - 5, NOW + 5), "104": (0, NOW)}


def dated(log: Interactions) -> Interactions:
    """The log, with sale periods for four of its items."""
    begins, ends = zip(*(DATES.get(item, (ALWAYS.min, ALWAYS.max)) for item in log.items.ids.tolist()), strict=True)
    return replace(log, sale_periods=SalePeriods(np.array(begins), np.array(ends)))


@pytest.mark.parametrize("repeat", [True, False])
@pytest.mark.parametrize("model", [Popularity, CollaborativeFiltering])
@pytest.mark.parametrize(
    ("moment", "gone"),
    [(NOW - 6, {"102", "103"}), (NOW - 5, {"101", "102"}), (NOW, {"101", "102", "104"}), (NOW + 5, {*DATES} - {"102"})],
)
def test_an_item_is_served_only_in_its_sale_period(market, tmp_path, model, repeat, moment, gone):
    log = dated(market.log(repeat=repeat))
    predictor = Predictor(model().fit(log).save(tmp_path / "b"))
    predictor.predict("5", [], 1, NOW - 10**9)  # the items on sale at an earlier moment must not matter
    for user_id, history in (("5", []), ("5", ["102"]), ("unknown", ["101", "104"]), ("unknown", [])):
        served = predictor.predict(user_id, history, 100, moment).item_ids
        known = set() if repeat else set(history) | ({"101", "105"} if user_id == "5" else set())
        assert set(served) == set(log.items.ids.tolist()) - gone - known, (user_id, history)


def test_the_clock_or_a_newer_last_event_of_the_log_decides_which_items_are_on_sale(market, tmp_path):
    now = time.time_ns() // 1000
    log = market.log()
    for newest, served in ((now - DAY, "102"), (now + 2 * DAY, "103")):
        began, ends = np.full(12, now + 3 * DAY), np.full(12, ALWAYS.max)
        began[1:3] = ALWAYS.min
        ends[1] = now + DAY  # 102; 103 goes on
        began[2] = now + DAY
        moved = replace(log, timestamps=log.timestamps + newest, sale_periods=SalePeriods(began, ends))
        assert Predictor(Popularity().fit(moved).save(tmp_path / served)).predict("3", [], 9).item_ids == [served]


def test_the_list_is_empty_if_no_item_is_on_sale(market, tmp_path):
    over = SalePeriods(np.full(12, ALWAYS.min), np.full(12, 5))
    predictor = Predictor(CollaborativeFiltering().fit(replace(market.log(), sale_periods=over)).save(tmp_path / "b"))
    for user_id in ("3", "unknown"):
        assert predictor.predict(user_id, ["101"], 10).item_ids == []


def test_the_popularity_model_is_the_evaluated_one(market, tmp_path):
    log = market.log()
    days = np.where(log.item_columns == 0, 0, 200) * DAY  # 101 sold most and long ago
    log = replace(
        log,
        timestamps=days[order := np.argsort(days, kind="stable")],
        user_rows=log.user_rows[order],
        item_columns=log.item_columns[order],
    )
    config = PopularityConfig(half_life_days=20.0)
    base_models = {
        "popularity": Popularity(config).fit(log),
        "collaborative_filtering": CollaborativeFiltering().fit(log),
    }
    ensemble = Hybrid(HybridConfig(model_weights={"collaborative_filtering": 1.0})).fit_from(base_models, log)
    evaluated = base_models["popularity"].recommend(np.array([-1]), Histories.from_lists([[]], 12), 12)
    released = refit_candidate("collaborative_filtering", base_models, log, None, TrainingOptions())
    for number, model in enumerate((ensemble, released)):
        found = Predictor(model.save(tmp_path / str(number))).predict("unknown", [], 12)
        assert found.strategy == "popularity"
        assert found.item_ids == log.items.ids[evaluated.item_columns[0]].tolist()
        assert found.scores == evaluated.scores[0].tolist()
        assert found.item_ids[0] != "101"
    alone = Predictor(base_models["collaborative_filtering"].save(tmp_path / "alone")).predict("unknown", [], 12)
    ranked = Popularity().fit(log).recommend(np.array([-1]), Histories.from_lists([[]], 12), 12)
    assert alone.scores == pytest.approx(ranked.scores[0].tolist())


def test_a_short_list_is_filled_with_the_most_popular_items(market, monkeypatch, tmp_path):
    class Sparse(Neighbour):
        def score(self, user_rows: Any, histories: Any) -> Any:
            scores = super().score(user_rows, histories)
            return np.where(scores > 0, scores, -np.inf).astype(np.float32)

    found = predictor(Sparse().fit(market.log()), monkeypatch, tmp_path).predict("unknown", ["105"], 12)
    assert found.item_ids[:3] == ["106", "101", "102"]
    assert sorted(found.item_ids) == [str(n) for n in range(101, 113)]
    assert found.scores == [1.0] * 12


def test_a_loaded_bundle_returns_the_list_of_the_model(market, tmp_path):
    model = CollaborativeFiltering().fit(market.log())
    found = Predictor(model.save(tmp_path / "b")).predict("4", [], 5)
    ranked = model.recommend(np.array([3], dtype=np.int32), model.histories_[[3]], 5)
    assert found.item_ids == model.items_.ids[ranked.item_columns[0]].tolist()
    np.testing.assert_allclose(found.scores, ranked.scores[0], rtol=1e-6)


def test_warm_up_needs_no_known_user(market, tmp_path):
    Predictor(market.bundle(tmp_path / "b")).warm_up()


def test_a_missing_bundle_is_an_error(tmp_path):
    with pytest.raises(BundleError, match="no model bundle"):
        Predictor(tmp_path)


@pytest.mark.parametrize("model", [Popularity, CollaborativeFiltering])
def test_each_scene_keeps_its_promise(market, tmp_path, model):
    """User 3 bought 101 and 103."""
    log = dated(market.log())
    predictor = Predictor(model().fit(log).save(tmp_path / "b"))
    every_item = set(log.items.ids.tolist())
    on_sale = every_item - {"102", "103"}  # at this moment
    lists = {
        scene: predictor.predict("3", ["104", "105"], 100, NOW - 6, scene=scene)
        for scene in ("for_you", "reorder", "discover", "basket")
    }
    assert set(lists["for_you"].item_ids) == on_sale
    assert set(lists["reorder"].item_ids) == {"101", "104", "105"}
    assert set(lists["discover"].item_ids) == on_sale - {"101", "104", "105"}
    assert set(lists["basket"].item_ids) == on_sale - {"104", "105"}
    assert lists["basket"] == predictor.predict("unknown", ["104", "105"], 100, NOW - 6, scene="basket")
    assert {scene: found.strategy for scene, found in lists.items()} == dict.fromkeys(lists, "known_user") | {
        "basket": "history"
    }
    for found in lists.values():
        assert found.scores == sorted(found.scores, reverse=True)
        assert len(set(found.item_ids)) == len(found.item_ids)


@pytest.mark.parametrize("model", [Popularity, CollaborativeFiltering])
def test_the_reorder_list_is_the_list_of_all_items_without_new_ones(market, tmp_path, model):
    predictor = Predictor(model().fit(market.log()).save(tmp_path / "b"))
    for user_id in ("1", "3", "unknown"):
        everything = predictor.predict(user_id, ["105"], 100)
        bought = predictor.predict(user_id, ["105"], 100, scene="reorder")
        scores = dict(zip(everything.item_ids, everything.scores, strict=True))
        assert bought.scores == pytest.approx([scores[item_id] for item_id in bought.item_ids])
        assert bought.item_ids == predictor.predict(user_id, ["105"], 100, scene="reorder").item_ids
    assert predictor.predict("unknown", [], 10, scene="reorder").item_ids == []


@pytest.mark.parametrize("scene", ["for_you", "reorder", "discover", "basket"])
def test_an_excluded_item_is_in_no_list_and_others_follow(market, tmp_path, scene):
    predictor = Predictor(CollaborativeFiltering().fit(market.log()).save(tmp_path / "b"))
    for user_id in ("3", "unknown"):
        everything = predictor.predict(user_id, ["105"], 100, scene=scene).item_ids
        for excluded in (everything[:1], everything[1:3], [*everything[:1], "no such item"]):
            found = predictor.predict(user_id, ["105"], 100, scene=scene, exclude=excluded).item_ids
            assert set(found) == set(everything) - set(excluded)


def test_a_short_list_of_new_items_is_filled_with_popular_new_items(market, monkeypatch, tmp_path):
    class Sparse(Neighbour):
        def recommend(self, user_rows, histories, k, candidates=None, exclude_known=None, eligible=None):
            ranked = super().recommend(user_rows, histories, k, candidates, exclude_known, eligible)
            ranked.item_columns[:, 1:] = -1
            return ranked

    found = predictor(Sparse().fit(market.log()), monkeypatch, tmp_path).predict("3", [], 100, scene="discover")
    assert len(found.item_ids) == 10
    assert not {"101", "103"} & set(found.item_ids)


def test_scores_of_each_kind_of_list_have_their_own_probabilities(market, monkeypatch, tmp_path):
    kinds = {"all": 0.5, "reorder": 0.4, "discovery": 0.3, "cold_start": 0.2, "popularity": 0.1}
    log = market.log()
    base_models = {"popularity": Popularity().fit(log), "collaborative_filtering": CollaborativeFiltering().fit(log)}
    model = Hybrid(HybridConfig(model_weights={"collaborative_filtering": 1.0})).fit_from(base_models, log)
    model.calibration_ = Calibration(
        {kind: (Curve(np.array([0.0]), np.array([value])),) for kind, value in kinds.items()}
    )
    served = Predictor(model.save(tmp_path / "bundle"))
    for user_id, history, scene, kind in (
        ("3", [], "for_you", "all"),
        ("3", [], "reorder", "reorder"),
        ("3", [], "discover", "discovery"),
        ("3", ["104"], "basket", "cold_start"),
        ("new", ["104"], "for_you", "cold_start"),
        ("new", ["104"], "discover", "cold_start"),
        ("new", [], "for_you", "popularity"),
    ):
        found = served.predict(user_id, history, 2, scene=scene)
        assert found.probabilities == [kinds[kind]] * len(found.item_ids), (scene, kind)
        assert len(found.item_ids) == 2
    plain = base_models["collaborative_filtering"].save(tmp_path / "plain")
    assert Predictor(plain).predict("3", [], 2).probabilities is None
    # the curve of popularity is one of shares: half of the scores below the points, half above
    shares = base_models["popularity"].popularity_ / base_models["popularity"].popularity_.sum()
    between = (np.sort(shares)[-1] + np.sort(shares)[-2]) / 2
    steps = Curve(np.array([between - 1e-4, between + 1e-4]), np.array([0.1, 0.9]))
    model.calibration_ = Calibration({"popularity": (steps,)})
    assert Predictor(model.save(tmp_path / "steps")).predict("new", [], 2).probabilities == [0.9, 0.1]


class Fixed(Neighbour):
    """Gives each item its score, whatever the history, and counts the items whose scores are compared."""

    item_scores: np.ndarray
    n_compared = 0

    def score(self, user_rows: Any, histories: Any) -> Any:
        return np.tile(self.item_scores, (len(user_rows), 1))

    def score_items(self, user_rows: Any, histories: Any, item_columns: Any) -> Any:
        self.n_compared += item_columns.shape[1]
        return super().score_items(user_rows, histories, item_columns)


@pytest.mark.parametrize(
    ("lowest", "strategy", "n_compared"),
    [([], "popularity", 12), ([0], "history", 2), ([2], "history", 4), ([11], "history", 12)],
)
def test_only_as_many_scores_are_compared_as_show_a_difference(
    lowest, strategy, n_compared, market, monkeypatch, tmp_path
):
    monkeypatch.setattr(served_lists, "FIRST_SCORED", 2)
    model = Fixed().fit(market.log())
    model.item_scores = np.ones(12, np.float32)
    model.item_scores[lowest] = 0.5
    found = predictor(model, monkeypatch, tmp_path).predict("unknown", ["105"], 3)  # the best are alike
    assert (found.strategy, model.n_compared) == (strategy, n_compared)
