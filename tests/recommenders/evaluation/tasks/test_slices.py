"""User slices, on the checkerboard: even users buy even items."""

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recommenders.datasets.spec import Protocol
from recommenders.evaluation.tasks import slices
from recommenders.evaluation.tasks.task import make_task
from recommenders.features.items import ItemFeatures


@pytest.fixture(scope="module")
def task(reorder_world: Any, toy_events: Any) -> Any:
    pairs = [(user, item) for user in range(6) for item in (user % 2, user % 2 + 2, 5)]
    return make_task(reorder_world[0], toy_events(pairs, [100.0] * len(pairs)), Protocol(split="time_cut", repeat=True))


def test_new_and_established_users_are_all_users(task: Any) -> None:
    few = replace(task, histories=task.histories.select(task.histories.rows != 2))
    new, established = slices.by_history(few).values()
    assert (new ^ established).all()
    assert new[2]


def test_the_quarter_with_the_fewest_items_is_new(task: Any) -> None:
    rows = task.histories.rows
    place = np.arange(len(rows)) - task.histories.indptr[rows]
    growing = replace(task, histories=task.histories.select(place <= rows))  # 1, 2, 3 ... items known
    found = slices.by_history(growing)
    assert list(found) == ["new (at most 2 items known)", "established (over 2 items)"]
    assert [mask.tolist() for mask in found.values()] == [[True, True] + [False] * 4, [False, False] + [True] * 4]


def test_users_are_in_the_slice_of_their_most_frequent_category(task: Any, reorder_world: Any) -> None:
    found = slices.by_category(task, reorder_world[1])
    assert list(found) == ["category: even", "category: odd"]
    assert found["category: even"].tolist() == [user % 2 == 0 for user in range(6)]
    assert found["category: odd"].tolist() == [user % 2 == 1 for user in range(6)]


def test_without_categories_there_are_no_slices(task: Any, reorder_world: Any) -> None:
    features = reorder_world[1]
    n_items = len(features.categories)
    for names in (np.full(n_items, ""), np.full(n_items, "all")):
        assert slices.by_category(task, ItemFeatures(features.vectors, names.astype(np.str_))) == {}


def test_items_without_a_category_do_not_count(task: Any, reorder_world: Any) -> None:
    """Relevant for each user are two items of the own colour, and i05."""
    features = reorder_world[1]
    names = features.categories.copy()
    names[[2, 3, 5]] = ""  # most of the relevant items
    found = slices.by_category(task, ItemFeatures(features.vectors, names))
    assert found["category: even"].tolist() == [user % 2 == 0 for user in range(6)]
    names[[0]] = ""  # and for even users all of them
    found = slices.by_category(task, ItemFeatures(features.vectors, names))
    assert list(found) == ["category: odd"]
    assert found["category: odd"].tolist() == [user % 2 == 1 for user in range(6)]


def test_eight_segments_are_separate_and_slices_of_no_users_are_empty(task: Any) -> None:
    ids = np.array([f"u{number:02}" for number in range(20)])
    users = pa.table({"user_id": ids.tolist(), "segment": [f"s{number % 10}" for number in range(20)]})
    found = slices.by_segment(replace(task, user_ids=ids), users)
    assert list(found) == [*(f"segment: s{number}" for number in range(8)), "segment: other"]
    assert found["segment: other"].sum() == 4
    assert list(slices.by_history(replace(task, histories=task.histories[:0]))) == [
        "new (at most 0 items known)",
        "established (over 0 items)",
    ]


def test_small_segments_are_merged(task: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    users = pa.table(
        {
            "user_id": ["u00", "u01", "u02", "u03", "u04", "u77"],
            "segment": ["shop", "shop", "shop", "hotel", None, "hotel"],
        }
    )
    found = slices.by_segment(task, users)
    assert {name: mask.tolist() for name, mask in found.items()} == {
        "segment: shop": [True, True, True, False, False, False],
        "segment: hotel": [False, False, False, True, False, False],
    }
    monkeypatch.setattr(slices, "MAX_SLICES", 1)
    assert list(slices.by_segment(task, users)) == ["segment: shop", "segment: other"]


def test_given_segments_are_added_and_must_have_one_value_per_user(task: Any) -> None:
    large = np.arange(6) > 3
    assert slices.slices_of(task, None, {"large": large})["large"].tolist() == large.tolist()
    with pytest.raises(ValueError, match="slice large: got 2 values for 6 users"):
        slices.slices_of(task, None, {"large": large[:2]})
