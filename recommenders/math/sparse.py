"""Sparse matrices: conversion to and from the arrays of a bundle, and fast weighted sums of their rows."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommenders.math.ragged import joined_ranges

CSR_PARTS = ("data", "indices", "indptr")
TABLE_BYTES = 64e6  # of the dense or padded copy of a matrix, at most
MAX_PADDING = 2.0  # rows padded to one length may have at most this many times their entries
DENSE_ROW_SHARE = 1 / 8  # of a row filled: above it, summing the row as a dense one is faster


def ones(rows: NDArray[Any], columns: NDArray[Any], shape: tuple[int, int]) -> csr_array:
    """CSR float32 with a 1 for each given pair; duplicate pairs count once; columns ascend in each row."""
    matrix = csr_array((np.ones(len(rows), np.float32), (rows, columns)), shape=shape)
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    return matrix


def pack_csr(name: str, matrix: csr_array) -> dict[str, NDArray[Any]]:
    """The matrix as name.data, name.indices, name.indptr and name.shape."""
    parts = {f"{name}.{part}": getattr(matrix, part) for part in CSR_PARTS}
    return {**parts, f"{name}.shape": np.array(matrix.shape, dtype=np.int64)}


def unpack_csr(name: str, arrays: Mapping[str, NDArray[Any]]) -> csr_array:
    """The inverse of pack_csr. Raises KeyError if a part is missing."""
    parts = tuple(arrays[f"{name}.{part}"] for part in CSR_PARTS)
    return csr_array(parts, shape=tuple(arrays[f"{name}.shape"].tolist()))


def row_entries(indptr: NDArray[Any], rows: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions of the entries of some rows in the arrays of a CSR matrix, row by row; and the count of each row."""
    starts = indptr[rows].astype(np.int64)
    counts = indptr[rows + 1] - starts
    return joined_ranges(starts, counts), counts


def weighted_row_sum(matrix: csr_array, rows: NDArray[Any], weights: NDArray[Any]) -> NDArray[np.float32]:
    """(n_columns,) the sum of some rows, each times its weight: a vector times the matrix, for few rows."""
    entries, counts = row_entries(matrix.indptr, rows)
    if not len(entries):
        return np.zeros(matrix.shape[1], dtype=np.float32)
    columns = matrix.indices.take(entries, mode="wrap")  # this mode skips numpy's check of the bounds
    products = matrix.data.take(entries, mode="wrap") * np.repeat(weights, counts)
    return np.bincount(columns, products, minlength=matrix.shape[1]).astype(np.float32)


class RowSums:
    """weighted_row_sum for many calls on one matrix.

    The first call builds a faster layout: rows of similar length are padded to one length, or full rows become dense.
    """

    def __init__(self, matrix: csr_array) -> None:
        self.matrix = matrix

    def __call__(self, rows: NDArray[Any], weights: NDArray[Any]) -> NDArray[np.float32]:
        """(n_columns,) the sum of some rows, each times its weight."""
        if self._padded is not None:
            columns, values = (part.take(rows, axis=0) for part in self._padded)
            values *= weights[:, None]
            return np.bincount(columns.ravel(), values.ravel(), minlength=self.matrix.shape[1]).astype(np.float32)
        positions, dense_rows = self._dense
        where = positions[rows]
        is_dense = where >= 0
        if not is_dense.any():
            return weighted_row_sum(self.matrix, rows, weights)
        sums = weighted_row_sum(self.matrix, rows[~is_dense], weights[~is_dense])
        sums += weights[is_dense].astype(np.float32, copy=False) @ dense_rows.take(where[is_dense], axis=0)
        return sums

    @cached_property
    def _padded(self) -> tuple[NDArray[np.intp], NDArray[np.float32]] | None:
        """Columns and values (n_rows, longest), padded with zeros; None if there would be too many zeros."""
        counts = np.diff(self.matrix.indptr)
        shape = (len(counts), int(counts.max(initial=0)))
        if not 0 < shape[0] * shape[1] <= min(MAX_PADDING * self.matrix.nnz, TABLE_BYTES / 12):
            return None
        columns, values = np.zeros(shape, np.intp), np.zeros(shape, np.float32)
        filled = np.arange(shape[1]) < counts[:, None]
        columns[filled], values[filled] = self.matrix.indices, self.matrix.data
        return columns, values

    @cached_property
    def _dense(self) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """(n_rows,) positions among the dense rows, -1 for none; and the dense rows (n_dense, n_columns)."""
        n_columns, counts = self.matrix.shape[1], np.diff(self.matrix.indptr)
        fullest = np.argsort(-counts, kind="stable")[: int(TABLE_BYTES / 4 / max(n_columns, 1))]
        fullest = fullest[counts[fullest] > DENSE_ROW_SHARE * n_columns]
        positions = np.full(len(counts), -1)
        positions[fullest] = np.arange(len(fullest))
        return positions, self.matrix[fullest].toarray()


def keep_largest_per_row(matrix: csr_array, k: int) -> csr_array:
    """The matrix with only the k largest entries of each row; of equal entries, the first ones are kept."""
    counts = np.diff(matrix.indptr)
    rows = np.repeat(np.arange(matrix.shape[0]), counts)
    order = np.lexsort((matrix.indices, -matrix.data, rows))
    kept = order[np.arange(matrix.nnz) - matrix.indptr[rows].astype(np.int64) < k]
    indptr = np.concatenate([[0], np.cumsum(np.minimum(counts, k))])
    return csr_array((matrix.data[kept], matrix.indices[kept], indptr), shape=matrix.shape)
