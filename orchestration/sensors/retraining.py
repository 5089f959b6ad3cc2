"""The sensors that start a retraining: for new data, and for drift."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from monitoring.drift.feed.problems import describe
from monitoring.drift.report import DriftReport
from monitoring.retraining import MonitoringResult, PastRun, should_retrain
from orchestration.io_manager import Lake
from orchestration.jobs import PARTITION_TAG, QUEUED, RETRAINING, STARTED, retraining_job
from orchestration.resources import Dataset, Datasets
from orchestration.settings import Settings
from recommenders.errors import DataError, TradewindError
from serving.release.registry import Registry

DRIFT_REPORT = dg.AssetKey("drift_report")
CAUSE_TAG = "cause"
CHANGED = " then "  # in the cursor: between the files that were used and those that the last poll found


def new_data_sensor(settings: Settings) -> dg.SensorDefinition:
    """Requests a retraining when the source's files differ from those of the last poll, or for much new feedback."""

    @dg.sensor(
        name="new_data",
        job=retraining_job,
        minimum_interval_seconds=settings.sensor_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Retrains when the files of {settings.dataset} change, or when there is much new feedback.",
    )
    def new_data(
        context: dg.SensorEvaluationContext, datasets: dg.ResourceParam[Datasets], registry: dg.ResourceParam[Registry]
    ) -> dg.RunRequest | dg.SkipReason:
        """Polls names, sizes and times of the source's files; the first poll only stores them. Then counts feedback.

        Files that changed since the last poll may still be copied: they are used when a further poll finds the same.
        """
        dataset = datasets.served
        if dataset.restored_version():  # the cursor stays too, so that files which arrive meanwhile are found later
            return dg.SkipReason("an earlier version of the tables is restored; see `tradewind data restore`")
        try:
            seen = dataset.signature()
        except DataError as error:
            return dg.SkipReason(str(error))
        used, _, changed = (context.cursor or "").partition(CHANGED)
        if not used:
            context.update_cursor(seen)
            return dg.SkipReason("first poll of the source: the files are stored")
        if seen == used:
            context.update_cursor(used)
            return new_feedback_request(dataset, context.instance)
        if seen != changed:
            context.update_cursor(f"{used}{CHANGED}{seen}")
            return dg.SkipReason("the files have changed since the last poll; waiting until they stay the same")
        if is_retraining(context.instance, dataset.name):
            return dg.SkipReason("a retraining is running; polling again when it has ended")
        context.update_cursor(seen)
        return new_data_request(dataset, registry)

    return new_data


def new_data_request(dataset: Dataset, registry: Registry) -> dg.RunRequest | dg.SkipReason:
    """A retraining on the present files, unless the newest version is trained on them already."""
    newest = next(iter(registry.versions(dataset.name)), None)
    version = dataset.data_version(prepare=False)
    if newest is not None and newest.data_version == version:
        return dg.SkipReason(f"version {newest.number} is trained on these files already")
    after = f"after-v{newest.number}" if newest else "first"  # the same files may come, go and come again
    return request(dataset.name, f"new-data/{dataset.name}/{version}/{after}", "new data")


def new_feedback_request(dataset: Dataset, instance: dg.DagsterInstance) -> dg.RunRequest | dg.SkipReason:
    """A retraining if the feedback that the tables lack is a large enough share of the log."""
    try:
        new, needed = dataset.new_feedback()
    except TradewindError as error:
        return dg.SkipReason(str(error))
    if new < needed or not needed:
        waiting = f"; {new} of {needed} feedback events for a retraining" if needed else ""
        return dg.SkipReason(f"the files are those of the last poll{waiting}")
    if is_retraining(instance, dataset.name):
        return dg.SkipReason("a retraining is running; polling again when it has ended")
    # one run for each version of the tables: a run that failed before it made new ones is not started again and again
    version = dataset.tables.current()
    assert version is not None  # otherwise no feedback was counted
    return request(dataset.name, f"new-feedback/{dataset.name}/after-tables-{version.number}", "new feedback")


def drift_sensor(settings: Settings) -> dg.SensorDefinition:
    """Requests a retraining when a drift report fires on data that the champion was not trained on."""

    @dg.sensor(
        name="drift",
        job=retraining_job,
        minimum_interval_seconds=settings.sensor_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Retrains when the drift report of {settings.dataset} fires, once for each cause.",
    )
    def drift(
        context: dg.SensorEvaluationContext,
        settings: dg.ResourceParam[Settings],
        registry: dg.ResourceParam[Registry],
        lake: dg.ResourceParam[Lake],
    ) -> dg.RunRequest | dg.SkipReason:
        """Polls the newest drift report; the first poll only stores it."""
        filter_ = dg.AssetRecordsFilter(DRIFT_REPORT, asset_partitions=[settings.dataset])
        newest = next(iter(context.instance.fetch_materializations(filter_, limit=1).records), None)
        if newest is None:
            return dg.SkipReason("there is no drift report yet")
        seen = str(newest.storage_id)
        if context.cursor is None:  # a report from before the first poll starts nothing
            context.update_cursor(seen)
            return dg.SkipReason("first poll: the newest drift report is stored")
        if seen == context.cursor:
            return dg.SkipReason("no drift report since the last poll")
        if is_retraining(context.instance, settings.dataset):
            return dg.SkipReason("a retraining is running; polling again when it has ended")
        context.update_cursor(seen)
        report = lake.read(settings.dataset, "drift_report", DriftReport)
        return retrain_request(settings, registry, report, context.instance)

    return drift


def retrain_request(
    settings: Settings, registry: Registry, report: DriftReport, instance: dg.DagsterInstance
) -> dg.RunRequest | dg.SkipReason:
    """A retraining or the reason for none, by the drift report, the champion and the past retrainings."""
    champion = registry.champion(settings.dataset)
    if champion is not None and champion.data_version == report.data_version:
        return dg.SkipReason(f"version {champion.number} is trained on this data already")
    if report.current.end is None:
        return dg.SkipReason(report.summary)
    facts = MonitoringResult(
        report.fired,
        "drift",
        report.current.end,
        f"v{champion.number}" if champion else "none",
        report.summary,
        describe(report.feed_problems),
    )
    cool_down = timedelta(hours=settings.cool_down_hours)
    decision = should_retrain(facts, past_retrainings(instance, settings.dataset), cool_down, datetime.now(UTC))
    return request(settings.dataset, decision.key, "drift") if decision.retrain else dg.SkipReason(decision.reason)


def request(dataset: str, key: str, cause: str) -> dg.RunRequest:
    """A retraining for a cause; Dagster starts one run per key."""
    return dg.RunRequest(run_key=key, partition_key=dataset, tags={CAUSE_TAG: cause})


def is_retraining(instance: dg.DagsterInstance, dataset: str) -> bool:
    """Whether a retraining of the data set is queued or running."""
    filter_ = dg.RunsFilter(job_name=RETRAINING, tags={PARTITION_TAG: dataset}, statuses=[*QUEUED, *STARTED])
    return bool(instance.get_runs(filter_, limit=1))


def past_retrainings(instance: dg.DagsterInstance, dataset: str) -> list[PastRun]:
    """The newest retrainings that drift started."""
    filter_ = dg.RunsFilter(job_name=RETRAINING, tags={PARTITION_TAG: dataset, CAUSE_TAG: "drift"})
    return [
        PastRun(
            record.dagster_run.tags.get("dagster/run_key", ""),
            record.create_timestamp,
            record.dagster_run.status is dg.DagsterRunStatus.FAILURE,
        )
        for record in instance.get_run_records(filter_, limit=20)
    ]
