"""The cache in memory: bounded in bytes, oldest out first, nothing beyond its time."""

import numpy as np
import pytest

from serving.lists.cache.in_process_cache import ENTRY_BYTES, InProcessCache


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_an_entry_is_used_until_its_time_is_over(clock: Clock) -> None:
    cache = InProcessCache(10_000, 5.0, clock)
    cache.put("a", b"x")
    clock.now = 4.9
    assert (cache.get("a"), cache.get("b")) == (b"x", None)
    clock.now = 5.0
    assert (cache.get("a"), cache.n_bytes) == (None, 0)


def test_the_entries_that_were_not_read_for_longest_go_first(clock: Clock) -> None:
    cache = InProcessCache(3 * (ENTRY_BYTES + 2), 5.0, clock)
    for key in "abc":
        cache.put(key, b"x")
    cache.get("a")
    cache.put("d", b"x")
    assert [cache.get(key) for key in "abcd"] == [b"x", None, b"x", b"x"]
    cache.put("e", b"x" * (ENTRY_BYTES + 3))  # as large as two
    assert [cache.get(key) for key in "acde"] == [None, None, b"x", b"x" * (ENTRY_BYTES + 3)]
    cache.put("f", b"x" * 10_000)
    assert (cache.get("f"), cache.get("d")) == (None, b"x")


def test_bytes_are_counted_whatever_happens(clock: Clock) -> None:
    cache, rng = InProcessCache(20_000, 5.0, clock), np.random.default_rng(0)
    for _ in range(3000):
        key, what = f"{rng.integers(4)}:{rng.integers(20)}", rng.random()
        if what < 0.5:
            cache.put(key, b"x" * int(rng.integers(0, 3000)))
        elif what < 0.9:
            cache.get(key)
        elif what < 0.95:
            cache.forget(f"{rng.integers(4)}:")
        else:
            clock.now += 1.0
        counted = sum(len(key) + len(content) + ENTRY_BYTES for key, (_, content) in cache._entries.items())
        assert cache.n_bytes == counted <= 20_000
    for user in range(4):
        cache.forget(f"{user}:")
    assert cache.n_bytes == 0
