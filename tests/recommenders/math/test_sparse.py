"""Weighted sums of rows equal the matrix product in each memory layout."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array, random_array

from recommenders.math import sparse
from recommenders.math.sparse import RowSums


def checked_sums(matrix: csr_array, seed: int) -> RowSums:
    rng = np.random.default_rng(seed)
    sums = RowSums(matrix)
    for n in (0, 1, min(5, matrix.shape[0])):
        rows = rng.choice(matrix.shape[0], n, replace=False)
        weights = rng.normal(size=n).astype(np.float32)
        np.testing.assert_allclose(sums(rows, weights), weights @ matrix.toarray()[rows], rtol=1e-4, atol=1e-5)
    return sums


@given(st.integers(1, 30), st.integers(1, 40), st.floats(0, 1), st.integers(0, 99))
def test_any_matrix(n_rows: int, n_columns: int, density: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = random_array((n_rows, n_columns), density=density, rng=rng, format="csr", dtype=np.float32)
    checked_sums(csr_array(matrix), seed)


def uneven() -> csr_array:
    """A matrix of one full row; the others have one entry or none."""
    dense = np.zeros((50, 64), np.float32)
    dense[7] = np.arange(64) + 1.0
    dense[np.arange(20, 40), np.arange(20)] = 2.0
    return csr_array(dense)


def test_rows_of_one_length_are_padded_and_full_rows_are_dense() -> None:
    even = csr_array(np.eye(20, 30, dtype=np.float32) + np.eye(20, 30, 3, dtype=np.float32))
    assert checked_sums(even, 1)._padded is not None
    sums = checked_sums(uneven(), 2)
    assert sums._padded is None
    assert sums._dense[1].shape == (1, 64)
    assert sums._dense[0][7] == 0


def test_a_layout_that_exceeds_the_memory_limit_is_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse, "TABLE_BYTES", 100.0)
    assert len(checked_sums(uneven(), 3)._dense[1]) == 0
