"""Weighted sums of rows equal the matrix product."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array, random_array

from recommenders.math.sparse import weighted_row_sum


@given(st.integers(1, 30), st.integers(1, 40), st.floats(0, 1), st.sampled_from([np.int32, np.int64]), st.data())
def test_the_sum_equals_the_product(
    n_rows: int, n_columns: int, density: float, dtype: type, data: st.DataObject
) -> None:
    seed = data.draw(st.integers(0, 99))
    matrix = csr_array(random_array((n_rows, n_columns), density=density, rng=seed, format="csr", dtype=np.float32))
    matrix.indices, matrix.indptr = matrix.indices.astype(dtype), matrix.indptr.astype(dtype)
    rng = np.random.default_rng(seed)
    rows = rng.choice(n_rows, data.draw(st.integers(0, n_rows)), replace=False)  # in any order
    weights = rng.normal(size=len(rows)).astype(np.float32)
    expected = weights @ matrix.toarray()[rows]
    np.testing.assert_allclose(weighted_row_sum(matrix, rows, weights), expected, rtol=1e-4, atol=1e-5)
