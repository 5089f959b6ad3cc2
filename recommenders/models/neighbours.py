"""Which rows of a sparse matrix are most like given ones: products over shared columns, the k largest of each kept."""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from recommenders.models.recommender import BLOCK
from recommenders.models.sparse import largest_of_rows, weighted_rows
from recommenders.models.topk import top_k

DENSE_ROWS = 65_536  # where more rows than these are compared with, products stay sparse
SPARSE_PRODUCTS = 4_000_000  # multiplications of one sparse product, about
HEAD_SHARE = 0.08  # a column that such a share of the rows has is faster multiplied dense, zeros included
HEAD_BYTES = 256e6  # of the dense columns, at most
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
        self._offsets = (self.n_columns * means * scales).astype(
            np.float32
        )  # times a query's mean: what centring takes

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
        mean, length = self._moments(np.zeros(len(columns), dtype=np.int64), values, 1)
        similarities = weighted_rows(self.postings, columns, values / max(float(length[0]), 1e-30))
        if self.centred:
            similarities -= np.float32(mean[0] / max(float(length[0]), 1e-30)) * self._offsets
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
        head, dense, tail = self._split
        products: NDArray[np.float32] = (queries @ tail).toarray()
        if len(head):
            products += queries[:, head].toarray() @ dense
        if self.centred:
            products -= np.outer(means, self._offsets)
        return products

    @cached_property
    def _split(self) -> tuple[NDArray[np.int64], NDArray[np.float32], csr_array]:
        """The columns that many rows have, the rows there (n_head, n), and the postings of all other columns."""
        counts = np.diff(self.postings.indptr)
        head = np.flatnonzero(counts > max(HEAD_SHARE * self.n_rows, 1.0))
        head = np.sort(head[np.argsort(-counts[head], kind="stable")][: int(HEAD_BYTES / 4 / max(self.n_rows, 1))])
        rare = np.ones(len(counts), dtype=np.bool_)
        rare[head] = False
        kept = np.repeat(rare, counts)
        indptr = np.concatenate([[0], np.cumsum(np.where(rare, counts, 0))])
        tail = csr_array((self.postings.data[kept], self.postings.indices[kept], indptr), shape=self.postings.shape)
        return head, self.postings[head].toarray(), tail

    def _nearest_sparse(
        self, queries: csr_array, means: NDArray[np.float32], k: int, themselves: NDArray[np.int32]
    ) -> csr_array:
        """Only rows that share a column with the query are looked at, a bounded number of products at a time."""
        costs = np.concatenate([[0], np.cumsum(np.diff(self.postings.indptr)[queries.indices])])[queries.indptr]
        parts = np.flatnonzero(np.diff(costs[:-1] // SPARSE_PRODUCTS)) + 1
        found = []
        for start, stop in zip([0, *parts], [*parts, queries.shape[0]], strict=True):
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
    return 16.0 * BLOCK * n_rows + HEAD_BYTES


def _rounded(products: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same array, changed in place, with 17 significant bits."""
    bits = products.view(np.int32)
    bits += PRECISION // 2
    bits &= ~np.int32(PRECISION - 1)
    return products
