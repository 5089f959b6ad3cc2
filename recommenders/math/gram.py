"""Item by item products of a sparse matrix, and their inverse: the basis of a linear item-item model."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack
from scipy.sparse import csr_array

ROWS = 1024  # users, or items, made dense at once
BLOCK_PRODUCTS = 5_000_000  # products of two entries in one block of a sparse product; bounds its memory
DENSE_SHARE = 1 / 32  # of the users with events of an item: above it, dense products are faster than sparse ones


def gram(matrix: csr_array, item_counts: NDArray[np.int64]) -> NDArray[np.float32]:
    """The lower triangle of X'X, (n_items, n_items) float32; entries above the diagonal are undefined.

    X: (n_users, n_items), its columns in descending order of item_counts. Items of many users are multiplied as dense
    blocks, rare items as sparse ones.
    """
    n_users, n_items = matrix.shape
    n_dense = int(np.count_nonzero(item_counts > DENSE_SHARE * n_users))
    popular, rare = csr_array(matrix[:, :n_dense]), csr_array(matrix[:, n_dense:])
    result = np.zeros((n_items, n_items), dtype=np.float32)
    for start in range(0, n_users if n_dense else 0, ROWS):
        block = popular[start : start + ROWS].toarray()
        result[:n_dense, :n_dense] += block.T @ block
        result[n_dense:, :n_dense] += rare[start : start + ROWS].T @ block
    for rows, products in sparse_gram(rare):
        result[n_dense + rows.start : n_dense + rows.stop, n_dense:] = products.toarray()
    return result


def sparse_gram(matrix: csr_array, first: int = 0) -> Iterator[tuple[slice, csr_array]]:
    """The rows of X'X from `first` on, X being (n_users, n_items): (slice of rows, (n_block, n_items) float32) each."""
    by_item = csr_array(matrix.T)
    per_user = np.diff(matrix.indptr).astype(np.float64)
    work = np.concatenate([[0.0], np.cumsum(per_user[by_item.indices])])[by_item.indptr]
    start = first
    while start < by_item.shape[0]:
        stop = int(np.searchsorted(work, work[start] + BLOCK_PRODUCTS, side="right")) - 1
        stop = min(max(stop, start + 1), start + ROWS)
        yield slice(start, stop), csr_array(by_item[start:stop] @ matrix)
        start = stop


def invert_in_place(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """The inverse of a symmetric positive definite matrix (n, n), in its memory, by Cholesky in single precision.

    Only the lower triangle is read. Raises ValueError where the matrix is not positive definite.
    """
    factor, failed = lapack.spotrf(matrix.T, lower=0, overwrite_a=1, clean=0)  # the transpose is in LAPACK's order
    if failed:
        raise ValueError(
            f"invert_in_place: got a matrix whose leading {failed} rows are not positive definite; raise reg"
        )
    inverse, _ = lapack.spotri(factor, lower=0, overwrite_c=1)
    result: NDArray[np.float32] = inverse.T
    _mirror(result)
    return result


def _mirror(matrix: NDArray[np.float32]) -> None:
    """Copies the lower triangle to the upper one, a tile at a time."""
    for start in range(0, len(matrix), ROWS):
        tile = matrix[start : start + ROWS, start : start + ROWS]
        tile[:] = np.tril(tile) + np.tril(tile, -1).T
        for below in range(start + ROWS, len(matrix), ROWS):
            matrix[start : start + ROWS, below : below + ROWS] = matrix[below : below + ROWS, start : start + ROWS].T
