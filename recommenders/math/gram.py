"""Item by item products of a sparse matrix, and their inverse: what a linear model of items is made of."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack
from scipy.sparse import csr_array

ROWS = 1024  # users, or items, made dense at once
WORK = 5_000_000  # products of two entries at once: bounds what a block of a sparse product may take
DENSE_SHARE = (
    1 / 32
)  # of the users who have an item, from which multiplying the zeros too is cheaper than skipping them


def gram(matrix: csr_array, item_counts: NDArray[np.int64]) -> NDArray[np.float32]:
    """The lower triangle of X'X, (n_items, n_items) float32; what stands above the diagonal means nothing.

    X: (n_users, n_items), its columns in descending order of item_counts. Items that many users have are multiplied as
    dense blocks, the rare ones as sparse ones.
    """
    n_users, n_items = matrix.shape
    head = int(np.count_nonzero(item_counts > DENSE_SHARE * n_users))
    often, rarely = csr_array(matrix[:, :head]), csr_array(matrix[:, head:])
    result = np.zeros((n_items, n_items), dtype=np.float32)
    for start in range(0, n_users if head else 0, ROWS):
        block = often[start : start + ROWS].toarray()
        result[:head, :head] += block.T @ block
        result[head:, :head] += rarely[start : start + ROWS].T @ block
    for rows, products in sparse_gram(rarely):
        result[head + rows.start : head + rows.stop, head:] = products.toarray()
    return result


def sparse_gram(matrix: csr_array, first: int = 0) -> Iterator[tuple[slice, csr_array]]:
    """The rows of X'X from `first` on, X being (n_users, n_items): (slice of rows, (n_block, n_items) float32) each."""
    by_item = csr_array(matrix.T)
    per_user = np.diff(matrix.indptr).astype(np.float64)
    work = np.concatenate([[0.0], np.cumsum(per_user[by_item.indices])])[by_item.indptr]
    start = first
    while start < by_item.shape[0]:
        stop = int(np.searchsorted(work, work[start] + WORK, side="right")) - 1
        stop = min(max(stop, start + 1), start + ROWS)
        yield slice(start, stop), csr_array(by_item[start:stop] @ matrix)
        start = stop


def inverted(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """The inverse of a symmetric positive definite matrix (n, n), in its place, by Cholesky in single precision.

    Only the lower triangle is read. Raises ValueError where the matrix is not positive definite.
    """
    factor, failed = lapack.spotrf(matrix.T, lower=0, overwrite_a=1, clean=0)  # the transpose is in LAPACK's order
    if failed:
        raise ValueError(f"inverted: got a matrix whose leading {failed} rows are not positive definite; raise reg")
    inverse, _ = lapack.spotri(factor, lower=0, overwrite_c=1)
    result: NDArray[np.float32] = inverse.T
    _mirror(result)
    return result


def _mirror(matrix: NDArray[np.float32]) -> None:
    """Copies the lower triangle over the upper one, a tile at a time."""
    for start in range(0, len(matrix), ROWS):
        tile = matrix[start : start + ROWS, start : start + ROWS]
        tile[:] = np.tril(tile) + np.tril(tile, -1).T
        for below in range(start + ROWS, len(matrix), ROWS):
            matrix[start : start + ROWS, below : below + ROWS] = matrix[below : below + ROWS, start : start + ROWS].T
