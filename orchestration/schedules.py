"""The schedules: a retraining every night, a drift report every hour."""

import dagster as dg

from orchestration.jobs import drift_job, retraining_job
from orchestration.settings import Settings

RUNNING = dg.DefaultScheduleStatus.RUNNING


def schedules(settings: Settings) -> list[dg.ScheduleDefinition]:
    """The schedules of the served data set, at the times of their cron lines (UTC); they run when the daemon runs."""

    @dg.schedule(
        job=retraining_job,
        cron_schedule=settings.retrain_cron,
        default_status=RUNNING,
        description=f"Retrains {settings.dataset} ({settings.retrain_cron}, UTC).",
    )
    def nightly_retraining(
        context: dg.ScheduleEvaluationContext, settings: dg.ResourceParam[Settings]
    ) -> dg.RunRequest:
        return request(settings, "nightly_retraining", context)

    @dg.schedule(
        job=drift_job,
        cron_schedule=settings.drift_cron,
        default_status=RUNNING,
        description=f"Reports the drift of {settings.dataset} ({settings.drift_cron}, UTC).",
    )
    def hourly_drift(context: dg.ScheduleEvaluationContext, settings: dg.ResourceParam[Settings]) -> dg.RunRequest:
        return request(settings, "hourly_drift", context)

    return [nightly_retraining, hourly_drift]


def request(settings: Settings, schedule: str, context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """A run of the served data set; Dagster starts one for each scheduled time."""
    return dg.RunRequest(
        run_key=f"{schedule}/{settings.dataset}/{context.scheduled_execution_time.isoformat()}",
        partition_key=settings.dataset,
        tags={"cause": "schedule"},
    )
