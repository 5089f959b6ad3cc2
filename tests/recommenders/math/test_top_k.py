"""top_k equals a full stable sort for any scores."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from recommenders.math import top_k as top_k_module
from recommenders.math.top_k import top_k, top_k_products

SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 150))
FEW_VALUES = arrays(np.float32, SHAPES, elements=st.sampled_from([-np.inf, -1.0, -0.0, 0.0, 1.0, 2.0]))
ANY_VALUES = arrays(np.float32, SHAPES, elements=st.floats(allow_nan=False, width=32))


def by_sorting(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    columns = np.full((len(scores), k), -1)
    best = np.full((len(scores), k), -np.inf, dtype=np.float32)
    width = min(k, scores.shape[1])
    columns[:, :width] = np.argsort(-scores, axis=1, kind="stable")[:, :width]
    best[:, :width] = np.take_along_axis(scores, columns[:, :width], axis=1)
    return columns, best


def check(scores: np.ndarray, k: int) -> None:
    untouched = scores.copy()
    columns, best = top_k(scores, k)
    expected_columns, expected_best = by_sorting(scores, k)
    np.testing.assert_array_equal(columns, expected_columns)
    np.testing.assert_array_equal(best, expected_best)
    np.testing.assert_array_equal(scores, untouched)
    assert (columns.dtype, best.dtype) == (np.int32, np.float32)


@settings(max_examples=150)
@given(scores=FEW_VALUES, k=st.integers(1, 20))
def test_ties_go_to_the_lower_column_as_in_a_full_sort(scores: np.ndarray, k: int) -> None:
    check(scores, k)


@settings(max_examples=150)
@given(scores=ANY_VALUES, k=st.integers(1, 20))
def test_any_scores_are_ranked_as_by_a_full_sort(scores: np.ndarray, k: int) -> None:
    check(scores, k)


@pytest.mark.parametrize("n_rows", [1, 7])
@pytest.mark.parametrize("k", [1, 10, 100])
@pytest.mark.parametrize("n_columns", [1, 79, 160, 641, 3706, 20_001])
def test_catalogues_of_any_size(n_rows: int, n_columns: int, k: int) -> None:
    rng = np.random.default_rng(k)
    scores = rng.normal(size=(n_rows, n_columns)).astype(np.float32)
    check(scores, k)
    check(np.where(scores > 2.5, scores, np.float32(0.0)), k)  # a few stand out
    check(np.where(scores > -2.5, -np.inf, scores).astype(np.float32), k)  # nearly all are masked
    check(np.sort(scores, axis=1), k)
    check(np.round(scores), k)  # many ties everywhere
    check(np.zeros_like(scores), k)


def test_the_best_entries_may_be_in_one_chunk_and_rows_may_differ() -> None:
    scores = np.zeros((4, 4000), dtype=np.float32)
    scores[0, 5::512] = np.arange(1, 9)
    scores[1] = np.random.default_rng(0).normal(size=4000)
    scores[2] = -np.inf
    scores[3, -600:] = 1.0  # many ties, the first of them in late columns
    check(scores, 5)
    check(np.asfortranarray(scores), 5)


def test_empty_input_gives_an_empty_result() -> None:
    assert top_k(np.ones((2, 3), np.float32), 0)[0].shape == (2, 0)
    assert top_k(np.ones((0, 3), np.float32), 2)[0].shape == (0, 2)
    columns, best = top_k(np.ones((2, 0), np.float32), 2)
    assert (columns == -1).all()
    assert np.isneginf(best).all()


def test_products_are_ranked_like_their_matrix() -> None:
    rng = np.random.default_rng(1)
    left = rng.integers(-3, 4, size=(301, 4)).astype(np.float32)  # whole numbers: the product is exact, and has ties
    right = rng.integers(-3, 4, size=(777, 4)).astype(np.float32)
    for k in (3, 900):
        columns, best = top_k_products(left, right, k)
        expected_columns, expected_best = by_sorting(left @ right.T, k)
        np.testing.assert_array_equal(columns, expected_columns)
        np.testing.assert_array_equal(best, expected_best)
    assert top_k_products(left[:0], right, 3)[0].shape == (0, 3)


def test_the_best_columns_in_a_few_groups_are_no_ties(monkeypatch: pytest.MonkeyPatch) -> None:
    def search(*_: object) -> None:
        raise AssertionError("searched for ties among distinct scores, which takes milliseconds")

    monkeypatch.setattr(top_k_module, "_first_ties", search)
    scores = np.random.default_rng(0).random((2, 200_000), dtype=np.float32)
    scores[:, ::120] += 1.0
    check(scores, 40)
