"""The sensor of new data: files of the source, and feedback, that start a retraining."""

import dagster as dg

from orchestration.jobs import CAUSE_TAG, REQUESTED_TAG, is_retraining, retraining_job
from orchestration.resources import Dataset, Datasets
from orchestration.settings import Settings
from recommenders import clock
from recommenders.errors import DataError, TradewindError
from serving.release.registry import Registry

DRIFT_REPORT = dg.AssetKey("drift_report")
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
            return new_feedback_request(dataset, registry, context.instance)
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


def new_feedback_request(
    dataset: Dataset, registry: Registry, instance: dg.DagsterInstance
) -> dg.RunRequest | dg.SkipReason:
    """A retraining if the feedback that the newest version was not trained on is a large enough share of the log."""
    newest = next(iter(registry.versions(dataset.name)), None)
    try:
        new, needed = dataset.new_feedback(newest.feedback_position if newest else None)
    except TradewindError as error:
        return dg.SkipReason(str(error))
    if new < needed or not needed:
        waiting = f"; {new} of {needed} feedback events for a retraining" if needed else ""
        return dg.SkipReason(f"the files are those of the last poll{waiting}")
    if is_retraining(instance, dataset.name):
        return dg.SkipReason("a retraining is running; polling again when it has ended")
    # one run for each version: a run that failed before it registered one is not started again and again
    after = f"after-v{newest.number}" if newest else "first"
    return request(dataset.name, f"new-feedback/{dataset.name}/{after}", "new feedback")


def request(dataset: str, key: str, cause: str) -> dg.RunRequest:
    """A retraining for a cause; Dagster starts one run per key."""
    return dg.RunRequest(
        run_key=key, partition_key=dataset, tags={CAUSE_TAG: cause, REQUESTED_TAG: clock.now().isoformat()}
    )
