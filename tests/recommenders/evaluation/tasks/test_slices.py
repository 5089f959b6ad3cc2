"""Parts of the buyers, on the checkerboard: even buyers buy even things."""

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recommenders.datasets.spec import Protocol
from recommenders.evaluation.tasks import slices
from recommenders.evaluation.tasks.task import make_case
from recommenders.features.items import ItemFeatures


@pytest.fixture(scope="module")
def case(reorder_world: Any, toy_events: Any) -> Any:
    pairs = [(user, item) for user in range(6) for item in (user % 2, user % 2 + 2, 5)]
    return make_case(reorder_world[0], toy_events(pairs, [100.0] * len(pairs)), Protocol(split="time_cut", repeat=True))


def test_new_and_established_buyers_share_out_everybody(case: Any) -> None:
    few = replace(case, histories=case.histories.select(case.histories.rows != 2))
    new, established = slices.by_history(few).values()
    assert (new ^ established).all()
    assert new[2]


def test_the_newest_quarter_is_new(case: Any) -> None:
    rows = case.histories.rows
    place = np.arange(len(rows)) - case.histories.indptr[rows]
    growing = replace(case, histories=case.histories.select(place <= rows))  # 1, 2, 3 ... items known
    found = slices.by_history(growing)
    assert list(found) == ["new (at most 2 items known)", "established (over 2 items)"]
    assert [members.tolist() for members in found.values()] == [[True, True] + [False] * 4, [False, False] + [True] * 4]


def test_buyers_stand_under_the_category_they_want_most_of(case: Any, reorder_world: Any) -> None:
    found = slices.by_category(case, reorder_world[1])
    assert list(found) == ["category: even", "category: odd"]
    assert found["category: even"].tolist() == [user % 2 == 0 for user in range(6)]
    assert found["category: odd"].tolist() == [user % 2 == 1 for user in range(6)]


def test_items_without_categories_make_no_parts(case: Any, reorder_world: Any) -> None:
    features = reorder_world[1]
    n_items = len(features.categories)
    for names in (np.full(n_items, ""), np.full(n_items, "all")):
        assert slices.by_category(case, ItemFeatures(features.vectors, names.astype(np.str_))) == {}


def test_items_without_a_category_put_nobody_anywhere(case: Any, reorder_world: Any) -> None:
    """Everybody wants an item of the own colour, another one, and i05."""
    features = reorder_world[1]
    names = features.categories.copy()
    names[[2, 3, 5]] = ""  # most of what is wanted
    found = slices.by_category(case, ItemFeatures(features.vectors, names))
    assert found["category: even"].tolist() == [user % 2 == 0 for user in range(6)]
    names[[0]] = ""  # and of even users everything
    found = slices.by_category(case, ItemFeatures(features.vectors, names))
    assert list(found) == ["category: odd"]
    assert found["category: odd"].tolist() == [user % 2 == 1 for user in range(6)]


def test_eight_segments_stand_apart_and_nobody_is_new_where_nobody_is(case: Any) -> None:
    ids = np.array([f"u{number:02}" for number in range(20)])
    users = pa.table({"user_id": ids.tolist(), "segment": [f"s{number % 10}" for number in range(20)]})
    found = slices.by_segment(replace(case, user_ids=ids), users)
    assert list(found) == [*(f"segment: s{number}" for number in range(8)), "segment: other"]
    assert found["segment: other"].sum() == 4
    assert list(slices.by_history(replace(case, histories=case.histories[:0]))) == [
        "new (at most 0 items known)",
        "established (over 0 items)",
    ]


def test_small_segments_stand_together(case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    users = pa.table(
        {
            "user_id": ["u00", "u01", "u02", "u03", "u04", "u77"],
            "segment": ["shop", "shop", "shop", "hotel", None, "hotel"],
        }
    )
    found = slices.by_segment(case, users)
    assert {name: members.tolist() for name, members in found.items()} == {
        "segment: shop": [True, True, True, False, False, False],
        "segment: hotel": [False, False, False, True, False, False],
    }
    monkeypatch.setattr(slices, "MOST_PARTS", 1)
    assert list(slices.by_segment(case, users)) == ["segment: shop", "segment: other"]


def test_given_segments_join_and_must_fit(case: Any) -> None:
    large = np.arange(6) > 3
    assert slices.slices_of(case, None, {"large": large})["large"].tolist() == large.tolist()
    with pytest.raises(ValueError, match="slice large: got 2 values for 6 buyers"):
        slices.slices_of(case, None, {"large": large[:2]})
