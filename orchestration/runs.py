"""Runs of the graph in this process, on the same instance that the web pages and the daemon use."""

import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

import dagster as dg
import psutil
from dagster._core.errors import DagsterAssetCheckFailedError, DagsterExecutionInterruptedError

from orchestration.graph import definitions
from orchestration.jobs import RETRAINING
from orchestration.settings import Settings
from recommenders.errors import TradewindError

PID_TAG = "tradewind/pid"  # which process executes a run in itself


class RunFailedError(TradewindError):
    """A run that did not succeed for a reason that the platform found itself, such as a failed check."""


@dataclass(frozen=True)
class Run:
    """A run that succeeded: its id and the seconds each step took."""

    run_id: str
    seconds: dict[str, float]


def materialise(settings: Settings, assets: Sequence[str] = (), cause: str = "command line") -> Run:
    """Materialises assets (all of them by default) of the settings' data set, with their checks.

    Raises the TradewindError that stopped a step, or RunFailedError that names the check which did.
    """
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("tradewind.alerts").addHandler(logging.NullHandler())  # a run's own log tells of them
    job = definitions(settings).resolve_job_def(RETRAINING)
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        started = time.perf_counter()
        try:
            result = job.execute_in_process(
                instance=instance,
                partition_key=settings.dataset,
                run_config={"loggers": {"console": {}}},
                asset_selection=[dg.AssetKey(name) for name in assets] or None,
                tags={"cause": cause, PID_TAG: this_process(os.getpid())},
            )
        except DagsterExecutionInterruptedError:
            raise KeyboardInterrupt from None
        except Exception as error:
            raise root_cause(error) from error
        stats = instance.get_run_step_stats(result.run_id)
    seconds = {s.step_key: s.end_time - s.start_time for s in stats if s.end_time and s.start_time}
    return Run(result.run_id, {**seconds, "run": time.perf_counter() - started})


def this_process(pid: int) -> str:
    """A process's id with the moment it started, because ids are used again."""
    return f"{pid}@{psutil.Process(pid).create_time():.2f}"


def upstream(settings: Settings, *assets: str) -> list[str]:
    """The assets and all that they are made from."""
    graph = definitions(settings).resolve_asset_graph()
    selection = dg.AssetSelection.assets(*assets).upstream().required_multi_asset_neighbors()
    return sorted(key.to_user_string() for key in selection.resolve(graph))


def root_cause(error: BaseException) -> BaseException:
    """The first TradewindError below Dagster's wrapping; a failed blocking check as RunFailedError; else the error."""
    cause: BaseException | None = error
    seen: set[int] = set()  # Dagster chains errors in rings
    while cause is not None and id(cause) not in seen:
        if isinstance(cause, TradewindError):
            return cause
        if isinstance(cause, DagsterAssetCheckFailedError):
            return RunFailedError(str(cause))
        seen.add(id(cause))
        cause = cause.__cause__ or cause.__context__
    return error
