"""Sums of a few rows are what a product says, however the rows are laid out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array, random_array

from recommenders.math import sparse
from recommenders.math.sparse import RowSums


def agree(matrix: csr_array, seed: int) -> RowSums:
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
    agree(csr_array(matrix), seed)


def uneven() -> csr_array:
    """One row full, the others of an entry or none."""
    dense = np.zeros((50, 64), np.float32)
    dense[7] = np.arange(64) + 1.0
    dense[np.arange(20, 40), np.arange(20)] = 2.0
    return csr_array(dense)


def test_rows_of_one_length_lie_side_by_side_and_full_rows_are_dense() -> None:
    even = csr_array(np.eye(20, 30, dtype=np.float32) + np.eye(20, 30, 3, dtype=np.float32))
    assert agree(even, 1)._even is not None
    sums = agree(uneven(), 2)
    assert sums._even is None
    assert sums._full[1].shape == (1, 64)
    assert sums._full[0][7] == 0


def test_what_would_take_too_much_memory_stays_sparse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse, "TABLE_BYTES", 100.0)
    assert len(agree(uneven(), 3)._full[1]) == 0
