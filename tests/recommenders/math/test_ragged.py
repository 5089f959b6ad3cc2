"""Joined ranges, against the same definition as a loop."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommenders.math.ragged import expand_ranges, joined_ranges

RANGES = st.lists(st.tuples(st.integers(-50, 50), st.integers(0, 5)), max_size=8)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@given(ranges=RANGES)
def test_ranges_are_joined_in_order(dtype: type, ranges: list[tuple[int, int]]) -> None:
    first, counts = np.array(ranges, dtype=dtype).reshape(-1, 2).T
    expected = [(row, start + i) for row, (start, count) in enumerate(ranges) for i in range(count)]
    assert joined_ranges(first, counts).tolist() == [value for _, value in expected]
    rows, values = expand_ranges(first, first + counts)
    assert list(zip(rows.tolist(), values.tolist(), strict=True)) == expected


def test_from_0_they_number_the_entries_of_each_group() -> None:
    assert joined_ranges(0, np.array([2, 0, 3])).tolist() == [0, 1, 0, 1, 2]
