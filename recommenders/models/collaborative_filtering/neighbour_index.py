"""Nearest-neighbour index: the k rows of a sparse matrix that are most similar to each query row."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array, vstack

from recommenders.math.sparse import keep_largest_per_row, weighted_row_sum
from recommenders.math.top_k import top_k
from recommenders.models.recommender import BLOCK

DENSE_ROWS = 65_536  # with more rows than this, products stay sparse
SPARSE_PRODUCTS = 4_000_000  # approximate number of multiplications of one sparse product
SUMMED_PRODUCTS = 400_000  # of one dense product: small enough for the cache
ROUNDING = 1 << 7  # rounds off the last bits, which depend on the order of summation, so that ties stay ties


class NeighbourIndex:
    """An index of rows (n, d) for queries of length d. Similarity: cosine, or correlation if centred.

    similarity = product / (query norm * (row norm + shrinkage * root mean square norm)). Shrinkage lowers the
    similarity of rows with little data. Unobserved entries are zeros, also for means and norms.
    """

    def __init__(self, rows: csr_array, centred: bool = False, shrinkage: float = 0.0) -> None:
        self.n_rows, self.n_columns = rows.shape
        self.centred = centred
        entry_rows = np.repeat(np.arange(self.n_rows), np.diff(rows.indptr))
        means, norms = self._moments(entry_rows, rows.data, self.n_rows)
        shrunk = norms + shrinkage * np.sqrt((norms**2).mean() if self.n_rows else 0.0)
        scales = np.divide(1.0, shrunk, out=np.zeros_like(shrunk), where=norms > 0)
        data = (rows.data * scales[entry_rows]).astype(np.float32)
        self.postings: csr_array = csr_array(csr_array((data, rows.indices, rows.indptr), shape=rows.shape).T)  # (d, n)
        offsets = self.n_columns * means * scales  # times a query's mean: the correction for centring
        self._offsets = offsets.astype(np.float32)

    def _moments(
        self, entry_rows: NDArray[np.int64], values: NDArray[np.float32], n_rows: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The means of the rows (0 unless centred), and the norms of the centred rows; (n_rows,) each."""
        norms = np.bincount(entry_rows, values.astype(np.float64) ** 2, minlength=n_rows)
        if not self.centred:
            return np.zeros(n_rows), np.sqrt(norms)
        means = np.bincount(entry_rows, values, minlength=n_rows) / max(self.n_columns, 1)
        return means, np.sqrt(np.maximum(norms - self.n_columns * means**2, 0.0))

    def nearest_of_one(
        self, columns: NDArray[np.int64], values: NDArray[np.float32], k: int, own_row: int = -1
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """At most k rows, the most similar first, and their similarities, for a query with these values in columns.

        Leaves out the row `own_row` (-1: none). Negative similarities are set to 0.
        """
        exact = values.astype(np.float64)
        mean = float(exact.sum()) / max(self.n_columns, 1) if self.centred else 0.0
        norm = max(float(exact @ exact) - self.n_columns * mean**2, 0.0) ** 0.5
        similarities = weighted_row_sum(self.postings, columns, values / np.float32(max(norm, 1e-30)))
        if self.centred:
            similarities -= np.float32(mean / max(norm, 1e-30)) * self._offsets
        if own_row >= 0:
            similarities[own_row] = 0.0
        nearest, best = top_k(_rounded(similarities)[None], min(k, self.n_rows))
        return nearest[0], np.maximum(best[0], np.float32(0.0))

    def nearest(self, queries: csr_array, k: int, own_rows: NDArray[np.int32]) -> csr_array:
        """(n_queries, n): the k largest similarities above 0 of each query, without the row `own_rows` (-1: none)."""
        queries, means = self._scaled(queries)
        k = min(k, self.n_rows)
        if self.n_rows > DENSE_ROWS:
            return self._nearest_sparse(queries, means, k, own_rows)
        similarities = self._similarities(queries, means)
        known = np.flatnonzero(own_rows >= 0)
        similarities[known, own_rows[known]] = 0.0
        columns, values = top_k(_rounded(similarities), k)
        indptr = np.arange(len(values) + 1) * k
        found = csr_array((np.maximum(values, 0.0).ravel(), columns.ravel(), indptr), shape=similarities.shape)
        found.eliminate_zeros()
        return found

    def similarities(self, queries: csr_array) -> NDArray[np.float32]:
        """(n_queries, n): all similarities, dense."""
        return self._similarities(*self._scaled(queries))

    def _scaled(self, queries: csr_array) -> tuple[csr_array, NDArray[np.float32]]:
        """The queries divided by their norms, and the means of the results, (n_queries,)."""
        rows = np.repeat(np.arange(queries.shape[0]), np.diff(queries.indptr))
        means, norms = self._moments(rows, queries.data, queries.shape[0])
        factors = 1.0 / np.maximum(norms, 1e-30)
        data = (queries.data * factors[rows]).astype(np.float32)
        return csr_array((data, queries.indices, queries.indptr), queries.shape), (means * factors).astype(np.float32)

    def _similarities(self, queries: csr_array, means: NDArray[np.float32]) -> NDArray[np.float32]:
        products = dense_product(queries, self.postings)
        if self.centred:
            products -= np.outer(means, self._offsets)
        return products

    def _nearest_sparse(
        self, queries: csr_array, means: NDArray[np.float32], k: int, own_rows: NDArray[np.int32]
    ) -> csr_array:
        """nearest() over the rows that share a column with the query, a bounded number of products at a time."""
        found = []
        for start, stop in _chunks(_costs(queries, self.postings), SPARSE_PRODUCTS):
            products = csr_array(queries[start:stop] @ self.postings)
            rows = np.repeat(np.arange(start, stop), np.diff(products.indptr))
            if self.centred:
                products.data -= means[rows] * self._offsets[products.indices]
            products.data[(products.indices == own_rows[rows]) | (products.data < 0)] = 0.0
            products.eliminate_zeros()
            products.data = _rounded(products.data)
            found.append(keep_largest_per_row(products, k))
        return csr_array(vstack(found, format="csr"))


def product_bytes(n_rows: int) -> float:
    """Upper bound of the bytes of NeighbourIndex.nearest for a block of queries, besides the matrices."""
    if n_rows > DENSE_ROWS:
        return 64.0 * (SPARSE_PRODUCTS + n_rows)
    return 16.0 * BLOCK * n_rows + 16.0 * (SUMMED_PRODUCTS + n_rows)


def dense_product(left: csr_array, right: csr_array) -> NDArray[np.float32]:
    """left @ right, (n, m) dense, of two sparse matrices, some rows at a time.

    For each row of the result, the rows of `right` that it needs are placed at the offset of that row; then one
    product sums over scattered positions. A sparse product would also maintain lists of the columns it has met.
    """
    n_columns = right.shape[1]
    product = np.empty((left.shape[0], n_columns), dtype=np.float32)
    costs = _costs(left, right) + n_columns * np.arange(left.shape[0] + 1)  # plus one per element of the result
    for start, stop in _chunks(costs, SUMMED_PRODUCTS):
        entries = slice(left.indptr[start], left.indptr[stop])
        met = right[left.indices[entries]]
        result_rows = np.repeat(np.arange(stop - start), np.diff(left.indptr[start : stop + 1]))
        starts = (result_rows * n_columns).astype(met.indices.dtype)
        places = met.indices + np.repeat(starts, np.diff(met.indptr))
        scattered = csc_array((met.data, places, met.indptr), shape=((stop - start) * n_columns, len(starts)))
        product[start:stop] = (scattered @ left.data[entries]).reshape(-1, n_columns)
    return product


def _costs(left: csr_array, right: csr_array) -> NDArray[np.int64]:
    """(n + 1,): the number of multiplications of left @ right before each of its n rows, and in total."""
    products = np.cumsum(np.diff(right.indptr)[left.indices], dtype=np.int64)
    return np.asarray(np.concatenate([[0], products])[left.indptr])


def _chunks(costs: NDArray[np.int64], limit: int) -> list[tuple[int, int]]:
    """Start and end of chunks of rows that cost about `limit` each, or of one row that costs more."""
    cuts = (np.flatnonzero(np.diff(costs[:-1] // limit)) + 1).tolist()
    return list(zip([0, *cuts], [*cuts, len(costs) - 1], strict=True))


def _rounded(products: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rounds the array in place to 17 significant bits and returns it."""
    bits = products.view(np.int32)
    bits += ROUNDING // 2
    bits &= ~np.int32(ROUNDING - 1)
    return products
