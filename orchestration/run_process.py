"""The process of a run: its tag, the lock of the data set that it writes, and the runs whose process is gone.

Dagster executes all steps of a run in one process. Its queue starts one run at a time, but a run of the command line is
not in the queue. So each run holds the lock of its data set from its first step to its last.
"""

import os
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import psutil

from orchestration.io_manager import Lake
from orchestration.jobs import PARTITION_TAG, STARTED
from recommenders.storage.locks import locked

PID_TAG = "tradewind/pid"  # the process that executes a run
STARTING = timedelta(minutes=10)  # the longest time from the start of a run to the first step of its process
LOCK = ".run.lock"  # in the folder of a data set


def run_lock(lake: Path, dataset: str) -> Path:
    """The file that a run of a data set locks."""
    return lake / dataset / LOCK


def process_tag(pid: int) -> str:
    """A process id with its start time, because the system uses ids again."""
    return f"{pid}@{psutil.Process(pid).create_time():.2f}"


def is_alive(tag: str) -> bool:
    """Whether the process of a process_tag() is still running."""
    pid, _, _ = tag.partition("@")
    try:
        return pid.isdecimal() and process_tag(int(pid)) == tag
    except psutil.Error:
        return False


def lost_runs(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    """The started runs whose process is gone, and those of the command line that were killed before they started.

    A started run without a tag has not begun its first step. It is lost after STARTING: the daemon was killed after it
    took the run from the queue and before it started a process, or the process was killed before its first step.
    """
    records = instance.get_run_records(dg.RunsFilter(statuses=[dg.DagsterRunStatus.NOT_STARTED, *STARTED]))
    return [record.dagster_run for record in records if is_lost(record, datetime.now(UTC))]


def is_lost(record: dg.RunRecord, now: datetime) -> bool:
    """Whether the process of a run is gone. A run that a sensor has created has none until it is started."""
    run = record.dagster_run
    if PID_TAG in run.tags:
        return not is_alive(run.tags[PID_TAG])
    return run.status is not dg.DagsterRunStatus.NOT_STARTED and now - record.update_timestamp > STARTING


class RunLake(Lake):
    """The lake of a run, which writes a data set only while no other run does."""

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Generator[Lake, None, None]:
        """Tags the run with its process, and holds the lock of its data set, if it has one; waits for another run."""
        run, instance = context.run, context.instance
        if run is not None and instance is not None:
            instance.add_run_tags(run.run_id, {PID_TAG: process_tag(os.getpid())})
        if run is None or (dataset := run.tags.get(PARTITION_TAG)) is None:
            yield self
            return

        def log_wait() -> None:
            if context.log is not None:
                context.log.info(f"another run writes the data set {dataset}; waiting for its end")

        with locked(run_lock(Path(self.root), dataset), on_wait=log_wait):
            yield self
