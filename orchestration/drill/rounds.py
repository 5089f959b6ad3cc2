"""The platform of a drill: its runs and its sensors on a real Dagster instance, in this process, one after another.

Dagster's daemon waits between two ticks, and starts a process for each run. In a drill a day passes in seconds, so the
ticks and runs are made here, at times of the drill: by the same definitions, with Dagster's own cursors and run keys.
"""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import dagster as dg

from orchestration.definitions import definitions
from orchestration.jobs import CAUSE_TAG, PARTITION_TAG
from orchestration.launcher.dagster_internals import RUN_KEY_TAG, SENSOR_NAME_TAG, create_run, execute
from orchestration.resources import resources
from orchestration.run_process import PID_TAG, process_tag
from orchestration.settings import Settings
from serving.settings import PROJECT

SENSORS = ("monitoring", "rollback", "alerts")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FinishedRun:
    """A run that a sensor requested. reason: of a run that failed."""

    sensor: str
    cause: str
    succeeded: bool
    reason: str = ""


class Rounds:
    """Runs of jobs, and rounds of the sensors; as a context manager it opens the Dagster instance."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._definitions = definitions(settings)
        self._repository, self._resources = self._definitions.get_repository_def(), resources(settings)
        self._cursors: dict[str, str | None] = {}
        self.decisions: list[Mapping[str, Any]] = []  # that the sensors recorded

    def __enter__(self) -> Self:
        self.instance = dg.DagsterInstance.from_config(str(self.settings.dagster_home)).__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.instance.__exit__(kind, error, trace)

    def run(self, job_name: str, tags: Mapping[str, str]) -> str:
        """Executes a job on the data set; why it failed, empty if it did not."""
        job = self._definitions.resolve_job_def(job_name)
        own = {PARTITION_TAG: self.settings.dataset, PID_TAG: process_tag(os.getpid())}
        run = create_run(self.instance, job, (), {**own, **tags}, PROJECT / "workspace.yaml", quiet=True)
        try:
            execute(self.instance, job, run)
        except dg.DagsterExecutionInterruptedError:
            raise KeyboardInterrupt from None
        except Exception as error:
            log.warning("the run %s failed: %s", run.run_id, error)
            return str(error) or type(error).__name__
        return ""

    def poll(self) -> list[FinishedRun]:
        """One tick of each sensor, and the runs that they request."""
        return [run for name in SENSORS for run in self._tick(name)]

    def _tick(self, name: str) -> list[FinishedRun]:
        sensor = self._repository.get_sensor_def(name)
        with dg.build_sensor_context(
            self.instance, self._cursors.get(name), repository_def=self._repository, resources=self._resources
        ) as context:
            found = sensor.evaluate_tick(context)
        self._cursors[name] = found.cursor
        for event in found.asset_events:
            assert isinstance(event, dg.AssetObservation)  # the sensors report nothing else
            self.instance.report_runless_asset_event(event)
            self.decisions.append({key: value.value for key, value in event.metadata.items()})
        return [self._execute(sensor, request) for request in found.run_requests or () if self._is_new(name, request)]

    def _is_new(self, name: str, request: dg.RunRequest) -> bool:
        """Whether no run has the key of the request: Dagster's daemon starts one for each key."""
        tags = {RUN_KEY_TAG: request.run_key or "", SENSOR_NAME_TAG: name}
        return not self.instance.get_runs(dg.RunsFilter(tags=tags), limit=1)

    def _execute(self, sensor: dg.SensorDefinition, request: dg.RunRequest) -> FinishedRun:
        own = {RUN_KEY_TAG: request.run_key or "", SENSOR_NAME_TAG: sensor.name}
        reason = self.run(sensor.job_name or sensor.job.name, {**request.tags, **own})
        return FinishedRun(sensor.name, request.tags.get(CAUSE_TAG, ""), not reason, reason)
