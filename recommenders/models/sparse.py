"""Sparse matrices: as the arrays of a bundle, and sums of their rows without a product's overhead."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

PARTS = ("data", "indices", "indptr")


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
    products = matrix.data[places] * np.repeat(weights, counts)
    return np.bincount(matrix.indices[places], products, minlength=matrix.shape[1]).astype(np.float32)


def largest_of_rows(matrix: csr_array, k: int) -> csr_array:
    """The matrix with only the k largest entries of each row; among equals the first ones stay."""
    counts = np.diff(matrix.indptr)
    rows = np.repeat(np.arange(matrix.shape[0]), counts)
    order = np.lexsort((matrix.indices, -matrix.data, rows))
    kept = order[np.arange(matrix.nnz) - matrix.indptr[rows].astype(np.int64) < k]
    indptr = np.concatenate([[0], np.cumsum(np.minimum(counts, k))])
    return csr_array((matrix.data[kept], matrix.indices[kept], indptr), shape=matrix.shape)
