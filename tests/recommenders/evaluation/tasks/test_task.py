"""The question that is asked of every model, on the checkerboard."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from recommenders.datasets.spec import Protocol
from recommenders.evaluation.tasks.task import EvaluationConfig, make_case, ones

PROTOCOL = Protocol(split="time_cut", repeat=True)


def test_lists_are_judged_by_a_thousand_resamples_of_one_seed_unless_said() -> None:
    config = EvaluationConfig()
    assert (config.n_bootstrap, config.seed) == (1000, 42)
    assert EvaluationConfig(n_bootstrap=100).n_bootstrap == 100
    with pytest.raises(ValidationError, match="greater than or equal to 100"):
        EvaluationConfig(n_bootstrap=99)
    with pytest.raises(ValidationError, match="frozen"):
        config.seed = 1  # type: ignore[misc]


def test_reorders_and_discoveries_share_out_what_was_wanted(reorder_world: Any, toy_events: Any) -> None:
    log = reorder_world[0]
    pairs = [(user, item) for user in range(20) for item in (0, 3, 7)]
    case = make_case(log, toy_events(pairs, [100.0] * len(pairs)), PROTOCOL)
    views = case.views()
    known = case.histories.matrix.toarray() > 0
    wanted = case.relevant.toarray() > 0
    assert (known & wanted).any()
    assert (~known & wanted).any()
    np.testing.assert_array_equal(views["reorder"].relevant.toarray(), known & wanted)
    np.testing.assert_array_equal(views["discovery"].relevant.toarray(), ~known & wanted)
    assert {name: view.exclude_known for name, view in views.items()} == {
        "all": False,
        "reorder": False,
        "discovery": True,
    }
    for view in views.values():  # a stored 0 would count as an item that is wanted
        assert view.relevant.nnz == (view.relevant.toarray() != 0).sum()
        assert view.relevant.has_sorted_indices


def test_an_item_that_the_log_does_not_know_is_nobodys_wish(reorder_world: Any, toy_events: Any) -> None:
    everything = replace(reorder_world[0], available=np.ones(len(reorder_world[0].items), np.bool_))
    case = make_case(everything, toy_events([(0, 0), (1, 99)], [100.0] * 2), PROTOCOL)
    assert case.user_ids.tolist() == ["u00"]
    assert case.relevant.toarray().sum() == 1
    assert case.cold_items == 1


def test_a_pair_counts_once_however_often_it_is_given() -> None:
    found = ones(np.array([1, 0, 1, 1]), np.array([2, 1, 2, 0]), (2, 3))
    assert found.toarray().tolist() == [[0, 1, 0], [1, 0, 1]]
    assert found.dtype == np.float32
    assert found.indices.tolist() == [1, 0, 2]
