"""What the processes of the workers use: seconds of the processors, and memory. Read when Prometheus asks."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.multiprocess import mark_process_dead
from prometheus_client.registry import Collector

GAUGES = "gauge_livesum_"  # prometheus_client's file of a worker's gauges: GAUGES + process id + ".db"


class WorkerProcesses(Collector):
    """The sums over all workers of this service."""

    def __init__(self, folder: Path | None) -> None:
        """folder: shared by all workers; None if there is only one."""
        self._folder = folder

    def collect(self) -> Iterator[Metric]:
        """Yields the metrics. A worker that ended keeps its processor time, where the system counts it (Linux)."""
        workers, seconds, memory = 0, 0.0, 0.0
        for pid in self._pids():
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                memory += process.memory_info().rss
                seconds += sum(process.cpu_times()[:2])  # user, system
                workers += 1
        if self._folder:
            ended = psutil.Process(os.getppid()).cpu_times()
            seconds += ended.children_user + ended.children_system
        yield GaugeMetricFamily("tradewind_workers", "Processes of the service that answer requests.", workers)
        yield GaugeMetricFamily("tradewind_workers_resident_memory_bytes", "Memory of all workers.", memory)
        yield CounterMetricFamily("tradewind_workers_cpu_seconds", "Processor time of all workers.", seconds)

    def _pids(self) -> list[int]:
        """The process ids of the workers. The gauges of those that ended are removed, so that they count no more."""
        if self._folder is None:
            return [os.getpid()]
        found = [int(path.stem.removeprefix(GAUGES)) for path in self._folder.glob(f"{GAUGES}*.db")]
        ended = {pid for pid in found if not psutil.pid_exists(pid)}
        for pid in ended:
            mark_process_dead(pid, str(self._folder))  # type: ignore[no-untyped-call]
        return [pid for pid in found if pid not in ended]
