"""Runs of the graph in this process, on the same instance that the web pages and the daemon use."""

import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

import dagster as dg
import psutil
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.definitions.repository_definition import SINGLETON_REPOSITORY_NAME
from dagster._core.errors import DagsterAssetCheckFailedError, DagsterExecutionInterruptedError
from dagster._core.execution.api import execute_run
from dagster._core.remote_origin import RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.storage.tags import PARTITION_NAME_TAG
from dagster._core.workspace.load import location_origins_from_yaml_paths

from orchestration.definitions import definitions
from orchestration.jobs import RETRAINING
from orchestration.settings import Settings
from recommenders.errors import TradewindError
from serving.settings import PROJECT

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
        # Not job.execute_in_process(), whose runs know no code location: Dagster's timeline leaves those out.
        run = instance.create_run_for_job(
            job,
            run_config={"loggers": {"console": {}}},
            asset_selection=frozenset(dg.AssetKey(name) for name in assets) or None,
            tags={PARTITION_NAME_TAG: settings.dataset, "cause": cause, PID_TAG: this_process(os.getpid())},
            remote_job_origin=origin(job.name),
        )
        try:
            execute_run(InMemoryJob(job), run, instance, raise_on_error=True)
        except DagsterExecutionInterruptedError:
            raise KeyboardInterrupt from None
        except Exception as error:
            raise root_cause(error, failed_checks(instance, run.run_id)) from error
        stats = instance.get_run_step_stats(run.run_id)
    seconds = {s.step_key: s.end_time - s.start_time for s in stats if s.end_time and s.start_time}
    return Run(run.run_id, {**seconds, "run": time.perf_counter() - started})


def origin(job: str) -> RemoteJobOrigin:
    """Where Dagster's pages find a job: the code location that workspace.yaml names."""
    (location,) = location_origins_from_yaml_paths([str(PROJECT / "workspace.yaml")])
    return RemoteRepositoryOrigin(location, SINGLETON_REPOSITORY_NAME).get_job_origin(job)


def failed_checks(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    """What each check that stopped a run found."""
    events = instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    found = [event.get_dagster_event().asset_check_evaluation_data for event in events]
    stops = [one for one in found if one.blocking and not one.passed and one.severity is dg.AssetCheckSeverity.ERROR]
    return [f"check {one.check_name} failed: {one.description}" for one in stops]


def this_process(pid: int) -> str:
    """A process's id with the moment it started, because ids are used again."""
    return f"{pid}@{psutil.Process(pid).create_time():.2f}"


def upstream(settings: Settings, *assets: str) -> list[str]:
    """The assets and all that they are made from."""
    graph = definitions(settings).resolve_asset_graph()
    selection = dg.AssetSelection.assets(*assets).upstream().required_multi_asset_neighbors()
    return sorted(key.to_user_string() for key in selection.resolve(graph))


def root_cause(error: BaseException, failed: Sequence[str] = ()) -> BaseException:
    """The first TradewindError below Dagster's wrapping; a failed blocking check as RunFailedError; else the error.

    failed: what the checks that failed found, which Dagster's own error does not say.
    """
    cause: BaseException | None = error
    seen: set[int] = set()  # Dagster chains errors in rings
    while cause is not None and id(cause) not in seen:
        if isinstance(cause, TradewindError):
            return cause
        if isinstance(cause, DagsterAssetCheckFailedError):
            return RunFailedError("; ".join(failed) or str(cause))
        seen.add(id(cause))
        cause = cause.__cause__ or cause.__context__
    return error
