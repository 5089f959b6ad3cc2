"""Sparse matrices: conversion to and from the arrays of a bundle, and fast weighted sums of their rows."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommenders.math.ragged import joined_ranges
from recommenders.math.scipy_internals import add_ranges

CSR_PARTS = ("data", "indices", "indptr")
START_AND_END = np.array([0, 1])  # of a row in indptr, relative to its number


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
    """(n_columns,) the sum of some distinct rows, each times its weight: a vector times the matrix, for few rows."""
    order = rows.argsort()[::-1]
    ranges = matrix.indptr.take(np.add.outer(rows.take(order), START_AND_END))
    sums = np.zeros(matrix.shape[1], dtype=np.float32)
    add_ranges(sums, matrix.indices, matrix.data, ranges, weights.take(order))
    return sums


def keep_largest_per_row(matrix: csr_array, k: int) -> csr_array:
    """The matrix with only the k largest entries of each row; of equal entries, the first ones are kept."""
    counts = np.diff(matrix.indptr)
    rows = np.repeat(np.arange(matrix.shape[0]), counts)
    order = np.lexsort((matrix.indices, -matrix.data, rows))
    kept = order[np.arange(matrix.nnz) - matrix.indptr[rows].astype(np.int64) < k]
    indptr = np.concatenate([[0], np.cumsum(np.minimum(counts, k))])
    return csr_array((matrix.data[kept], matrix.indices[kept], indptr), shape=matrix.shape)
