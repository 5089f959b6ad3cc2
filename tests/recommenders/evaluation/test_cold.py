"""New buyers by their first clicks, new items by what is written about them: on the checkerboard both are known."""

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recommenders.datasets.spec import Protocol
from recommenders.errors import ConfigurationError, DataError
from recommenders.evaluation import lists
from recommenders.evaluation.cold import cold_buyers, cold_items
from recommenders.metrics import ranking
from recommenders.models.collaborative_filtering import CollaborativeFiltering
from recommenders.models.content_based import ContentBased
from recommenders.models.popularity import Popularity

ON_SALE = Protocol(split="time_cut", repeat=True, candidates="on_sale")
ONCE = Protocol(split="time_cut", repeat=False)


def ids_of(world: Any, columns: np.ndarray) -> list[str]:
    return [str(id_) for id_ in world[0].items.ids[columns]]


def test_first_clicks_are_known_and_what_follows_is_wanted(reorder_world: Any, toy_events: Any) -> None:
    # u50 clicks 2, 4, (99: unknown) and 6, then wants 8 and again 2; u51 stops at three; u00 is known
    pairs = [(50, 8), (50, 2), (50, 4), (50, 99), (50, 6), (50, 2), (51, 1), (51, 3), (51, 5), (0, 2)]
    days = [109.0, 100.0, 101.0, 102.0, 103.0, 110.0, 100.0, 101.0, 102.0, 100.0]
    case = cold_buyers(reorder_world[0], toy_events(pairs, days), ON_SALE)
    assert case.user_ids.tolist() == ["u50"]
    assert case.user_rows.tolist() == [-1]
    assert ids_of(reorder_world, case.histories.item_columns) == ["i02", "i04", "i06"]
    assert ids_of(reorder_world, case.relevant.indices) == ["i02", "i08"]
    assert case.cold_users == 1  # u51 wanted nothing more
    assert ids_of(reorder_world, case.views()["reorder"].relevant.indices) == ["i02"]


def test_where_nobody_comes_back_what_was_clicked_is_not_asked_for(world: Any, toy_events: Any) -> None:
    test = toy_events([(50, 2), (50, 4), (50, 2), (50, 6)], [100.0, 101.0, 102.0, 103.0])
    case = cold_buyers(world[0], test, ONCE, clicks=2)
    assert ids_of(world, case.relevant.indices) == ["i06"]


def test_clicks_may_be_of_any_kind_and_what_is_wanted_may_not(reorder_world: Any, toy_events: Any) -> None:
    test = toy_events([(50, 2), (50, 4), (50, 6), (50, 8)], [100.0, 101.0, 102.0, 103.0])
    place = test.column_names.index("event")
    test = test.set_column(place, test.schema.field(place), pa.array(["view", "view", "view", "purchase"]))
    case = cold_buyers(reorder_world[0], test, ON_SALE, clicks=2)
    assert ids_of(reorder_world, case.histories.item_columns) == ["i02", "i04"]
    assert ids_of(reorder_world, case.relevant.indices) == ["i08"]


def test_three_clicks_tell_the_colour(reorder_world: Any, toy_events: Any) -> None:
    pairs = [(50 + colour, item) for colour in (0, 1) for item in range(colour, 20, 2)]
    case = cold_buyers(reorder_world[0], toy_events(pairs, [100.0 + i for i in range(len(pairs))]), ON_SALE)
    log = reorder_world[0]

    def precision(model: Any) -> float:
        view = case.views()["discovery"]
        ranked = lists.rank(model.fit(log), case, {"discovery": view}, 5)["discovery"]
        return float(ranking.precision(ranked, view.relevant).mean())

    assert precision(CollaborativeFiltering()) == 1.0
    assert precision(Popularity()) < 0.8


def test_cold_items_among_themselves_and_among_all(reorder_world: Any, toy_events: Any) -> None:
    log, features = reorder_world
    test = toy_events([(0, 20), (2, 20), (2, 21), (1, 3), (70, 20)], [100.0] * 5)
    cases = cold_items(log, test, ON_SALE)
    for case in cases.values():
        assert case.user_ids.tolist() == ["u00", "u02"]
        assert ids_of(reorder_world, case.relevant.indices) == ["i20", "i20"]  # i21 is not on sale any more
        assert case.cold_users == 1
        assert list(case.views()) == ["all"]
    assert ids_of(reorder_world, np.flatnonzero(cases["cold_only"].candidates)) == ["i20"]
    assert cases["among_all"].candidates.sum() == log.available.sum()
    content, popular = ContentBased().fit(log, features), Popularity().fit(log)
    case = cases["among_all"]
    places = {}
    for model in (content, popular):
        ranked = lists.rank(model, case, case.views(), 21)["all"]
        places[model.name] = (ranked == log.items.row("i20")).argmax(axis=1).mean()
    assert places["content_based"] < 12 <= places["popularity"]  # among its own colour, or behind all that were bought


def test_items_without_events_are_cold_where_only_seen_ones_are_candidates(world: Any, toy_events: Any) -> None:
    log = replace(world[0], available=np.bincount(world[0].item_columns, minlength=len(world[0].items)) > 0)
    cases = cold_items(log, toy_events([(0, 20), (1, 21)], [100.0] * 2), ONCE)
    assert ids_of(world, np.flatnonzero(cases["cold_only"].candidates)) == ["i20", "i21"]
    assert cases["among_all"].candidates.all()


def test_nothing_cold_is_told(reorder_world: Any, toy_events: Any) -> None:
    test = toy_events([(0, 2), (50, 2)], [100.0] * 2)
    with pytest.raises(DataError, match="cold items cannot be evaluated: 1 items have no event"):
        cold_items(reorder_world[0], test, ON_SALE)
    with pytest.raises(DataError, match="cold buyers: known by their first 3 events alone"):
        cold_buyers(reorder_world[0], test, ON_SALE)
    with pytest.raises(ConfigurationError, match="clicks: got 0; allowed: 1 or more"):
        cold_buyers(reorder_world[0], test, ON_SALE, clicks=0)
