"""Statistics of the service: counters, and a ring buffer with the latencies of the newest requests.

O(1) and a short lock per request.
"""

import threading
import time
from array import array
from collections import Counter
from collections.abc import Sequence
from typing import Any

WINDOW_SIZE = 8192  # newest requests, from which percentiles and rates are computed
RATE_WINDOW = 60.0  # seconds


class Recorder:
    """Counts every answer to POST /predict. Threads may share it."""

    def __init__(self, size: int = WINDOW_SIZE) -> None:
        self._lock = threading.Lock()
        self._size = size
        self._latencies = array("d", bytes(8 * size))  # milliseconds
        self._end_times = array("d", bytes(8 * size))  # monotonic seconds, the end of each request
        self._requests = 0
        self._statuses: Counter[int] = Counter()
        self._strategies: Counter[str] = Counter()
        self._versions: Counter[str] = Counter()
        self._since = time.time()
        self._start = time.monotonic()

    def record(self, status: int, milliseconds: float, strategy: str = "", version: str = "") -> None:
        """Records one answer; strategy and version only if a list was returned."""
        now = time.monotonic()
        with self._lock:
            slot = self._requests % self._size
            self._latencies[slot], self._end_times[slot] = milliseconds, now
            self._requests += 1
            self._statuses[status] += 1
            if strategy:
                self._strategies[strategy] += 1
                self._versions[version] += 1

    def summary(self) -> dict[str, Any]:
        """The statistics, JSON-ready.

        Percentiles are of the newest requests, None before the first; times are UTC.
        """
        now = time.monotonic()
        with self._lock:
            n_stored = min(self._requests, self._size)
            latencies, end_times = list(self._latencies[:n_stored]), list(self._end_times[:n_stored])
            counts = {str(status): n for status, n in sorted(self._statuses.items())}
            figures: dict[str, Any] = {"requests": self._requests}
            strategies, versions = dict(self._strategies), dict(self._versions)
        latencies.sort()
        return {
            **figures,
            "errors": sum(n for status, n in counts.items() if int(status) >= 400),
            "statuses": counts,
            "latency_ms": {f"p{percent}": percentile(latencies, percent / 100) for percent in (50, 95, 99)},
            "requests_per_second": self._rate(end_times, now),
            "strategies": strategies,
            "versions": versions,
            "since": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._since)),
            "seconds": round(now - self._start, 1),
        }

    def _rate(self, end_times: list[float], now: float) -> float:
        """Requests per second over the last minute; over less if the service or the oldest stored request is newer."""
        begin = max(now - RATE_WINDOW, self._start)
        if len(end_times) == self._size:
            begin = max(begin, min(end_times))
        return round(sum(end_time >= begin for end_time in end_times) / max(now - begin, 1.0), 3)


def percentile(values: Sequence[float], share: float) -> float | None:
    """The nearest-rank percentile of ascending values for a share from 0 to 1; None if there are no values."""
    if not values:
        return None
    return round(values[min(int(share * len(values)), len(values) - 1)], 3)
