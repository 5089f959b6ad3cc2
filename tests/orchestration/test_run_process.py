"""The process of a run: one run at a time writes a data set, and a run without its process is found."""

import os
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from orchestration import run_process
from orchestration.jobs import PARTITION_TAG
from orchestration.run_process import PID_TAG, RunLake, is_alive, lost_runs, process_tag


def run(tmp_path: Path, dataset: str, inside: threading.Event, go_on: threading.Event, instance: dg.DagsterInstance):
    """A run of one asset, in a thread; the asset sets `inside` and waits for `go_on`."""

    @dg.asset
    def slow() -> None:
        inside.set()
        assert go_on.wait(30)

    def execute() -> None:
        tags, resources = {PARTITION_TAG: dataset}, {"io_manager": RunLake(root=str(tmp_path / "lake"))}
        assert dg.materialize([slow], instance=instance, tags=tags, resources=resources).success

    thread = threading.Thread(target=execute)
    thread.start()
    return thread


def test_a_second_run_waits_for_the_first_one_and_a_run_of_another_data_set_does_not(tmp_path: Path) -> None:
    first, second, other, go_on, free = (threading.Event() for _ in range(5))
    free.set()
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        one = run(tmp_path, "shop", first, go_on, instance)
        assert first.wait(30)
        two = run(tmp_path, "shop", second, free, instance)
        three = run(tmp_path, "other", other, free, instance)
        assert other.wait(30)
        three.join(30)
        assert not second.wait(0.5)
        go_on.set()
        assert second.wait(30)
        one.join(30)
        two.join(30)
        runs = instance.get_runs()
        assert {run.tags[PID_TAG] for run in runs} == {process_tag(os.getpid())}
        waits = [
            run.run_id for run in runs for e in instance.all_logs(run.run_id) if "another run writes" in e.user_message
        ]
        assert len(waits) == 1


def test_a_run_whose_process_is_gone_is_lost() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    tag = process_tag(process.pid)
    assert is_alive(tag)

    @dg.job
    def job() -> None:
        pass

    with dg.DagsterInstance.ephemeral() as instance:
        for tags in ({PID_TAG: tag}, {}):  # the second one is starting
            instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags=tags)
        assert lost_runs(instance) == []
        process.communicate(b"\n", timeout=30)
        assert not is_alive(tag)
        assert [run.tags for run in lost_runs(instance)] == [{PID_TAG: tag}]
    assert not is_alive("1@0.00")
    assert not is_alive("")


def test_a_run_that_was_taken_from_the_queue_and_got_no_process_is_lost_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The daemon was killed between the two. No other run of the queue would ever start."""

    @dg.job
    def job() -> None: ...

    statuses = (dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.NOT_STARTED)
    with dg.DagsterInstance.ephemeral() as instance:
        starting, created = (instance.create_run_for_job(job, status=status) for status in statuses)
        assert lost_runs(instance) == []
        monkeypatch.setattr(run_process, "STARTING", timedelta(0))
        assert [run.run_id for run in lost_runs(instance)] == [starting.run_id]
        instance.add_run_tags(created.run_id, {PID_TAG: "1@0.00"})  # of the command line, which was killed
        assert {run.run_id for run in lost_runs(instance)} == {starting.run_id, created.run_id}
