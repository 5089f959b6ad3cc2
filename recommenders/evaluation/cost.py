"""The cost of fitting a model: wall-clock seconds and peak memory."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import psutil

Fitted = TypeVar("Fitted")
SAMPLING_SECONDS = 0.01
STATUS = Path("/proc/self/status")


class Cost(NamedTuple):
    """Wall-clock seconds, and the peak memory of the process in that time, in MB of 10^6 bytes.

    The memory is that of the whole process: interpreter, libraries, the log, and earlier models that are still in use.
    So it is an upper bound of the memory of the fit.
    """

    seconds: float
    peak_mb: float

    def with_base_models(self, costs: "list[Cost]") -> "Cost":
        """The cost of an ensemble with its base models: the sum of the seconds, the maximum of the peaks."""
        return Cost(
            self.seconds + sum(cost.seconds for cost in costs),
            max([self.peak_mb, *(cost.peak_mb for cost in costs)]),
        )


def measure(fit: Callable[[], Fitted]) -> tuple[Fitted, Cost]:
    """Returns the result of fit() and its cost.

    A thread samples the resident memory every hundredth of a second, which may miss a shorter peak. Linux records the
    highest peak of a process; if the fit raised it, that exact value is returned.
    """
    before = _highest_peak()
    sampler = _Sampler()
    started = time.perf_counter()
    with sampler:
        fitted = fit()
    seconds = time.perf_counter() - started
    after = _highest_peak()
    return fitted, Cost(seconds, (after if after > before else sampler.peak) / 1e6)


def _highest_peak() -> int:
    """The highest resident memory of the process so far, in bytes; 0 if the system does not report it."""
    lines = STATUS.read_text().splitlines() if STATUS.exists() else []
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")]
    return found[0] if found else 0


class _Sampler:
    """Samples the resident memory of the process in a separate thread while the block runs."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.peak = 0

    def __enter__(self) -> None:
        self._sample()
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._sample()

    def _sample(self) -> None:
        self.peak = max(self.peak, self._process.memory_info().rss)

    def _watch(self) -> None:
        while not self._done.wait(SAMPLING_SECONDS):
            self._sample()
