"""What members say on one scale, and what they propose."""

import numpy as np
import pytest

from recommenders.models.ensembles.hybrid_learned.member_scores import (
    REFERENCE,
    best_of_each,
    found_columns,
    looks_of,
    unique_rows,
)


@pytest.fixture
def scores() -> np.ndarray:
    """Two members, three buyers, forty items."""
    return np.random.default_rng(0).normal(size=(2, 3, 40)).astype(np.float32)


def test_the_mean_item_is_0_and_the_reference_1(scores: np.ndarray) -> None:
    columns, best = best_of_each(scores, REFERENCE, [])
    looks = looks_of(["a", "b"], scores, best)
    rows = np.arange(3)
    said = looks.relative(rows, columns[1, :, REFERENCE - 1])
    np.testing.assert_allclose(said["b"], 1.0, rtol=1e-6)
    everything = looks.relative(np.repeat(rows, 40), np.tile(np.arange(40, dtype=np.int32), 3))["a"].reshape(3, 40)
    np.testing.assert_allclose(everything.mean(axis=1), 0.0, atol=1e-6)
    np.testing.assert_array_equal(everything.argsort(axis=1), scores[0].argsort(axis=1))


def test_where_fewer_items_count_than_the_reference_the_last_one_is_it(scores: np.ndarray) -> None:
    only = np.setdiff1d(np.arange(40), [3, 8])
    columns, best = best_of_each(scores, REFERENCE, [(..., only)])
    last = columns[0, 0, 1]
    said = looks_of(["a", "b"], scores, best).relative(np.array([0]), np.array([last]))["a"]
    above = scores[0, 0, last] > scores[0, 0].mean()
    np.testing.assert_allclose(said, 1.0 if above else scores[0, 0, last] - scores[0, 0].mean(), rtol=1e-5)


def test_what_is_barred_is_not_found_and_scores_come_back(scores: np.ndarray) -> None:
    before = scores.copy()
    known = (slice(None), np.array([0, 0, 2]), np.array([5, 6, 7]))
    found = found_columns(*best_of_each(scores, 40, [(..., np.arange(10, 40)), known]))
    np.testing.assert_array_equal(scores, before)
    assert [set(row) - {-1} for row in found.tolist()] == [
        set(range(10)) - {5, 6},
        set(range(10)),
        set(range(10)) - {7},
    ]


def test_each_column_stands_once() -> None:
    rows = np.array([[4, -1, 2, 4], [-1, -1, 0, -1]], np.int32)
    assert unique_rows(rows, 5).tolist() == [[2, 4], [0, -1]]
    assert unique_rows(rows[:1], 5).tolist() == [[2, 4]]
    assert unique_rows(np.full((1, 2), -1, np.int32), 5).tolist() == [[-1]]
