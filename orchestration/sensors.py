"""The sensors: new data and drift start a retraining, a failed run sends an alert."""

import hashlib
from datetime import UTC, datetime, timedelta

import dagster as dg

from monitoring.alerts import Alert, send
from monitoring.retraining import MonitoringResult, PastRun, should_retrain
from orchestration.assets.source import fingerprint, restored_version
from orchestration.jobs import PARTITION_TAG, QUEUED, RETRAINING, STARTED, retraining_job
from orchestration.settings import Settings
from recommenders.errors import DataError
from serving.release.registry import Registry

DRIFT_REPORT = dg.AssetKey("drift_report")
CAUSE_TAG = "cause"


def sensors(settings: Settings) -> list[dg.SensorDefinition]:
    """The sensors of the served data set; they run when the daemon runs."""
    return [new_data_sensor(settings), drift_sensor(settings), failure_sensor(settings)]


def new_data_sensor(settings: Settings) -> dg.SensorDefinition:
    """Requests a retraining when the source's files differ from those of the last poll."""

    @dg.sensor(
        name="new_data",
        job=retraining_job,
        minimum_interval_seconds=settings.sensor_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Retrains when the files of {settings.dataset} change.",
    )
    def new_data(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        """Polls names, sizes and times of the source's files; the first poll only stores them."""
        if restored_version(settings):  # the cursor stays too, so that files which arrive meanwhile are found later
            return dg.SkipReason("an earlier version of the tables is restored; see `tradewind data restore`")
        try:
            seen = signature(settings)
        except DataError as error:
            return dg.SkipReason(str(error))
        if seen == context.cursor:
            return dg.SkipReason("the files are those of the last poll")
        if is_retraining(context.instance, settings.dataset):
            return dg.SkipReason("a retraining is running; polling again when it has ended")
        is_first_poll = context.cursor is None
        context.update_cursor(seen)
        if is_first_poll:
            return dg.SkipReason("first poll of the source: the files are stored")
        newest = next(iter(Registry(settings).versions(settings.dataset)), None)
        version = fingerprint(settings, prepare=False)["version"]
        if newest is not None and newest.tags.get("data_version") == version:
            return dg.SkipReason(f"version {newest.number} is trained on these files already")
        after = f"after-v{newest.number}" if newest else "first"  # the same files may come, go and come again
        return request(settings, f"new-data/{settings.dataset}/{version}/{after}", "new data")

    return new_data


def drift_sensor(settings: Settings) -> dg.SensorDefinition:
    """Requests a retraining when a drift report fires on data that the champion was not trained on."""

    @dg.sensor(
        name="drift",
        job=retraining_job,
        minimum_interval_seconds=settings.sensor_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Retrains when the drift report of {settings.dataset} fires, once for each cause.",
    )
    def drift(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
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
        return retrain_request(settings, metadata_values(newest.asset_materialization), context.instance)

    return drift


def retrain_request(
    settings: Settings, found: dict[str, object], instance: dg.DagsterInstance
) -> dg.RunRequest | dg.SkipReason:
    """A retraining or the reason for none, by the drift report, the champion and the past retrainings."""
    champion = Registry(settings).champion(settings.dataset)
    if champion is not None and champion.tags.get("data_version") == found["data version"]:
        return dg.SkipReason(f"version {champion.number} is trained on this data already")
    facts = MonitoringResult(
        bool(found["fired"]),
        "drift",
        datetime.fromisoformat(str(found["window end"])),
        f"v{champion.number}" if champion else "none",
        str(found["summary"]),
        str(found.get("broken feed", "")),
    )
    cool_down = timedelta(hours=settings.cool_down_hours)
    decision = should_retrain(facts, past_retrainings(instance, settings.dataset), cool_down, datetime.now(UTC))
    return request(settings, decision.key, "drift") if decision.retrain else dg.SkipReason(decision.reason)


def failure_sensor(settings: Settings) -> dg.SensorDefinition:
    """Alerts when a run fails."""

    @dg.run_failure_sensor(
        name="failed_runs",
        minimum_interval_seconds=settings.sensor_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Alerts when a run fails.",
    )
    def failed_runs(context: dg.RunFailureSensorContext) -> None:
        """Sends an alert with the run, its data set, the error, and the address of its log."""
        run = context.dagster_run
        dataset = run.tags.get(PARTITION_TAG, "no data set")
        send(
            Alert(
                f"{run.job_name} failed on {dataset}",
                f"{context.failure_event.message}; {settings.urls['dagster']}/runs/{run.run_id}",
                severity="critical",
                key=f"failed/{run.run_id}",
                dataset=dataset,
            ),
            settings.alerts,
        )

    return failed_runs


def request(settings: Settings, key: str, cause: str) -> dg.RunRequest:
    """A retraining for a cause; Dagster starts one run per key."""
    return dg.RunRequest(run_key=key, partition_key=settings.dataset, tags={CAUSE_TAG: cause})


def signature(settings: Settings) -> str:
    """Names, sizes and times of the source's files, as a hash; cheap enough for each poll. Raises DataError."""
    spec = settings.spec
    stats = [(path.name, path.stat()) for path in spec.locate(settings.source_of(spec))]
    text = repr([(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


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


def metadata_values(materialization: dg.AssetMaterialization | None) -> dict[str, object]:
    """The metadata of a materialization as plain values."""
    assert materialization is not None
    return {name: value.value for name, value in materialization.metadata.items()}
