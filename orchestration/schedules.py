"""What time starts: a retraining every night, a look at drift every hour."""

import dagster as dg

from orchestration.jobs import drift_job, retraining_job
from orchestration.settings import Settings


def schedules(settings: Settings) -> list[dg.ScheduleDefinition]:
    """The schedules of the data set that is served; they run as soon as the daemon does."""

    @dg.schedule(
        name="nightly_retraining",
        job=retraining_job,
        cron_schedule=settings.retrain_cron,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Retrains {settings.dataset} ({settings.retrain_cron}, UTC).",
    )
    def nightly_retraining(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        return dg.RunRequest(
            run_key=f"nightly/{settings.dataset}/{context.scheduled_execution_time.isoformat()}",
            partition_key=settings.dataset,
            tags={"cause": "schedule"},
        )

    @dg.schedule(
        name="hourly_drift",
        job=drift_job,
        cron_schedule=settings.drift_cron,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Compares the newest window of {settings.dataset} with its past ({settings.drift_cron}, UTC).",
    )
    def hourly_drift(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        return dg.RunRequest(
            run_key=f"drift/{settings.dataset}/{context.scheduled_execution_time.isoformat()}",
            partition_key=settings.dataset,
            tags={"cause": "schedule"},
        )

    return [nightly_retraining, hourly_drift]
