"""Dagster's daemon for a benchmark: rounds of all sensors and of the queue of runs, until nothing is left to do.

It does what `dagster-daemon` does for them, in a forked process, and ends by SIGKILL at a point if one is given.
"""

import json
import logging
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import dagster as dg
from dagster._core.launcher import DefaultRunLauncher
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import GrpcServerTarget
from dagster._daemon.run_coordinator import QueuedRunCoordinatorDaemon
from dagster._daemon.sensor import execute_sensor_iteration

from measuring.daemon.points import ARMED, POINTS
from monitoring.alerts.configuration import LOG
from monitoring.alerts.listing import channel_states
from orchestration.jobs import QUEUED, STARTED
from orchestration.settings import Settings

LOCATION = "tradewind"
CALM_ROUNDS = 3  # without anything to do, after which a daemon ends
KILLED_ROUNDS = 4  # in which a daemon reaches its point
SECONDS = 1.1  # between rounds: more than the shortest interval of a sensor
MAX_SECONDS = 300.0
SENSOR_POINTS = (  # where Dagster itself can end its daemon, in the order in which a tick passes them
    *("TICK_CREATED", "TICK_HELD", "AUTOMATION_EVALUATIONS_ADDED", "RUN_IDS_RESERVED"),
    *("RUN_CREATED", "RUN_LAUNCHED", "RUN_IDS_ADDED_TO_EVALUATIONS"),
)
TICK_POINTS = SENSOR_POINTS[:2]  # those of a sensor that starts no run
QUEUE_POINTS = ("run taken from the queue", "process of the run started")
REACTION_POINT = "reaction stored"  # of a sensor of run statuses, before its cursor is stored


def kill() -> None:
    """Ends this process by SIGKILL."""
    os.kill(os.getpid(), signal.SIGKILL)


def in_fork(function: Callable[[], Any]) -> tuple[int, Any]:
    """Calls a function in a forked process: (the signal that ended it or 0, the result).

    So each call opens its stores anew, as a process of the platform does. Raises RuntimeError if the function raises.
    """
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        os.dup2(2, 1)  # only the table is on the standard output
        try:
            os.write(write, json.dumps(function()).encode())
            status = 0
        except Exception:
            logging.exception("a forked process failed")
        finally:
            os._exit(status)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        text = pipe.read()
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if ended > 0:
        raise RuntimeError("a forked process failed; its error is above")
    return -ended, json.loads(text) if text else None


def arm(settings: Settings, sensor: str, point: str) -> dict[str, dict[str, int]]:
    """Prepares the end of this process at a point; returns the flags of Dagster's own points."""
    if point in SENSOR_POINTS:
        return {sensor: {point: signal.SIGKILL}}
    if point in POINTS:
        (settings.home / ARMED).write_text(json.dumps({"point": point, "daemon": os.getpid()}))
    elif point == REACTION_POINT:
        _replace(dg.DagsterInstance, "report_engine_event", before=False)
    elif point in QUEUE_POINTS:
        _replace(DefaultRunLauncher, "launch_run", before=point == QUEUE_POINTS[0])
    return {}


def _replace(owner: Any, name: str, before: bool) -> None:
    """A function that ends the process before or after its work."""
    function = getattr(owner, name)

    def killing(*arguments: Any, **options: Any) -> None:
        if not before:
            function(*arguments, **options)
        kill()

    setattr(owner, name, killing)


def run_daemon(settings: Settings, port: int, sensor: str = "", point: str = "", rounds: int = 0) -> int:
    """Makes rounds until nothing is left to do, or at most `rounds`; returns their number.

    Raises RuntimeError if the code server is not there, TimeoutError after MAX_SECONDS.
    point: where the process ends. sensor: to which a point of Dagster's own belongs.
    """
    flags, began, calm, done = arm(settings, sensor, point), time.monotonic(), 0, 0
    queue = QueuedRunCoordinatorDaemon(interval_seconds=1)
    target = GrpcServerTarget(host="127.0.0.1", port=port, socket=None, location_name=LOCATION)
    logger = logging.getLogger("dagster.daemon")
    with (
        dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance,
        WorkspaceProcessContext(instance, target) as workspace,
    ):
        if error := workspace.create_request_context().get_code_location_entries()[LOCATION].load_error:
            raise RuntimeError(f"the code server is not there: {error.message}")
        while calm < CALM_ROUNDS and (not rounds or done < rounds):
            if time.monotonic() - began > MAX_SECONDS:
                raise TimeoutError(f"the daemon still has something to do after {MAX_SECONDS:g} seconds")
            time.sleep(SECONDS)
            n_runs = instance.get_runs_count()
            for _ in execute_sensor_iteration(workspace, logger, None, None, debug_crash_flags=flags):
                pass
            for _ in queue.run_iteration(workspace):
                pass
            idle = n_runs == instance.get_runs_count() and not is_busy(instance, settings)
            calm, done = calm + 1 if idle else 0, done + 1
    return done


def is_busy(instance: dg.DagsterInstance, settings: Settings) -> bool:
    """Whether a run has not ended, or an alert is not sent."""
    if instance.get_runs_count(dg.RunsFilter(statuses=[*QUEUED, *STARTED])):
        return True
    return any(state.held or state.waiting for state in channel_states(settings.alerts.outbox, [LOG]))
