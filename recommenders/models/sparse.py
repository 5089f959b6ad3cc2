"""Sparse matrices as the arrays of a bundle."""

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
