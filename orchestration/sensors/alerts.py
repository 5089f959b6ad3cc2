"""The sensors of runs and alerts: a failed run raises an alert, a successful one ends it, a lost one fails."""

import dagster as dg

from monitoring.alerts.alert import Alert
from orchestration.jobs import PARTITION_TAG, REVIEW
from orchestration.run_process import lost_runs
from orchestration.settings import Settings


def failed_runs_sensor(settings: Settings) -> dg.SensorDefinition:
    """Alerts when a run fails."""

    @dg.run_failure_sensor(
        name="failed_runs",
        minimum_interval_seconds=settings.sensor_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Alerts when a run fails, except a review: the person who started it sees that.",
    )
    def failed_runs(context: dg.RunFailureSensorContext, settings: dg.ResourceParam[Settings]) -> None:
        """Sends an alert with the run, its data set, the error, and the address of its log."""
        run = context.dagster_run
        if run.job_name == REVIEW:
            return
        dataset = dataset_of(run)
        settings.alerts.send(
            Alert(
                f"{run.job_name} failed on {dataset}",
                f"{context.failure_event.message}; {settings.urls['dagster']}/runs/{run.run_id}",
                "critical",
                "failed run",
                dataset,
                subject=run.job_name,
                done="The champion keeps serving; this run released nothing after the step that failed.",
                id=f"failed run {run.run_id}",  # a tick that was killed is repeated
            )
        )

    return failed_runs


def succeeded_runs_sensor(settings: Settings) -> dg.SensorDefinition:
    """Ends the incident of failed runs when a run of the same job and data set succeeds."""

    @dg.run_status_sensor(
        run_status=dg.DagsterRunStatus.SUCCESS,
        name="succeeded_runs",
        minimum_interval_seconds=settings.sensor_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Ends the alerts of failed runs when a run of the same job succeeds.",
    )
    def succeeded_runs(context: dg.RunStatusSensorContext, settings: dg.ResourceParam[Settings]) -> None:
        """Ends the open incident, if there is one."""
        run = context.dagster_run
        settings.alerts.recover("failed run", dataset_of(run), run.job_name)

    return succeeded_runs


def lost_runs_sensor(settings: Settings) -> dg.SensorDefinition:
    """Ends runs whose process is gone, which Dagster would count as started for ever."""

    @dg.sensor(
        name="lost_runs",
        minimum_interval_seconds=settings.sensor_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Marks a run as failed if its process is gone, so that the queue goes on and an alert is raised.",
    )
    def lost(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        """It starts no run."""
        found = lost_runs(context.instance)
        for run in found:
            context.instance.report_run_failed(run, "the process that ran it is gone")
        return dg.SkipReason(f"runs whose process is gone: {len(found)}")

    return lost


def alerts_sensor(settings: Settings) -> dg.SensorDefinition:
    """Sends the alerts that are due."""

    @dg.sensor(
        name="alerts",
        minimum_interval_seconds=settings.sensor_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Sends the alerts of the outbox that are due, and tries again those that a channel refused.",
    )
    def alerts(settings: dg.ResourceParam[Settings]) -> dg.SkipReason:
        """One round. It starts no run."""
        done = settings.alerts.deliver()
        return dg.SkipReason(f"{done.sent} messages sent, {done.failed} not accepted")

    return alerts


def dataset_of(run: dg.DagsterRun) -> str:
    """The data set of a run."""
    return run.tags.get(PARTITION_TAG, "no data set")
