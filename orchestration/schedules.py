"""The schedules: a retraining every night, a drift report every hour."""

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from orchestration.jobs import drift_job, retraining_job
from orchestration.settings import Settings


def schedules(settings: Settings) -> list[dg.ScheduleDefinition]:
    """The schedules of the served data set; they run when the daemon runs."""
    return [
        schedule("nightly_retraining", retraining_job, settings.retrain_cron, settings, "Retrains"),
        schedule(
            "hourly_drift",
            drift_job,
            settings.drift_cron,
            settings,
            "Reports the drift of",
        ),
    ]


def schedule(
    name: str, job: UnresolvedAssetJobDefinition, cron: str, settings: Settings, action: str
) -> dg.ScheduleDefinition:
    """A job for the served data set at the times of a cron line (UTC), one run for each time."""

    @dg.schedule(
        name=name,
        job=job,
        cron_schedule=cron,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"{action} {settings.dataset} ({cron}, UTC).",
    )
    def tick(context: dg.ScheduleEvaluationContext, settings: dg.ResourceParam[Settings]) -> dg.RunRequest:
        return dg.RunRequest(
            run_key=f"{name}/{settings.dataset}/{context.scheduled_execution_time.isoformat()}",
            partition_key=settings.dataset,
            tags={"cause": "schedule"},
        )

    return tick
