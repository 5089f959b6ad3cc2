"""How many requests a key may send: the generic cell rate algorithm (GCRA), a token bucket whose state is one number.

The number is the time at which the bucket is full again. With several workers it is in a file that all of them map
into memory, so a limit is one limit, whichever worker a request reaches. ITU-T I.371.
"""

import fcntl
import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NUMBER = struct.Struct("d")


class RateLimits:
    """The state of the limits of all keys."""

    def __init__(self, folder: Path | None = None) -> None:
        """folder: shared by all workers; None if there is only one."""
        self._folder = folder
        self._slots: dict[str, tuple[mmap.mmap, int | None]] = {}

    def seconds_to_wait(self, name: str, per_second: float, at_once: int, now: float) -> float:
        """0 if a request may be answered, which then counts; else the seconds until the next one may be.

        now: seconds of a clock that all workers share and that never goes back.
        """
        with self._slot(name) as slot:
            full_at: float = max(now, NUMBER.unpack_from(slot)[0]) + 1 / per_second
            wait: float = full_at - at_once / per_second - now
            if wait > 1e-9:  # rounding of the clock's value
                return wait
            NUMBER.pack_into(slot, 0, full_at)
        return 0.0

    @contextmanager
    def _slot(self, name: str) -> Iterator[mmap.mmap]:
        if name not in self._slots:
            self._slots[name] = self._open(name)
        slot, handle = self._slots[name]
        if handle is None:
            yield slot
            return
        fcntl.flock(handle, fcntl.LOCK_EX)
        try:
            yield slot
        finally:
            fcntl.flock(handle, fcntl.LOCK_UN)

    def _open(self, name: str) -> tuple[mmap.mmap, int | None]:
        if self._folder is None:
            return mmap.mmap(-1, NUMBER.size), None
        handle = os.open(self._folder / f"limit-{name}", os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(handle, NUMBER.size)  # keeps the number that another worker wrote
        return mmap.mmap(handle, NUMBER.size), handle
