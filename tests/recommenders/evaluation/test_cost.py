"""The cost of a fit: memory and seconds."""

import mmap
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from recommenders.evaluation import cost
from recommenders.evaluation.cost import Cost, measure

HELD = 60_000_000  # bytes


def hold() -> int:
    with mmap.mmap(-1, HELD) as memory:  # from the system, because an allocator may reuse freed memory
        array = np.frombuffer(memory, dtype=np.float64)
        array[:] = 1.0
        time.sleep(0.1)
        length = len(array)
        del array
    return length


@pytest.mark.parametrize("kernel_reports", [True, False])
def test_memory_that_was_freed_counts(kernel_reports: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not kernel_reports:
        monkeypatch.setattr(cost, "_highest_peak", lambda: 0)
    _, nothing = measure(lambda: time.sleep(0.05))
    length, found = measure(hold)
    assert length == HELD // 8
    assert found.peak_mb - nothing.peak_mb > 0.9 * HELD / 1e6
    assert 0.1 <= found.seconds < 60
    assert found.peak_mb == pytest.approx((psutil.Process().memory_info().rss + HELD) / 1e6, rel=0.3)


def test_the_peak_of_the_kernel_is_read_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    if cost.STATUS.exists():
        assert cost._highest_peak() == pytest.approx(
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, rel=5e-4
        )
    monkeypatch.setattr(cost, "STATUS", tmp_path / "status")
    assert cost._highest_peak() == 0
    (tmp_path / "status").write_text("Name:\tpython\nVmHWM:\t     100 kB\nVmRSS:\t      90 kB\n")
    assert cost._highest_peak() == 102_400
    (tmp_path / "status").write_text("Name:\tpython\n")
    assert cost._highest_peak() == 0


def test_a_peak_before_the_fit_does_not_count() -> None:
    hold()
    _, found = measure(lambda: time.sleep(0.05))
    _, again = measure(hold)
    assert again.peak_mb - found.peak_mb > 0.9 * HELD / 1e6


def test_the_cost_of_an_ensemble_includes_its_base_models() -> None:
    assert Cost(1.0, 50.0).with_base_models([Cost(2.0, 90.0), Cost(3.0, 40.0)]) == Cost(6.0, 90.0)
    assert Cost(1.0, 50.0).with_base_models([]) == Cost(1.0, 50.0)
