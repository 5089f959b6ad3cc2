"""Dagster runs in this process, on the same instance that the web pages and the daemon use."""

import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from orchestration.definitions import definitions
from orchestration.jobs import CAUSE_TAG, PARTITION_TAG, RETRAINING
from orchestration.launcher.dagster_internals import AssetCheckFailedError, create_run, execute
from orchestration.run_process import PID_TAG, process_tag
from orchestration.settings import Settings
from recommenders.errors import TradewindError
from serving.settings import PROJECT


class RunFailedError(TradewindError):
    """A run that failed for a reason which the platform itself found, such as a failed check."""


@dataclass(frozen=True)
class Run:
    """A successful run: its id and the seconds of each step."""

    run_id: str
    seconds: dict[str, float]


def materialise(
    settings: Settings,
    assets: Sequence[str] = (),
    cause: str = "command line",
    *,
    job_name: str = RETRAINING,
    ops: Mapping[str, Any] | None = None,
    **replaced: Any,
) -> Run:
    """Materialises assets of a job (all of them by default) of the settings' data set, with their checks.

    ops: asset -> {"config": its configuration}. replaced: resources, as definitions() takes them. Raises the
    TradewindError that stopped a step, or RunFailedError with the name of the failed check.
    """
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("tradewind.alerts").addHandler(logging.NullHandler())  # the log of the run has them
    job = definitions(settings, **replaced).resolve_job_def(job_name)
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        started = time.perf_counter()
        tags = {PARTITION_TAG: settings.dataset, CAUSE_TAG: cause, PID_TAG: process_tag(os.getpid())}
        run = create_run(instance, job, assets, tags, PROJECT / "workspace.yaml", ops=ops)
        try:
            execute(instance, job, run)
        except dg.DagsterExecutionInterruptedError:
            raise KeyboardInterrupt from None
        except Exception as error:
            raise root_cause(error, failed_checks(instance, run.run_id)) from error
        stats = instance.get_run_step_stats(run.run_id)
    seconds = {s.step_key: s.end_time - s.start_time for s in stats if s.end_time and s.start_time}
    return Run(run.run_id, {**seconds, "run": time.perf_counter() - started})


def failed_checks(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    """The results of the checks that stopped a run, in words."""
    events = instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    found = [event.get_dagster_event().asset_check_evaluation_data for event in events]
    stops = [one for one in found if one.blocking and not one.passed and one.severity is dg.AssetCheckSeverity.ERROR]
    return [f"check {one.check_name} failed: {one.description}" for one in stops]


def upstream(settings: Settings, *assets: str, **replaced: Any) -> list[str]:
    """The names of the assets and of all assets upstream of them. replaced: as materialise() takes them."""
    graph = definitions(settings, **replaced).resolve_asset_graph()
    selection = dg.AssetSelection.assets(*assets).upstream().required_multi_asset_neighbors()
    return sorted(key.to_user_string() for key in selection.resolve(graph))


def root_cause(error: BaseException, failed: Sequence[str] = ()) -> BaseException:
    """The first TradewindError below Dagster's wrapping; a failed blocking check as RunFailedError; else the error.

    failed: the results of the failed checks, which Dagster's own error does not contain.
    """
    cause: BaseException | None = error
    seen: set[int] = set()  # Dagster chains errors in cycles
    while cause is not None and id(cause) not in seen:
        if isinstance(cause, TradewindError):
            return cause
        if isinstance(cause, AssetCheckFailedError):
            return RunFailedError("; ".join(failed) or str(cause))
        seen.add(id(cause))
        cause = cause.__cause__ or cause.__context__
    return error
