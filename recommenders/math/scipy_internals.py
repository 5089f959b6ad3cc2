"""The parts of scipy that have no public name."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import _sparsetools

Integers = NDArray[np.int32] | NDArray[np.int64]


def add_ranges(
    sums: NDArray[np.float32],
    columns: Integers,
    values: NDArray[np.float32],
    ranges: Integers,
    weights: NDArray[np.float32],
) -> None:
    """Adds weight * values[start:end] to sums[columns[start:end]] for each range, in place.

    ranges: (n_ranges, 2) start and end, of the type of the columns. weights: (n_ranges,). The ranges do not overlap; it
    is fast if they descend.

    It is scipy's product of a matrix and a vector, for rows that stay where they are. Between two ranges lies a column
    with the weight 0, which is empty if the ranges descend. A public function would need a copy of the rows.
    """
    if not len(ranges):
        return
    factors = np.zeros(2 * len(ranges) - 1, np.float32)
    factors[::2] = weights
    _sparsetools.csc_matvec(len(sums), len(factors), ranges.ravel(), columns, values, factors, sums)
