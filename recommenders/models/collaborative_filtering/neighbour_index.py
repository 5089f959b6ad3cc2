"""Which rows of a sparse matrix are most like given ones: products over shared columns, the k largest of each kept."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array, vstack

from recommenders.math.sparse import RowSums, largest_of_rows
from recommenders.math.top_k import top_k
from recommenders.models.recommender import BLOCK

DENSE_ROWS = 65_536  # where more rows than these are compared with, products stay sparse
SPARSE_PRODUCTS = 4_000_000  # multiplications of one sparse product, about
SUMMED_PRODUCTS = 400_000  # of one that becomes dense: few enough to stay in the cache between two looks at them
PRECISION = 1 << 7  # sums in another order differ in their last bits; rounded to this many, equals stay equal


class NeighbourIndex:
    """Rows (n, d), to be asked which are most like a query of length d: by cosine, or by correlation if centred.

    similarity = product / (query length * (row length + shrinkage * typical length)): a row of which little is known
    is not taken for alike because the little agrees. Unobserved entries are zeros, for means and lengths too.
    """

    def __init__(self, rows: csr_array, centred: bool = False, shrinkage: float = 0.0) -> None:
        self.n_rows, self.n_columns = rows.shape
        self.centred = centred
        entry_rows = np.repeat(np.arange(self.n_rows), np.diff(rows.indptr))
        means, lengths = self._moments(entry_rows, rows.data, self.n_rows)
        damped = lengths + shrinkage * np.sqrt((lengths**2).mean() if self.n_rows else 0.0)
        scales = np.divide(1.0, damped, out=np.zeros_like(damped), where=lengths > 0)
        data = (rows.data * scales[entry_rows]).astype(np.float32)
        self.postings: csr_array = csr_array(csr_array((data, rows.indices, rows.indptr), shape=rows.shape).T)  # (d, n)
        self._sums = RowSums(self.postings)
        offsets = self.n_columns * means * scales  # times a query's mean: what centring takes
        self._offsets = offsets.astype(np.float32)

    def _moments(
        self, entry_rows: NDArray[np.int64], values: NDArray[np.float32], n_rows: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Means of the rows (0 unless centred), and lengths around them; (n_rows,) each."""
        lengths = np.bincount(entry_rows, values.astype(np.float64) ** 2, minlength=n_rows)
        if not self.centred:
            return np.zeros(n_rows), np.sqrt(lengths)
        means = np.bincount(entry_rows, values, minlength=n_rows) / max(self.n_columns, 1)
        return means, np.sqrt(np.maximum(lengths - self.n_columns * means**2, 0.0))

    def nearest_of_one(
        self, columns: NDArray[np.int64], values: NDArray[np.float32], k: int, itself: int = -1
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """At most k rows, the most similar first, and their similarities, for a query with those values in columns.

        The row `itself` is left out; who is unlike is no neighbour and has similarity 0.
        """
        exact = values.astype(np.float64)
        mean = float(exact.sum()) / max(self.n_columns, 1) if self.centred else 0.0
        length = max(float(exact @ exact) - self.n_columns * mean**2, 0.0) ** 0.5
        similarities = self._sums(columns, values / np.float32(max(length, 1e-30)))
        if self.centred:
            similarities -= np.float32(mean / max(length, 1e-30)) * self._offsets
        if itself >= 0:
            similarities[itself] = 0.0
        nearest, best = top_k(_rounded(similarities)[None], min(k, self.n_rows))
        return nearest[0], np.maximum(best[0], np.float32(0.0))

    def nearest(self, queries: csr_array, k: int, themselves: NDArray[np.int32]) -> csr_array:
        """(n_queries, n) the k largest similarities above 0 of each query, the row `themselves` (-1: none) left out."""
        queries, means = self._scaled(queries)
        k = min(k, self.n_rows)
        if self.n_rows > DENSE_ROWS:
            return self._nearest_sparse(queries, means, k, themselves)
        similarities = self._similarities(queries, means)
        known = np.flatnonzero(themselves >= 0)
        similarities[known, themselves[known]] = 0.0
        columns, values = top_k(_rounded(similarities), k)
        indptr = np.arange(len(values) + 1) * k
        found = csr_array((np.maximum(values, 0.0).ravel(), columns.ravel(), indptr), shape=similarities.shape)
        found.eliminate_zeros()
        return found

    def similarities(self, queries: csr_array) -> NDArray[np.float32]:
        """(n_queries, n), dense."""
        return self._similarities(*self._scaled(queries))

    def _scaled(self, queries: csr_array) -> tuple[csr_array, NDArray[np.float32]]:
        """The queries divided by their lengths, and the means of these (n_queries,)."""
        rows = np.repeat(np.arange(queries.shape[0]), np.diff(queries.indptr))
        means, lengths = self._moments(rows, queries.data, queries.shape[0])
        factors = 1.0 / np.maximum(lengths, 1e-30)
        data = (queries.data * factors[rows]).astype(np.float32)
        return csr_array((data, queries.indices, queries.indptr), queries.shape), (means * factors).astype(np.float32)

    def _similarities(self, queries: csr_array, means: NDArray[np.float32]) -> NDArray[np.float32]:
        products = dense_product(queries, self.postings)
        if self.centred:
            products -= np.outer(means, self._offsets)
        return products

    def _nearest_sparse(
        self, queries: csr_array, means: NDArray[np.float32], k: int, themselves: NDArray[np.int32]
    ) -> csr_array:
        """Only rows that share a column with the query are looked at, a bounded number of products at a time."""
        found = []
        for start, stop in _parts(_costs(queries, self.postings), SPARSE_PRODUCTS):
            products = csr_array(queries[start:stop] @ self.postings)
            rows = np.repeat(np.arange(start, stop), np.diff(products.indptr))
            if self.centred:
                products.data -= means[rows] * self._offsets[products.indices]
            products.data[(products.indices == themselves[rows]) | (products.data < 0)] = 0.0
            products.eliminate_zeros()
            products.data = _rounded(products.data)
            found.append(largest_of_rows(products, k))
        return csr_array(vstack(found, format="csr"))


def bytes_of_products(n_rows: int) -> float:
    """Bytes that NeighbourIndex.nearest takes at most for a block of queries, beside the matrices."""
    if n_rows > DENSE_ROWS:
        return 64.0 * (SPARSE_PRODUCTS + n_rows)
    return 16.0 * BLOCK * n_rows + 16.0 * (SUMMED_PRODUCTS + n_rows)


def dense_product(left: csr_array, right: csr_array) -> NDArray[np.float32]:
    """left @ right, (n, m) dense, of two sparse matrices, some rows at a time.

    The rows of `right` that a row of the result is made of are laid side by side, each at the place where the result
    has that row: one sum over scattered places. A sparse product would keep lists of what it has met.
    """
    n_columns = right.shape[1]
    product = np.empty((left.shape[0], n_columns), dtype=np.float32)
    costs = _costs(left, right) + n_columns * np.arange(left.shape[0] + 1)  # a place of the result is one more
    for start, stop in _parts(costs, SUMMED_PRODUCTS):
        entries = slice(left.indptr[start], left.indptr[stop])
        met = right[left.indices[entries]]
        result_rows = np.repeat(np.arange(stop - start), np.diff(left.indptr[start : stop + 1]))
        starts = (result_rows * n_columns).astype(met.indices.dtype)
        places = met.indices + np.repeat(starts, np.diff(met.indptr))
        scattered = csc_array((met.data, places, met.indptr), shape=((stop - start) * n_columns, len(starts)))
        product[start:stop] = (scattered @ left.data[entries]).reshape(-1, n_columns)
    return product


def _costs(left: csr_array, right: csr_array) -> NDArray[np.int64]:
    """(n + 1,) the multiplications that left @ right takes before each of its n rows, and in all."""
    products = np.cumsum(np.diff(right.indptr)[left.indices], dtype=np.int64)
    return np.asarray(np.concatenate([[0], products])[left.indptr])


def _parts(costs: NDArray[np.int64], most: int) -> list[tuple[int, int]]:
    """Start and end of runs of rows that cost about `most` each, or of one row that costs more."""
    cuts = (np.flatnonzero(np.diff(costs[:-1] // most)) + 1).tolist()
    return list(zip([0, *cuts], [*cuts, len(costs) - 1], strict=True))


def _rounded(products: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same array, changed in place, with 17 significant bits."""
    bits = products.view(np.int32)
    bits += PRECISION // 2
    bits &= ~np.int32(PRECISION - 1)
    return products
