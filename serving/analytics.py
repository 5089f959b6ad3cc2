"""What the service did lately: counters, and a ring of the newest latencies.

O(1) and a short lock per request.
"""

import threading
import time
from array import array
from collections import Counter
from collections.abc import Sequence
from typing import Any

RING = 8192  # newest requests that percentiles and rates are taken from
RATE_WINDOW = 60.0  # seconds


class Recorder:
    """Counts every answer to POST /predict. Safe to share between threads."""

    def __init__(self, size: int = RING) -> None:
        self._lock = threading.Lock()
        self._size = size
        self._latencies = array("d", bytes(8 * size))  # milliseconds
        self._moments = array("d", bytes(8 * size))  # monotonic seconds, the end of each request
        self._requests = 0
        self._statuses: Counter[int] = Counter()
        self._strategies: Counter[str] = Counter()
        self._versions: Counter[str] = Counter()
        self._since = time.time()
        self._start = time.monotonic()

    def record(self, status: int, milliseconds: float, strategy: str = "", version: str = "") -> None:
        """One answer; strategy and version only where a list was returned."""
        now = time.monotonic()
        with self._lock:
            place = self._requests % self._size
            self._latencies[place], self._moments[place] = milliseconds, now
            self._requests += 1
            self._statuses[status] += 1
            if strategy:
                self._strategies[strategy] += 1
                self._versions[version] += 1

    def summary(self) -> dict[str, Any]:
        """JSON-ready figures.

        Percentiles are of the newest requests, None before the first; times are UTC.
        """
        now = time.monotonic()
        with self._lock:
            held = min(self._requests, self._size)
            latencies, moments = list(self._latencies[:held]), list(self._moments[:held])
            counts = {str(status): n for status, n in sorted(self._statuses.items())}
            figures: dict[str, Any] = {"requests": self._requests}
            strategies, versions = dict(self._strategies), dict(self._versions)
        latencies.sort()
        return {
            **figures,
            "errors": sum(n for status, n in counts.items() if int(status) >= 400),
            "statuses": counts,
            "latency_ms": {f"p{share}": percentile(latencies, share / 100) for share in (50, 95, 99)},
            "requests_per_second": self._rate(moments, now),
            "strategies": strategies,
            "versions": versions,
            "since": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._since)),
            "seconds": round(now - self._start, 1),
        }

    def _rate(self, moments: list[float], now: float) -> float:
        """Requests a second over the last minute, or over as much of it as the ring and the uptime reach."""
        begin = max(now - RATE_WINDOW, self._start)
        if len(moments) == self._size:
            begin = max(begin, min(moments))
        return round(sum(moment >= begin for moment in moments) / max(now - begin, 1.0), 3)


def percentile(values: Sequence[float], share: float) -> float | None:
    """The nearest-rank percentile of ascending values, None if there are none."""
    if not values:
        return None
    return round(values[min(int(share * len(values)), len(values) - 1)], 3)
