"""Groups of different lengths, one after the other in one array."""

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64] | NDArray[np.int32]


def joined_ranges(first: Integers | int, counts: Integers) -> NDArray[np.int64]:
    """The integers first, first + 1, ... of each range, counts of them, one range after the other; (sum of counts,).

    With first 0: the number of each entry in its group.
    """
    ends = np.cumsum(counts, dtype=np.int64)
    joined: NDArray[np.int64] = np.arange(ends[-1] if len(ends) else 0) + np.repeat(first - ends + counts, counts)
    return joined


def expand_ranges(first: NDArray[np.int64], stop: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The integers first <= i < stop of each range, one range after the other: (range number, integer) of each."""
    counts = stop - first
    return np.repeat(np.arange(len(counts)), counts), joined_ranges(first, counts)
