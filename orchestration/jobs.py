"""The jobs, one for all assets, one for the assets of every hour; and how Dagster marks their runs."""

import dagster as dg

RETRAINING = "retraining_job"
DRIFT = "drift_job"
VALIDATION = "cross_validation_job"
PRUNING = "pruning_job"
TUNING = "tuning_job"
REVIEW = "review_drift"

CAUSE_TAG = "cause"  # the tag with what started a run
REQUESTED_TAG = "tradewind/requested_at"  # the tag with the time at which a sensor requested a run
PERSONS = ("command line", "first champion")  # causes of runs that a person started; those of the pages have none
PARTITION_TAG = "dagster/partition"  # the tag with the partition of a run, which is its data set
QUEUED = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED]
STARTED = [
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.SUSPENDED,
    dg.DagsterRunStatus.CANCELING,
]
EXPERIMENTS = "experiments"  # the group of the assets that no retraining materialises
ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]

retraining_job = dg.define_asset_job(
    RETRAINING,
    selection=dg.AssetSelection.all() - dg.AssetSelection.groups(EXPERIMENTS),
    description="All assets of the data set with their checks, from the source to the champion that serves. Without "
    "those of the group experiments, which take several times as long.",
)

cross_validation_job = dg.define_asset_job(
    VALIDATION,
    selection=dg.AssetSelection.assets("cross_validation").upstream().required_multi_asset_neighbors(),
    description="Reads the source, and evaluates the models on several folds of the events before the test window. "
    "Only a person starts it.",
)

drift_job = dg.define_asset_job(
    DRIFT,
    selection=dg.AssetSelection.assets("drift_report", "served_catalogue", "quality_monitor", "prediction_drift")
    .upstream()
    .required_multi_asset_neighbors(),
    description="Reads the source, renews the served catalogue, compares the newest window with the events before, and "
    "judges the served lists.",
)

tuning_job = dg.define_asset_job(
    TUNING,
    selection=dg.AssetSelection.assets("tuning").upstream().required_multi_asset_neighbors(),
    description="Reads the source and tunes the models on the validation window.",
)


def is_retraining(instance: dg.DagsterInstance, dataset: str) -> bool:
    """Whether a retraining of the data set is queued or running."""
    filter_ = dg.RunsFilter(job_name=RETRAINING, tags={PARTITION_TAG: dataset}, statuses=[*QUEUED, *STARTED])
    return bool(instance.get_runs(filter_, limit=1))
