"""A cache in the memory of one process. Where it is full, the entries go first that were not read for longest."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

ENTRY_BYTES = 400  # of an entry besides the characters of its key and its content


class InProcessCache:
    """Key -> content. Threads may share it."""

    def __init__(self, max_bytes: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """seconds: how long an entry is used."""
        self._max_bytes, self._seconds, self._clock = max_bytes, seconds, clock
        self._entries: OrderedDict[str, tuple[float, bytes]] = OrderedDict()  # the one that was read last is the last
        self._lock = threading.Lock()
        self.n_bytes = 0

    def get(self, key: str) -> bytes | None:
        """The content; None if there is none, or it is too old."""
        with self._lock:
            found = self._entries.get(key)
            if found is None:
                return None
            if self._clock() >= found[0]:
                self._remove(key)
                return None
            self._entries.move_to_end(key)
            return found[1]

    def put(self, key: str, content: bytes) -> None:
        """Stores a content, unless it is larger than the cache."""
        size = _size(key, content)
        with self._lock:
            self._remove(key)
            if size > self._max_bytes:
                return
            while self.n_bytes + size > self._max_bytes:
                self._remove(next(iter(self._entries)))
            self._entries[key] = self._clock() + self._seconds, content
            self.n_bytes += size

    def forget(self, prefix: str) -> None:
        """Removes all entries whose keys begin so."""
        with self._lock:
            for key in [key for key in self._entries if key.startswith(prefix)]:
                self._remove(key)

    def _remove(self, key: str) -> None:
        found = self._entries.pop(key, None)
        if found is not None:
            self.n_bytes -= _size(key, found[1])


def _size(key: str, content: bytes) -> int:
    return len(key) + len(content) + ENTRY_BYTES
