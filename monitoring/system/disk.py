"""The disk below TRADEWIND_HOME: its size, what is free, and the size of each folder."""

import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

FOLDERS = (  # docs/operations.md describes them; the sizes of all others are summed as "other"
    *("alerts", "bentoml", "champions", "checkpoints", "dagster", "evidently", "feedback", "lake", "lists", "logs"),
    *("mlflow", "reports", "sources"),
)
OTHER = "other"
WALK_SECONDS = 300.0  # between two sums over all files


class HomeDisk:
    """The disk of a home folder. The sum over its files is made again after WALK_SECONDS."""

    def __init__(self, home: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._home, self._clock = home, clock
        self._sizes: Counter[str] = Counter()
        self._due = clock()

    def __call__(self) -> Iterator[Metric]:
        """Yields the metrics. Raises OSError if there is no home folder."""
        disk = shutil.disk_usage(self._home)
        if self._clock() >= self._due:
            self._sizes = folder_sizes(self._home)
            self._due = self._clock() + WALK_SECONDS
        sizes = GaugeMetricFamily("tradewind_home_bytes", "Files below TRADEWIND_HOME, by folder.", labels=["folder"])
        for folder in (*FOLDERS, OTHER):
            sizes.add_metric([folder], self._sizes[folder])
        yield GaugeMetricFamily("tradewind_disk_size_bytes", "Size of the disk with TRADEWIND_HOME.", disk.total)
        yield GaugeMetricFamily("tradewind_disk_free_bytes", "Space that is free on this disk.", disk.free)
        yield sizes


def folder_sizes(home: Path) -> Counter[str]:
    """Folder of FOLDERS, or OTHER -> bytes of its files on disk."""
    sizes: Counter[str] = Counter()
    for entry in os.scandir(home):
        sizes[entry.name if entry.name in FOLDERS else OTHER] += _bytes_of(entry)
    return sizes


def _bytes_of(entry: "os.DirEntry[str]") -> int:
    """The bytes of a file or of a whole folder; those that vanish meanwhile count 0. No link is followed."""
    try:
        if entry.is_dir(follow_symlinks=False):
            with os.scandir(entry.path) as inside:
                return sum(map(_bytes_of, inside))
        return entry.stat(follow_symlinks=False).st_size
    except FileNotFoundError:
        return 0
