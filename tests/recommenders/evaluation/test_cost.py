"""What a fit costs: memory that was really held, seconds that really passed."""

import mmap
import time

import numpy as np
import pytest

from recommenders.evaluation import cost
from recommenders.evaluation.cost import Cost, measure

HELD = 60_000_000  # bytes


def hold() -> int:
    with mmap.mmap(-1, HELD) as memory:  # from the system itself: an allocator may have freed memory in stock
        array = np.frombuffer(memory, dtype=np.float64)
        array[:] = 1.0
        time.sleep(0.1)
        length = len(array)
        del array
    return length


@pytest.mark.parametrize("kernel_tells", [True, False])
def test_memory_that_was_freed_again_counts(kernel_tells: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not kernel_tells:
        monkeypatch.setattr(cost, "_highest_peak", lambda: 0)
    _, nothing = measure(lambda: time.sleep(0.05))
    length, found = measure(hold)
    assert length == HELD // 8
    assert found.peak_mb - nothing.peak_mb > 0.9 * HELD / 1e6
    assert found.seconds >= 0.1


def test_a_peak_before_the_fit_does_not_count() -> None:
    hold()
    _, found = measure(lambda: time.sleep(0.05))
    _, again = measure(hold)
    assert again.peak_mb - found.peak_mb > 0.9 * HELD / 1e6


def test_a_blend_costs_what_its_members_cost() -> None:
    assert Cost(1.0, 50.0).after([Cost(2.0, 90.0), Cost(3.0, 40.0)]) == Cost(6.0, 90.0)
    assert Cost(1.0, 50.0).after([]) == Cost(1.0, 50.0)
