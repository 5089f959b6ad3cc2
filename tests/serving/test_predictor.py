"""Who is served how, on a market whose lists are known."""

from typing import Any, ClassVar

import numpy as np
import pytest

from recommenders.errors import BundleError
from recommenders.models import catalog
from recommenders.models.collaborative_filtering import CollaborativeFiltering
from recommenders.models.popularity import Popularity
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
