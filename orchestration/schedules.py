"""The schedules: a retraining every night if there is something new, a drift report every hour, a daily pruning.

A weekly tuning is off until a person switches it on.
"""

import dagster as dg

from orchestration.jobs import CAUSE_TAG, drift_job, is_retraining, retraining_job, tuning_job
from orchestration.resources import Dataset, Datasets
from orchestration.retention.job import pruning_job
from orchestration.settings import Settings
from recommenders.errors import TradewindError
from serving.release.registry import Registry

RUNNING = dg.DefaultScheduleStatus.RUNNING


def schedules(settings: Settings) -> list[dg.ScheduleDefinition]:
    """The schedules of the served data set, at the times of their cron lines (UTC); they run when the daemon runs."""

    @dg.schedule(
        job=retraining_job,
        cron_schedule=settings.retrain_cron,
        default_status=RUNNING,
        description=f"Retrains {settings.dataset} ({settings.retrain_cron}, UTC), if data or recipe are new.",
    )
    def nightly_retraining(
        context: dg.ScheduleEvaluationContext,
        settings: dg.ResourceParam[Settings],
        datasets: dg.ResourceParam[Datasets],
        registry: dg.ResourceParam[Registry],
    ) -> dg.RunRequest | dg.SkipReason:
        if is_retraining(context.instance, settings.dataset):
            return dg.SkipReason("a retraining is running")
        trained = trained_already(datasets.served, registry)
        return dg.SkipReason(trained) if trained else request(settings, "nightly_retraining", context)

    @dg.schedule(
        job=drift_job,
        cron_schedule=settings.drift_cron,
        default_status=RUNNING,
        description=f"Reports the drift of {settings.dataset} ({settings.drift_cron}, UTC).",
    )
    def hourly_drift(context: dg.ScheduleEvaluationContext, settings: dg.ResourceParam[Settings]) -> dg.RunRequest:
        return request(settings, "hourly_drift", context)

    @dg.schedule(
        job=tuning_job,
        cron_schedule=settings.tune_cron,
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description=f"Tunes the models of {settings.dataset} ({settings.tune_cron}, UTC), once you switch it on.",
    )
    def weekly_tuning(context: dg.ScheduleEvaluationContext, settings: dg.ResourceParam[Settings]) -> dg.RunRequest:
        return request(settings, "weekly_tuning", context)

    daily_pruning = dg.ScheduleDefinition(
        name="daily_pruning",
        job=pruning_job,
        cron_schedule=settings.prune_cron,
        default_status=RUNNING,
        tags={CAUSE_TAG: "schedule"},
        description=f"Deletes what is over the limits of {settings.retention_file.name} ({settings.prune_cron}, UTC).",
    )
    return [nightly_retraining, hourly_drift, weekly_tuning, daily_pruning]


def trained_already(dataset: Dataset, registry: Registry) -> str:
    """Why a training would give what there is already: data, feedback and recipe are those of the newest version.

    Empty if something is new, or if that is not known.
    """
    newest = next(iter(registry.versions(dataset.name)), None)
    try:
        if newest is None or dataset.new_feedback(newest.feedback_position)[0]:
            return ""
        present = dataset.data_version(prepare=False), dataset.settings.training.recipe()
    except TradewindError:  # the run will state the problem
        return ""
    if present != (newest.data_version, newest.recipe):
        return ""
    return f"version {newest.number} is trained on this data with this recipe already"


def request(settings: Settings, schedule: str, context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """A run of the served data set; Dagster starts one for each scheduled time."""
    return dg.RunRequest(
        run_key=f"{schedule}/{settings.dataset}/{context.scheduled_execution_time.isoformat()}",
        partition_key=settings.dataset,
        tags={CAUSE_TAG: "schedule"},
    )
