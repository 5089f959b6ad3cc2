"""The evaluation task of every model, on the checkerboard."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from recommenders.datasets.spec import Protocol
from recommenders.errors import DataError
from recommenders.evaluation.tasks.task import EvaluationConfig, make_task
from recommenders.math.sparse import ones

PROTOCOL = Protocol(split="time_cut", repeat=True)


def test_the_defaults_are_a_thousand_resamples_and_one_seed() -> None:
    config = EvaluationConfig()
    assert (config.n_resamples, config.seed) == (1000, 42)
    assert EvaluationConfig(n_resamples=100).n_resamples == 100
    with pytest.raises(ValidationError, match="greater than or equal to 100"):
        EvaluationConfig(n_resamples=99)
    with pytest.raises(ValidationError, match="frozen"):
        config.seed = 1  # type: ignore[misc]


def test_reorder_and_discovery_split_the_relevant_items(reorder_world: Any, toy_events: Any) -> None:
    log = reorder_world[0]
    pairs = [(user, item) for user in range(20) for item in (0, 3, 7)]
    task = make_task(log, toy_events(pairs, [100.0] * len(pairs)), PROTOCOL)
    views = task.views()
    known = task.histories.matrix.toarray() > 0
    relevant = task.relevant.toarray() > 0
    assert (known & relevant).any()
    assert (~known & relevant).any()
    np.testing.assert_array_equal(views["reorder"].relevant.toarray(), known & relevant)
    np.testing.assert_array_equal(views["discovery"].relevant.toarray(), ~known & relevant)
    assert {name: view.exclude_known for name, view in views.items()} == {
        "all": False,
        "reorder": False,
        "discovery": True,
    }
    for view in views.values():  # a stored 0 would count as a relevant item
        assert view.relevant.nnz == (view.relevant.toarray() != 0).sum()
        assert view.relevant.has_sorted_indices


@pytest.mark.parametrize(
    ("pairs", "counts"),
    [
        ([(98, 2)], "1 users have a purchase in the window, 0 of them have events before it"),
        ([(98, 2), (0, 99), (1, 99), (1, 98)], "3 users have a purchase in the window, 2 of them have events before"),
        ([], "0 users have a purchase in the window, 0 of them"),
    ],
)
def test_without_a_user_who_can_be_evaluated_the_error_states_the_figures(
    reorder_world: Any, toy_events: Any, pairs: list[tuple[int, int]], counts: str
) -> None:
    with pytest.raises(DataError, match="^nothing can be evaluated: " + counts) as error:
        make_task(reorder_world[0], toy_events(pairs, [100.0] * len(pairs)), PROTOCOL)
    assert str(error.value).endswith("at least 1 user is needed; use a longer log or change protocol")


def test_an_unknown_item_is_not_relevant(reorder_world: Any, toy_events: Any) -> None:
    everything = replace(reorder_world[0], available=np.ones(len(reorder_world[0].items), np.bool_))
    task = make_task(everything, toy_events([(0, 0), (1, 99)], [100.0] * 2), PROTOCOL)
    assert task.user_ids.tolist() == ["u00"]
    assert task.relevant.toarray().sum() == 1
    assert task.cold_items == 1


def test_duplicate_pairs_count_once() -> None:
    found = ones(np.array([1, 0, 1, 1]), np.array([2, 1, 2, 0]), (2, 3))
    assert found.toarray().tolist() == [[0, 1, 0], [1, 0, 1]]
    assert found.dtype == np.float32
    assert found.indices.tolist() == [1, 0, 2]
