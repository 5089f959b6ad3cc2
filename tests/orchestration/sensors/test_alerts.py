"""A failed run opens an incident, a successful run of the same job ends it, and a tick sends what is due."""

import os
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from monitoring.alerts.alert import Alert
from monitoring.alerts.listing import open_incidents, recent_alerts
from orchestration.jobs import REVIEW
from orchestration.run_process import PID_TAG, process_tag
from orchestration.sensors.alerts import alerts_sensor, failed_runs_sensor, lost_runs_sensor, succeeded_runs_sensor
from orchestration.settings import Settings


@pytest.fixture
def settings(tmp_path: Path, make_settings: Callable[..., Settings]) -> Settings:
    return make_settings(tmp_path / "home", dataset="online_retail")


@dg.op(config_schema={"breaks": bool})
def step(context: dg.OpExecutionContext) -> None:
    if context.op_config["breaks"]:
        raise ValueError("the file is wrong")


@dg.job
def nightly() -> None:
    step()


@dg.job(name=REVIEW)
def review() -> None:
    step()


def tick(
    settings: Settings, instance: dg.DagsterInstance, breaks: bool, job: dg.JobDefinition = nightly
) -> Callable[[], object]:
    """Executes the job; a function that is one tick of the sensor about its end."""
    result = job.execute_in_process(
        instance=instance,
        raise_on_error=False,
        run_config={"ops": {"step": {"config": {"breaks": breaks}}}},
        tags={"dagster/partition": "online_retail"},
    )
    ended = [event for event in result.all_events if event.is_job_failure or event.is_job_success]
    sensor = (failed_runs_sensor if breaks else succeeded_runs_sensor)(settings)

    def once() -> object:
        context = dg.build_run_status_sensor_context(
            sensor.name,
            dagster_instance=instance,
            dagster_run=result.dagster_run,
            dagster_event=ended[-1],
            resources={"settings": settings},
        )
        return sensor(context.for_run_failure() if breaks else context)

    return once


def test_a_failed_run_alerts_once_and_a_later_success_ends_it(settings: Settings) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        failed = tick(settings, instance, breaks=True)
        failed()
        failed()  # the daemon was killed before it stored its cursor
        (incident,) = open_incidents(settings.alerts.outbox)
        assert (incident.key, incident.severity) == ("failed run/online_retail/nightly", "critical")
        assert incident.n_alerts == 1
        (line,) = settings.alerts.log_file.read_text().splitlines()
        (run,) = instance.get_runs()
        assert f"/runs/{run.run_id}" in line
        tick(settings, instance, breaks=True)()
        assert open_incidents(settings.alerts.outbox)[0].n_alerts == 2
        for _ in range(2):
            tick(settings, instance, breaks=False)()
    assert open_incidents(settings.alerts.outbox) == []
    kinds = [alert.kind for alert in recent_alerts(settings.alerts.outbox, 9)]
    assert kinds == ["resolved", "alert"]


def test_a_failed_review_raises_no_alert(settings: Settings) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        tick(settings, instance, breaks=True, job=review)()
    assert open_incidents(settings.alerts.outbox) == []


def test_a_tick_sends_what_is_due(settings: Settings) -> None:
    settings.alerts.outbox.append(Alert("drift in toy", "prices moved", "warning", "drift", "toy"))
    result = alerts_sensor(settings)(dg.build_sensor_context(resources={"settings": settings}))
    assert isinstance(result, dg.SkipReason)
    assert result.skip_message == "1 messages sent, 0 not accepted"
    assert "prices moved" in settings.alerts.log_file.read_text()


@dg.job
def empty() -> None:
    pass


def test_a_run_whose_process_is_gone_fails(settings: Settings) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        started = dg.DagsterRunStatus.STARTED
        lost, running = (
            instance.create_run_for_job(empty, status=started, tags={PID_TAG: tag}).run_id
            for tag in ("1@0.00", process_tag(os.getpid()))
        )
        with dg.build_sensor_context(instance=instance) as context:
            result = lost_runs_sensor(settings)(context)
        assert isinstance(result, dg.SkipReason)
        assert result.skip_message == "runs whose process is gone: 1"
        statuses = {run.run_id: run.status for run in instance.get_runs()}
        assert statuses == {lost: dg.DagsterRunStatus.FAILURE, running: started}
