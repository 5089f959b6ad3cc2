"""The steps of the fallback: known user, history, segment, popularity."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy.sparse import csr_array

from recommenders.events.ids import IdMap
from recommenders.models.calibration import Calibration, Curve
from recommenders.models.collaborative_filtering.model import CollaborativeFiltering
from recommenders.models.popularity import Popularity, SegmentCounts, Segments
from recommenders.models.recommender import Recommender
from recommenders.storage import schema
from serving.feedback.stored_answer import StoredAnswer
from serving.lists.explanations import Explanation
from serving.lists.predictor import Predictor
from serving.replay import replay
from serving.steering.catalogue.attributes import AttributeTable
from serving.steering.catalogue.files import Catalogue
from serving.steering.catalogue.tables import item_attributes, user_attributes

N_ITEMS = 12
COUNTS = {"industry": {"hotel": {3: 6.0, 4: 2.0}, "office": {5: 4.0}}, "region": {"north": {4: 3.0, 6: 1.0}}}
STRENGTH = {"industry": 2.0, "region": 5.0}


def segments(order: tuple[str, ...] = ("industry", "region")) -> Segments:
    found = {}
    for name in order:
        values = IdMap.from_ids([*COUNTS[name], "empty"])
        matrix = np.zeros((len(values), N_ITEMS))
        for value, counts in COUNTS[name].items():
            matrix[values.row(value), list(counts)] = list(counts.values())
        found[name] = SegmentCounts(values, csr_array(matrix), STRENGTH[name])
    return Segments(found)


def released(market: Any, folder: Path, found: Segments | None, **log: Any) -> Predictor:
    """A personal model with popularity in its bundle, as it is released."""
    events = market.log(**log)
    model = CollaborativeFiltering().fit(events)
    popularity = Popularity().fit(events)
    popularity.popularity_ = np.arange(1, N_ITEMS + 1, dtype=np.float32)[::-1].copy()  # 101 is the most popular item
    popularity.segments_ = found
    model.base_models_ = {"popularity": popularity}
    return Predictor(model.save(folder))


def table(*rows: dict[str, Any]) -> AttributeTable:
    return user_attributes(schema.conform(pa.Table.from_pylist(list(rows)), schema.USERS, "users"), {})


USERS = table(
    {"user_id": "1", "industry": "hotel", "region": "north"},
    {"user_id": "guest", "industry": "hotel", "region": None},
    {"user_id": "both", "industry": "hotel", "region": "north"},
    {"user_id": "new trade", "industry": "ship", "region": "moon"},
    {"user_id": "nothing sold", "industry": "empty", "region": None},
    {"user_id": "blank", "industry": None, "region": None},
)


@pytest.fixture
def predictor(market: Any, tmp_path: Path) -> Predictor:
    return released(market, tmp_path / "bundle", segments())


def test_the_steps(predictor: Predictor) -> None:
    for user_id, history, strategy in (
        ("1", [], "known_user"),
        ("guest", ["103"], "history"),
        ("guest", [], "segment"),
        ("guest", ["no such item"], "segment"),
        ("blank", [], "popularity"),
        ("nobody", [], "popularity"),
        ("nobody", ["no such item"], "popularity"),
    ):
        for n in (1, 2, 12):
            assert predictor.predict(user_id, history, n, users=USERS).strategy == strategy, (user_id, history, n)
    assert predictor.predict("guest", [], 3).strategy == "popularity"  # without a catalogue


def test_the_list_of_a_segment_is_that_of_plain_counts(predictor: Predictor) -> None:
    total = sum(range(1, N_ITEMS + 1))
    popularity = [(N_ITEMS - column) / total for column in range(N_ITEMS)]
    smoothed = {}
    for name, value in (("industry", "hotel"), ("region", "north")):
        counts, strength = COUNTS[name][value], STRENGTH[name]
        n = sum(counts.values()) + strength
        smoothed[name] = [(counts.get(c, 0.0) + strength * popularity[c]) / n for c in range(N_ITEMS)]
    both = [smoothed["industry"][c] * smoothed["region"][c] / popularity[c] for c in range(N_ITEMS)]
    both = [value / sum(both) for value in both]
    for user_id, shares in (("guest", smoothed["industry"]), ("both", both)):
        order = sorted(range(N_ITEMS), key=lambda c: (-shares[c], c))
        found = predictor.predict(user_id, [], N_ITEMS, users=USERS)
        assert found.item_ids == [str(101 + c) for c in order]
        assert found.scores == pytest.approx([shares[c] * total for c in order], rel=1e-5)


@pytest.mark.parametrize("user_id", ["nobody", "blank", "new trade", "nothing sold"])
def test_without_a_segment_with_events_the_list_is_exactly_that_of_popularity(
    market: Any, tmp_path: Path, predictor: Predictor, user_id: str
) -> None:
    plain = released(market, tmp_path / "plain", None)
    for history, scene, exclude in (([], "for_you", []), (["x"], "basket", ["102"]), ([], "discover", [])):
        asked = {"scene": scene, "exclude": exclude}
        found = predictor.predict(user_id, history, 12, users=USERS, **asked)
        assert found == plain.predict(user_id, history, 12, **asked)
        assert found.strategy == "popularity"


def test_the_order_of_attributes_does_not_matter(market: Any, tmp_path: Path, predictor: Predictor) -> None:
    other = released(market, tmp_path / "other", segments(("region", "industry")))
    swapped = table({"region": "north", "industry": "hotel", "user_id": "both"})
    expected = predictor.predict("both", [], 12, users=USERS)
    assert expected == other.predict("both", [], 12, users=USERS) == predictor.predict("both", [], 12, users=swapped)


def test_known_users_get_the_same_answers_with_segments(market: Any, tmp_path: Path, predictor: Predictor) -> None:
    plain = released(market, tmp_path / "plain", None)
    for history in ([], ["109"], ["no such item"]):
        assert predictor.predict("1", history, 12, users=USERS) == plain.predict("1", history, 12)


def test_filters_exclusions_and_sale_hold_for_segments(market: Any, tmp_path: Path) -> None:
    on_sale = [column != 3 for column in range(N_ITEMS)]
    predictor = released(market, tmp_path / "bundle", segments(), available=on_sale)
    everything = predictor.predict("guest", [], 12, users=USERS).item_ids
    assert "104" not in everything
    assert len(everything) == 11
    eligible = np.isin(np.arange(N_ITEMS), [0, 3, 4, 9])
    found = predictor.predict("guest", [], 12, users=USERS, eligible=eligible, exclude=["101"])
    assert (found.strategy, found.item_ids) == ("segment", [i for i in everything if i in ("105", "110")])


class Undecided(CollaborativeFiltering):
    """Has one score for all items."""

    def score(self, user_rows: Any, histories: Any) -> Any:
        return np.full((len(user_rows), N_ITEMS), 0.5, np.float32)


def test_a_history_of_which_the_model_knows_nothing_goes_a_step_down(
    market: Any, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = {who: predictor.predict(who, [], 12, users=USERS).item_ids for who in ("guest", "nobody")}
    monkeypatch.setattr(CollaborativeFiltering, "score", Undecided.score)
    for user_id, strategy in (("guest", "segment"), ("nobody", "popularity")):
        for n in (1, 2, 12):
            found = predictor.predict(user_id, ["103"], n, users=USERS)
            assert (found.strategy, found.item_ids) == (strategy, expected[user_id][:n])
    one = np.arange(N_ITEMS) == 7
    assert predictor.predict("nobody", ["103"], 5, eligible=one).strategy == "popularity"  # whatever the filters
    assert predictor.predict("1", [], 5, users=USERS).strategy == "known_user"


def test_two_best_items_with_one_score_are_no_reason_to_step_down(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def score(self: Recommender, user_rows: Any, histories: Any) -> Any:
        return np.tile((np.arange(N_ITEMS) < 3).astype(np.float32), (len(user_rows), 1))

    monkeypatch.setattr(CollaborativeFiltering, "score", score)
    for n in (1, 2, 3):
        found = predictor.predict("nobody", ["109"], n)
        assert (found.strategy, found.item_ids) == ("history", ["101", "102", "103"][:n])


def test_probabilities_are_of_the_kind_of_the_list(market: Any, tmp_path: Path) -> None:
    predictor = released(market, tmp_path / "bundle", segments())
    top = predictor.lists.popularity.shares(np.float32([predictor.predict("guest", [], 1, users=USERS).scores]))
    rising = Curve(np.array([0.0, float(top[0, 0])]), np.array([0.0, 0.6]))  # of shares
    flat = Curve(np.array([0.0]), np.array([0.2]))
    for curves, expected in (({"segment": (rising,), "popularity": (flat,)}, 0.6), ({"popularity": (flat,)}, 0.2)):
        predictor.model.calibration_ = Calibration(curves)
        found = predictor.predict("guest", [], 1, users=USERS)
        assert found.probabilities == pytest.approx([expected], abs=1e-6)


def test_the_reason_of_a_segment_list_is_the_segment(predictor: Predictor) -> None:
    query, _ = predictor.query("guest", [], users=USERS)
    explanation = Explanation(predictor, query, 3, 0)
    served = predictor.predict("guest", [], 3, users=USERS, moment=0)
    assert explanation.trials() == []
    assert [[(part.source, part.amount) for part in one.contributions] for one in explanation.reasons()] == [
        [("segment", score)] for score in served.scores
    ]


def test_a_known_user_without_their_only_item_is_ranked_as_the_service_would(predictor: Predictor) -> None:
    query, _ = predictor.query("1", [], users=USERS)  # bought 101 only
    assert set(query.known.item_columns.tolist()) == {0}
    ranked, fallback = predictor.rank(query.without(0, stays_out=False), 12, 0)
    expected = predictor.predict("both", [], 12, users=USERS, moment=0)  # has the same attributes
    assert fallback == "segment"
    assert [predictor.item_ids[column] for column in ranked.item_columns[0]] == expected.item_ids


def test_an_answer_by_segment_is_replayed_with_the_users_of_then(predictor: Predictor) -> None:
    items = pa.table({"item_id": predictor.item_ids})
    items_table = item_attributes(schema.conform(items, schema.ITEMS, "items"), {}, datetime(2026, 1, 1, tzinfo=UTC))
    then = Catalogue(items_table, USERS, "v1")
    served = predictor.predict("guest", [], 5, users=USERS, moment=predictor.lists.moment(10**15))
    answered = [{"item_id": item_id, "rank": rank, "score": None} for rank, item_id in enumerate(served.item_ids, 1)]
    request = '{"user_id": "guest", "n_recommendations": 5}'
    made_by = ("for_you", served.strategy, "collaborative_filtering", 1)
    answer = StoredAnswer("r", 10**15, "guest", *made_by, request, (), answered, "v1")
    assert replay(answer, predictor, then).equal
    moved = replace(then, users=table({"user_id": "guest", "industry": "office"}))
    assert not replay(answer, predictor, moved).equal
