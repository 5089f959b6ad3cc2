"""Sparse matrices: as the arrays of a bundle, and sums of their rows without a product's overhead."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

PARTS = ("data", "indices", "indptr")
TABLE_BYTES = 64e6  # of a matrix laid out for questions, at most
PADDING = 2.0  # rows padded to one length may take so many times their entries
FULL = 1 / 8  # of a row filled: from there on it is summed faster with its zeros


def pack_csr(name: str, matrix: csr_array) -> dict[str, NDArray[Any]]:
    """The matrix as name.data, name.indices, name.indptr and name.shape."""
    parts = {f"{name}.{part}": getattr(matrix, part) for part in PARTS}
    return {**parts, f"{name}.shape": np.array(matrix.shape, dtype=np.int64)}


def unpack_csr(name: str, arrays: Mapping[str, NDArray[Any]]) -> csr_array:
    """The inverse of pack_csr. Raises KeyError if a part is missing."""
    parts = tuple(arrays[f"{name}.{part}"] for part in PARTS)
    return csr_array(parts, shape=tuple(arrays[f"{name}.shape"].tolist()))


def row_places(indptr: NDArray[Any], rows: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the entries of some rows stand in a CSR matrix's arrays, one row after the other; and how many each has."""
    starts = indptr[rows].astype(np.int64)
    counts = indptr[rows + 1] - starts
    ends = np.cumsum(counts)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - ends + counts, counts), counts


def weighted_rows(matrix: csr_array, rows: NDArray[Any], weights: NDArray[Any]) -> NDArray[np.float32]:
    """(n_columns,) the sum of some rows, each times its weight: a vector times the matrix, for few rows."""
    places, counts = row_places(matrix.indptr, rows)
    if not len(places):
        return np.zeros(matrix.shape[1], dtype=np.float32)
    columns = matrix.indices.take(places, mode="wrap")  # which spares numpy the question whether a place is one
    products = matrix.data.take(places, mode="wrap") * np.repeat(weights, counts)
    return np.bincount(columns, products, minlength=matrix.shape[1]).astype(np.float32)


class RowSums:
    """weighted_rows of one matrix, asked again and again.

    What is asked most is laid out at the first question: rows of about one length side by side, or full rows dense.
    """

    def __init__(self, matrix: csr_array) -> None:
        self.matrix = matrix

    def __call__(self, rows: NDArray[Any], weights: NDArray[Any]) -> NDArray[np.float32]:
        """(n_columns,) the sum of some rows, each times its weight."""
        if self._even is not None:
            columns, values = (part.take(rows, axis=0) for part in self._even)
            values *= weights[:, None]
            return np.bincount(columns.ravel(), values.ravel(), minlength=self.matrix.shape[1]).astype(np.float32)
        places, full_rows = self._full
        where = places[rows]
        full = where >= 0
        if not full.any():
            return weighted_rows(self.matrix, rows, weights)
        sums = weighted_rows(self.matrix, rows[~full], weights[~full])
        sums += weights[full].astype(np.float32, copy=False) @ full_rows.take(where[full], axis=0)
        return sums

    @cached_property
    def _even(self) -> tuple[NDArray[np.intp], NDArray[np.float32]] | None:
        """Columns and values (n_rows, longest), padded with zeros; None where that were many."""
        counts = np.diff(self.matrix.indptr)
        shape = (len(counts), int(counts.max(initial=0)))
        if not 0 < shape[0] * shape[1] <= min(PADDING * self.matrix.nnz, TABLE_BYTES / 12):
            return None
        columns, values = np.zeros(shape, np.intp), np.zeros(shape, np.float32)
        filled = np.arange(shape[1]) < counts[:, None]
        columns[filled], values[filled] = self.matrix.indices, self.matrix.data
        return columns, values

    @cached_property
    def _full(self) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """Where each row stands (n_rows,) in the dense ones (n_full, n_columns), -1 where it does not."""
        n_columns, counts = self.matrix.shape[1], np.diff(self.matrix.indptr)
        fullest = np.argsort(-counts, kind="stable")[: int(TABLE_BYTES / 4 / max(n_columns, 1))]
        fullest = fullest[counts[fullest] > FULL * n_columns]
        places = np.full(len(counts), -1)
        places[fullest] = np.arange(len(fullest))
        return places, self.matrix[fullest].toarray()


def largest_of_rows(matrix: csr_array, k: int) -> csr_array:
    """The matrix with only the k largest entries of each row; among equals the first ones stay."""
    counts = np.diff(matrix.indptr)
    rows = np.repeat(np.arange(matrix.shape[0]), counts)
    order = np.lexsort((matrix.indices, -matrix.data, rows))
    kept = order[np.arange(matrix.nnz) - matrix.indptr[rows].astype(np.int64) < k]
    indptr = np.concatenate([[0], np.cumsum(np.minimum(counts, k))])
    return csr_array((matrix.data[kept], matrix.indices[kept], indptr), shape=matrix.shape)
