"""Who is served how, on a market whose lists are known."""

import time
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest

from recommenders.errors import BundleError
from recommenders.events.histories import DAY, Histories
from recommenders.events.interactions import Interactions
from recommenders.events.sale_periods import ALWAYS, SalePeriods
from recommenders.models import catalog
from recommenders.models.collaborative_filtering.model import CollaborativeFiltering
from recommenders.models.ensembles.hybrid import Hybrid, HybridConfig
from recommenders.models.popularity import Popularity, PopularityConfig
from recommenders.models.recommender import Recommender
from serving.predictor import Predictor


class Neighbour(Recommender):
    """Wants the item after each one of the history, and the one before the training row's number."""

    name = "neighbour"
    handles_new_users: ClassVar[bool] = True

    def _fit(self, interactions: Any, features: Any, tracker: Any) -> None: ...

    def score(self, user_rows: Any, histories: Any) -> Any:
        scores = np.roll(histories.matrix.toarray(), 1, axis=1).astype(np.float32)
        known = np.flatnonzero(user_rows >= 0)
        scores[known, user_rows[known] - 1] += 0.5
        return scores

    def arrays(self) -> dict[str, Any]:
        return {}

    def restore(self, arrays: dict[str, Any]) -> None: ...


def predictor(model: Recommender, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Predictor:
    monkeypatch.setattr(catalog, "load", lambda _: model)
    return Predictor(tmp_path)


@pytest.fixture
def neighbour(market, monkeypatch, tmp_path):
    return predictor(Neighbour().fit(market.log()), monkeypatch, tmp_path)


def test_a_known_buyer_is_ranked_by_row_stored_history_and_new_events(neighbour):
    plain = neighbour.predict("3", [], 3)  # bought 101 twice and 103 once
    assert plain.strategy == "known_buyer"
    assert (plain.item_ids, plain.scores) == (["102", "104", "101"], [2.5, 1.0, 0.0])
    appended = neighbour.predict("3", ["109", "109", "109"], 1)
    assert (appended.strategy, appended.item_ids) == ("known_buyer", ["110"])


def test_a_stranger_with_a_history_is_folded_in(neighbour):
    found = neighbour.predict("nobody", ["105"], 1)
    assert (found.strategy, found.item_ids, found.scores) == ("history", ["106"], [1.0])


def test_a_stranger_without_a_usable_history_gets_what_sells(neighbour):
    found = neighbour.predict("nobody", ["no such item"], 2)
    assert (found.strategy, found.item_ids, found.unknown_items) == (
        "popularity",
        ["101", "102"],
        ["no such item"],
    )
    assert found.scores == [13.0, 1.0]


def test_a_model_that_cannot_serve_strangers_leaves_them_to_popularity(market, monkeypatch, tmp_path):
    monkeypatch.setattr(Neighbour, "handles_new_users", False)
    closed = predictor(Neighbour().fit(market.log()), monkeypatch, tmp_path)
    assert closed.predict("nobody", ["105"], 1).strategy == "popularity"
    assert closed.predict("3", [], 1).strategy == "known_buyer"


def test_a_model_that_knows_nothing_of_a_buyer_leaves_it_to_popularity(market, monkeypatch, tmp_path):
    monkeypatch.setattr(Neighbour, "knows", lambda *_: np.array([False]))
    assert predictor(Neighbour().fit(market.log()), monkeypatch, tmp_path).predict("3", [], 1).strategy == "popularity"


def test_known_items_stay_out_only_where_buyers_do_not_come_back(market, monkeypatch, tmp_path):
    staying = predictor(Popularity().fit(market.log()), monkeypatch, tmp_path)
    assert "101" in staying.predict("3", [], 12).item_ids
    leaving = predictor(Popularity().fit(market.log(repeat=False)), monkeypatch, tmp_path)
    found = leaving.predict("3", ["112"], 12).item_ids
    assert not {"101", "103", "112"} & set(found)
    assert len(found) == 9


def test_items_not_on_sale_are_never_recommended(market, monkeypatch, tmp_path):
    on_sale = [n < 4 for n in range(12)]
    model = predictor(Popularity().fit(market.log(available=on_sale)), monkeypatch, tmp_path)
    for user_id in ("3", "nobody"):
        assert model.predict(user_id, [], 100).item_ids == ["101", "102", "103", "104"]


NOW = 1_800_000_000_000_000  # microseconds
DATES = {"101": (ALWAYS.min, NOW - 5), "102": (NOW + 5, ALWAYS.max), "103": (NOW - 5, NOW + 5), "104": (0, NOW)}


def dated(log: Interactions) -> Interactions:
    """The log, four of its items with dates of sale."""
    begins, ends = zip(*(DATES.get(item, (ALWAYS.min, ALWAYS.max)) for item in log.items.ids.tolist()), strict=True)
    return replace(log, sale_periods=SalePeriods(np.array(begins), np.array(ends)))


@pytest.mark.parametrize("repeat", [True, False])
@pytest.mark.parametrize("model", [Popularity, CollaborativeFiltering])
@pytest.mark.parametrize(
    ("moment", "gone"),
    [(NOW - 6, {"102", "103"}), (NOW - 5, {"101", "102"}), (NOW, {"101", "102", "104"}), (NOW + 5, {*DATES} - {"102"})],
)
def test_an_item_is_served_only_between_its_dates(market, tmp_path, model, repeat, moment, gone):
    log = dated(market.log(repeat=repeat))
    predictor = Predictor(model().fit(log).save(tmp_path / "b"))
    predictor.predict("5", [], 1, NOW - 10**9)  # what was on sale at another moment is of no account
    for user_id, history in (("5", []), ("5", ["102"]), ("nobody", ["101", "104"]), ("nobody", [])):
        served = predictor.predict(user_id, history, 100, moment).item_ids
        known = set() if repeat else set(history) | ({"101", "105"} if user_id == "5" else set())
        assert set(served) == set(log.items.ids.tolist()) - gone - known, (user_id, history)


def test_the_clock_decides_what_is_on_sale_and_a_log_that_is_ahead_of_it_decides_itself(market, tmp_path):
    now = time.time_ns() // 1000
    log = market.log()
    for newest, served in ((now - DAY, "102"), (now + 2 * DAY, "103")):
        began, ends = np.full(12, now + 3 * DAY), np.full(12, ALWAYS.max)
        began[1:3] = ALWAYS.min
        ends[1] = now + DAY  # 102; 103 goes on
        began[2] = now + DAY
        moved = replace(log, timestamps=log.timestamps + newest, sale_periods=SalePeriods(began, ends))
        assert Predictor(Popularity().fit(moved).save(tmp_path / served)).predict("3", [], 9).item_ids == [served]


def test_where_nothing_is_on_sale_the_list_is_empty(market, tmp_path):
    over = SalePeriods(np.full(12, ALWAYS.min), np.full(12, 5))
    predictor = Predictor(CollaborativeFiltering().fit(replace(market.log(), sale_periods=over)).save(tmp_path / "b"))
    for user_id in ("3", "nobody"):
        assert predictor.predict(user_id, ["101"], 10).item_ids == []


def test_popularity_is_the_one_that_was_evaluated(market, tmp_path):
    log = market.log()
    days = np.where(log.item_columns == 0, 0, 200) * DAY  # 101 sold most and long ago
    log = replace(
        log,
        timestamps=days[order := np.argsort(days, kind="stable")],
        user_rows=log.user_rows[order],
        item_columns=log.item_columns[order],
    )
    config = PopularityConfig(half_life_days=20.0)
    members = {"popularity": Popularity(config).fit(log), "collaborative_filtering": CollaborativeFiltering().fit(log)}
    blend = Hybrid(HybridConfig(model_weights={"collaborative_filtering": 1.0})).compose(members, log)
    evaluated = members["popularity"].recommend(np.array([-1]), Histories.of_lists([[]], 12), 12)
    found = Predictor(blend.save(tmp_path / "b")).predict("nobody", [], 12)
    assert found.strategy == "popularity"
    assert found.item_ids == log.items.ids[evaluated.item_columns[0]].tolist()
    assert found.scores == evaluated.scores[0].tolist()
    assert found.item_ids[0] != "101"
    alone = Predictor(members["collaborative_filtering"].save(tmp_path / "alone")).predict("nobody", [], 12)
    ranked = Popularity().fit(log).recommend(np.array([-1]), Histories.of_lists([[]], 12), 12)
    assert alone.scores == pytest.approx(ranked.scores[0].tolist())


def test_a_short_list_is_filled_with_what_sells(market, monkeypatch, tmp_path):
    class Sparse(Neighbour):
        def score(self, user_rows: Any, histories: Any) -> Any:
            scores = super().score(user_rows, histories)
            return np.where(scores > 0, scores, -np.inf).astype(np.float32)

    found = predictor(Sparse().fit(market.log()), monkeypatch, tmp_path).predict("nobody", ["105"], 12)
    assert found.item_ids[:3] == ["106", "101", "102"]
    assert sorted(found.item_ids) == [str(n) for n in range(101, 113)]
    assert found.scores == [1.0] * 12


def test_a_real_bundle_gives_what_the_model_gives(market, tmp_path):
    model = CollaborativeFiltering().fit(market.log())
    found = Predictor(model.save(tmp_path / "b")).predict("4", [], 5)
    ranked = model.recommend(np.array([3], dtype=np.int32), model.histories_[[3]], 5)
    assert found.item_ids == model.items_.ids[ranked.item_columns[0]].tolist()
    np.testing.assert_allclose(found.scores, ranked.scores[0], rtol=1e-6)


def test_warming_needs_no_buyer(market, tmp_path):
    Predictor(market.bundle(tmp_path / "b")).warm()


def test_no_bundle_is_told(tmp_path):
    with pytest.raises(BundleError, match="no model bundle"):
        Predictor(tmp_path)
