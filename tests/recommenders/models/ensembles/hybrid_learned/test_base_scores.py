"""Base scores on one scale, and the candidates that base models propose."""

import numpy as np
import pytest

from recommenders.models.ensembles.hybrid_learned.base_scores import (
    REFERENCE,
    base_scores_of,
    candidate_columns,
    penalties_of,
    top_k_per_model,
    unique_rows,
)


@pytest.fixture
def scores() -> np.ndarray:
    """Two base models, three users, forty items."""
    return np.random.default_rng(0).normal(size=(2, 3, 40)).astype(np.float32)


def test_the_mean_item_has_0_and_the_reference_item_1(scores: np.ndarray) -> None:
    columns, best = top_k_per_model(scores, REFERENCE, penalties_of(np.ones(40, np.bool_)))
    base_scores = base_scores_of(["a", "b"], scores, best)
    rows = np.arange(3)
    relative = base_scores.relative(rows, columns[1, :, REFERENCE - 1])
    np.testing.assert_allclose(relative["b"], 1.0, rtol=1e-6)
    everything = base_scores.relative(np.repeat(rows, 40), np.tile(np.arange(40, dtype=np.int32), 3))["a"].reshape(
        3, 40
    )
    np.testing.assert_allclose(everything.mean(axis=1), 0.0, atol=1e-6)
    np.testing.assert_array_equal(everything.argsort(axis=1), scores[0].argsort(axis=1))


def test_with_fewer_items_than_the_reference_rank_the_last_item_is_the_reference(scores: np.ndarray) -> None:
    columns, best = top_k_per_model(scores, REFERENCE, penalties_of(np.isin(np.arange(40), [3, 8])))
    last = columns[0, 0, 1]
    relative = base_scores_of(["a", "b"], scores, best).relative(np.array([0]), np.array([last]))["a"]
    above = scores[0, 0, last] > scores[0, 0].mean()
    np.testing.assert_allclose(relative, 1.0 if above else scores[0, 0, last] - scores[0, 0].mean(), rtol=1e-5)


def test_excluded_items_are_not_found_and_scores_do_not_change(scores: np.ndarray) -> None:
    before = scores.copy()
    known = (np.array([0, 0, 2]), np.array([5, 6, 7], np.int32))
    found = candidate_columns(*top_k_per_model(scores, 40, penalties_of(np.arange(40) < 10), known))
    np.testing.assert_array_equal(scores, before)
    assert [set(row) - {-1} for row in found.tolist()] == [
        set(range(10)) - {5, 6},
        set(range(10)),
        set(range(10)) - {7},
    ]


def test_unique_rows_keep_each_column_once() -> None:
    rows = np.array([[4, -1, 2, 4], [-1, -1, 0, -1]], np.int32)
    assert unique_rows(rows, 5).tolist() == [[2, 4], [0, -1]]
    assert unique_rows(rows[:1], 5).tolist() == [[2, 4]]
    assert unique_rows(np.full((1, 2), -1, np.int32), 5).tolist() == [[-1]]
