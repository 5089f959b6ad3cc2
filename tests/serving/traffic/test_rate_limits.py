"""A limit over time, and one limit for several processes."""

import multiprocessing
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.traffic.rate_limits import RateLimits


def test_a_burst_then_the_rate():
    limits = RateLimits()
    assert [limits.seconds_to_wait("a", 10, 3, 100.0) for _ in range(3)] == [0, 0, 0]
    assert limits.seconds_to_wait("a", 10, 3, 100.0) == pytest.approx(0.1)
    assert limits.seconds_to_wait("a", 10, 3, 100.05) == pytest.approx(0.05)  # a refused request costs nothing
    assert limits.seconds_to_wait("a", 10, 3, 100.1) == 0
    assert limits.seconds_to_wait("a", 10, 3, 100.1) > 0
    assert [limits.seconds_to_wait("a", 10, 3, 200.0) for _ in range(4)][:3] == [0, 0, 0]  # no more than the burst


def test_keys_do_not_share_a_limit():
    limits = RateLimits()
    assert limits.seconds_to_wait("a", 1, 1, 5.0) == 0
    assert limits.seconds_to_wait("a", 1, 1, 5.0) == 1
    assert limits.seconds_to_wait("b", 1, 1, 5.0) == 0


@given(st.lists(st.floats(0, 2), max_size=60), st.floats(0.5, 50), st.integers(1, 20))
def test_in_any_time_no_more_than_the_burst_and_the_rate(pauses, per_second, at_once):
    limits, now, admitted = RateLimits(), 1000.0, []
    for pause in pauses:
        now += pause
        if not limits.seconds_to_wait("a", per_second, at_once, now):
            admitted.append(now)
    for first in range(len(admitted)):
        for last in range(first, len(admitted)):
            assert last - first + 1 <= at_once + (admitted[last] - admitted[first]) * per_second + 1e-6


def admitted_of(folder: Path, n_requests: int) -> int:
    limits = RateLimits(folder)
    return sum(not limits.seconds_to_wait("a", 0.001, 500, time.monotonic()) for _ in range(n_requests))


def test_processes_share_a_limit(tmp_path):
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        admitted = pool.starmap(admitted_of, [(tmp_path, 400)] * 3)
    assert sum(admitted) == 500
