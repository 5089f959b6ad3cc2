"""What fitting a model costs: seconds on the clock, and memory at its peak."""

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
    """Seconds of wall clock, and the most memory the process held meanwhile, in MB of 10^6 bytes.

    The memory is that of the whole process: interpreter, libraries, the log, and the models fitted before that are
    still in use. It is therefore an upper bound of what the fit took.
    """

    seconds: float
    peak_mb: float

    def after(self, members: "list[Cost]") -> "Cost":
        """The cost of a blend, its members' included: their seconds in turn, the highest of all peaks."""
        return Cost(
            self.seconds + sum(cost.seconds for cost in members),
            max([self.peak_mb, *(cost.peak_mb for cost in members)]),
        )


def measure(fit: Callable[[], Fitted]) -> tuple[Fitted, Cost]:
    """What fit() returns, and what it cost.

    The resident memory is looked at every hundredth of a second, which may miss a peak that is shorter. Linux keeps the
    highest peak of a process; where the fit moved that one, it is what is told, exactly.
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
    """Bytes resident at most since the process began; 0 where the system does not say."""
    lines = STATUS.read_text().splitlines() if STATUS.exists() else []
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")]
    return found[0] if found else 0


class _Sampler:
    """Looks at the process's resident memory from a thread of its own while the block runs."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.peak = 0

    def __enter__(self) -> None:
        self._look()
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._look()

    def _look(self) -> None:
        self.peak = max(self.peak, self._process.memory_info().rss)

    def _watch(self) -> None:
        while not self._done.wait(SAMPLING_SECONDS):
            self._look()
