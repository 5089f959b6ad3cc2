"""Cold-start tasks on the checkerboard: new users by their first events, new items by their features."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recommenders.datasets.spec import Protocol
from recommenders.errors import ConfigurationError, DataError
from recommenders.evaluation import rank
from recommenders.evaluation.tasks.cold_start import cold_items, cold_start_users, rest_of_basket
from recommenders.metrics import ranking
from recommenders.models.collaborative_filtering.model import CollaborativeFiltering
from recommenders.models.content_based import ContentBased
from recommenders.models.popularity import Popularity

ON_SALE = Protocol(split="time_cut", repeat=True, candidates="on_sale")
ONCE = Protocol(split="time_cut", repeat=False)


def ids_of(world: Any, columns: np.ndarray) -> list[str]:
    return [str(id_) for id_ in world[0].items.ids[columns]]


def test_the_first_visit_is_the_history_and_later_visits_are_relevant(reorder_world: Any, toy_events: Any) -> None:
    # u50 buys 2, 4 and (unknown) 99 in one visit, later 8 and 2; u51 has one visit; u00 is known
    pairs = [(50, 8), (50, 2), (50, 4), (50, 99), (50, 2), (51, 1), (51, 3), (0, 2)]
    days = [109.0, 100.0, 100.0, 100.0, 110.0, 100.0, 100.0, 100.0]
    task = cold_start_users(reorder_world[0], toy_events(pairs, days), ON_SALE)
    assert task.user_ids.tolist() == ["u50"]
    assert task.user_rows.tolist() == [-1]
    assert ids_of(reorder_world, task.histories.item_columns) == ["i02", "i04"]
    assert ids_of(reorder_world, task.relevant.indices) == ["i02", "i08"]
    assert task.cold_users == 1  # u51 has no later visit
    assert ids_of(reorder_world, task.views()["reorder"].relevant.indices) == ["i02"]


def test_with_clicks_the_rest_of_their_visit_is_not_relevant(reorder_world: Any, toy_events: Any) -> None:
    # three clicks end inside the second visit (4, 6, 8): 8 is neither in the history nor relevant
    pairs = [(50, 2), (50, 8), (50, 6), (50, 4), (50, 10), (50, 2)]
    days = [100.0, 101.0, 101.0, 101.0, 102.0, 103.0]
    task = cold_start_users(reorder_world[0], toy_events(pairs, days), ON_SALE, clicks=3)
    assert ids_of(reorder_world, task.histories.item_columns) == ["i02", "i04", "i06"]
    assert ids_of(reorder_world, task.relevant.indices) == ["i02", "i10"]


def test_the_rest_of_the_basket_is_a_separate_task(reorder_world: Any, toy_events: Any) -> None:
    # the first visit is 2, 4, 6, 8, with two events of 2; the later one does not count
    pairs = [(50, 8), (50, 2), (50, 2), (50, 6), (50, 4), (50, 10), (51, 1)]
    task = rest_of_basket(reorder_world[0], toy_events(pairs, [100.0] * 5 + [101.0, 100.0]), ON_SALE)
    assert task.user_ids.tolist() == ["u50"]
    assert ids_of(reorder_world, task.histories.item_columns) == ["i02", "i02", "i04"]
    assert ids_of(reorder_world, task.relevant.indices) == ["i06", "i08"]
    assert list(task.views()) == ["all"]
    assert task.views()["all"].exclude_known  # items of the history are not recommended again
    assert task.description.startswith("rest of the basket")


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1))
def test_the_order_of_rows_has_no_effect(reorder_world: Any, toy_events: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pairs = [(50 + int(user), int(item)) for user, item in rng.integers((3, 20), size=(40, 2))]
    test = toy_events(pairs, rng.integers(3, size=40).astype(float) + 100)
    place = test.column_names.index("event")
    events = pa.array(rng.choice(["view", "purchase"], 40))
    test = test.set_column(place, test.schema.field(place), events)
    shuffled = test.take(rng.permutation(40))
    for make in (cold_start_users, partial(cold_start_users, clicks=3), rest_of_basket):
        try:
            one = make(reorder_world[0], test, ON_SALE)
        except DataError:
            with pytest.raises(DataError):
                make(reorder_world[0], shuffled, ON_SALE)
            continue
        other = make(reorder_world[0], shuffled, ON_SALE)
        np.testing.assert_array_equal(one.user_ids, other.user_ids)
        np.testing.assert_array_equal(one.histories.item_columns, other.histories.item_columns)
        np.testing.assert_array_equal(one.relevant.toarray(), other.relevant.toarray())


def test_the_first_item_of_the_map_counts(reorder_world: Any, toy_events: Any) -> None:
    task = cold_start_users(
        reorder_world[0], toy_events([(50, 0), (50, 0), (50, 2)], [100.0, 101.0, 101.0]), ON_SALE, clicks=1
    )
    assert ids_of(reorder_world, task.histories.item_columns) == ["i00"]
    assert ids_of(reorder_world, task.relevant.indices) == ["i00", "i02"]
    log = reorder_world[0].select(reorder_world[0].item_columns != 0)
    tasks = cold_items(log, toy_events([(0, 0), (1, 98), (1, 99), (2, 3), (2, 5)], [100.0] * 5), ON_SALE)
    assert tasks["among_all"].user_ids.tolist() == ["u00"]
    assert ids_of(reorder_world, tasks["among_all"].relevant.indices) == ["i00"]
    assert tasks["among_all"].cold_items == 2  # 98 and 99, which the log lacks


def test_without_repeat_items_of_the_history_are_not_relevant(world: Any, toy_events: Any) -> None:
    test = toy_events([(50, 2), (50, 4), (50, 2), (50, 6)], [100.0, 101.0, 102.0, 103.0])
    task = cold_start_users(world[0], test, ONCE, clicks=2)
    assert ids_of(world, task.relevant.indices) == ["i06"]


def test_the_history_has_all_kinds_of_events_and_relevant_items_do_not(reorder_world: Any, toy_events: Any) -> None:
    test = toy_events([(50, 2), (50, 4), (50, 6), (50, 8)], [100.0, 101.0, 102.0, 103.0])
    place = test.column_names.index("event")
    test = test.set_column(place, test.schema.field(place), pa.array(["view", "view", "view", "purchase"]))
    task = cold_start_users(reorder_world[0], test, ON_SALE, clicks=2)
    assert ids_of(reorder_world, task.histories.item_columns) == ["i02", "i04"]
    assert ids_of(reorder_world, task.relevant.indices) == ["i08"]


def test_three_clicks_identify_the_colour(reorder_world: Any, toy_events: Any) -> None:
    pairs = [(50 + colour, item) for colour in (0, 1) for item in range(colour, 20, 2)]
    task = cold_start_users(
        reorder_world[0], toy_events(pairs, [100.0 + i for i in range(len(pairs))]), ON_SALE, clicks=3
    )
    log = reorder_world[0]

    def precision(model: Any) -> float:
        view = task.views()["discovery"]
        ranked = rank.rank_users(model.fit(log), task, {"discovery": view}, 5)["discovery"]
        return float(ranking.precision(ranked, view.relevant).mean())

    assert precision(CollaborativeFiltering()) == 1.0
    assert precision(Popularity()) < 0.8


def test_cold_items_compete_with_each_other_and_with_all_items(reorder_world: Any, toy_events: Any) -> None:
    log, features = reorder_world
    test = toy_events([(0, 20), (2, 20), (2, 21), (1, 3), (70, 20)], [100.0] * 5)
    tasks = cold_items(log, test, ON_SALE)
    for task in tasks.values():
        assert task.user_ids.tolist() == ["u00", "u02"]
        assert ids_of(reorder_world, task.relevant.indices) == ["i20", "i20"]  # i21 is no longer on sale
        assert task.cold_users == 1
        assert list(task.views()) == ["all"]
    assert ids_of(reorder_world, np.flatnonzero(tasks["cold_only"].candidates)) == ["i20"]
    assert tasks["among_all"].candidates.sum() == log.available.sum()
    content, popular = ContentBased().fit(log, features), Popularity().fit(log)
    task = tasks["among_all"]
    places = {}
    for model in (content, popular):
        ranked = rank.rank_users(model, task, task.views(), 21)["all"]
        places[model.name] = (ranked == log.items.row("i20")).argmax(axis=1).mean()
    assert places["content_based"] < 12 <= places["popularity"]  # among its own colour, or behind all items with events


def test_items_without_events_are_cold_if_candidates_are_seen_items(world: Any, toy_events: Any) -> None:
    log = replace(world[0], available=np.bincount(world[0].item_columns, minlength=len(world[0].items)) > 0)
    tasks = cold_items(log, toy_events([(0, 20), (1, 21), (2, 99)], [100.0] * 3), ONCE)
    assert tasks["cold_only"].user_ids.tolist() == ["u00", "u01"]  # 99 is not in the map, and not its last item
    assert ids_of(world, np.flatnonzero(tasks["cold_only"].candidates)) == ["i20", "i21"]
    assert tasks["among_all"].candidates.all()


def test_a_log_without_cold_users_or_items_is_an_error(reorder_world: Any, toy_events: Any) -> None:
    test = toy_events([(0, 2), (50, 2)], [100.0] * 2)
    with pytest.raises(DataError, match="cold items cannot be evaluated: 1 items have no event"):
        cold_items(reorder_world[0], test, ON_SALE)
    with pytest.raises(DataError, match="cold-start users: the history is their first visit"):
        cold_start_users(reorder_world[0], test, ON_SALE)
    with pytest.raises(DataError, match="rest of the basket: cold-start users"):
        rest_of_basket(reorder_world[0], test, ON_SALE)
    with pytest.raises(ConfigurationError, match="clicks: got 0; allowed: 1 or more"):
        cold_start_users(reorder_world[0], test, ON_SALE, clicks=0)
