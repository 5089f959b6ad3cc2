"""scipy's private product adds the ranges and nothing else."""

import numpy as np

from recommenders.math.scipy_internals import add_ranges


def test_only_the_ranges_are_read() -> None:
    columns = np.array([0, 1, 2, 3, 3], np.int32)
    values = np.array([1.0, np.nan, 10.0, 100.0, 1000.0], np.float32)  # nan lies between the ranges
    sums = np.array([0.5, 0.0, 0.0, 0.0], np.float32)
    add_ranges(sums, columns, values, np.array([[2, 5], [0, 1]], np.int32), np.array([2.0, 3.0], np.float32))
    assert sums.tolist() == [3.5, 0.0, 20.0, 2200.0]


def test_no_range_adds_nothing() -> None:
    sums, nothing = np.zeros(2, np.float32), np.empty((0, 2), np.int32)
    add_ranges(sums, np.array([1], np.int32), np.ones(1, np.float32), nothing, np.empty(0, np.float32))
    assert not sums.any()
