"""The Dagster definitions: all assets, checks, jobs, schedules and sensors."""

from collections.abc import Iterable
from typing import Any

import dagster as dg

from orchestration.assets.cross_validation import cross_validation
from orchestration.assets.deployment import batch_recommendations, bento, served_catalogue
from orchestration.assets.drift_report import drift_report
from orchestration.assets.evaluation_report import report_asset
from orchestration.assets.features import item_features, item_vectors, training_log, user_features
from orchestration.assets.feedback import feedback
from orchestration.assets.models import model_assets
from orchestration.assets.online_quality import online_quality
from orchestration.assets.prediction_drift import prediction_drift
from orchestration.assets.quality_monitor import quality_monitor
from orchestration.assets.raw_dataset import raw_dataset
from orchestration.assets.release import champion, registered_model_asset, release_candidate
from orchestration.assets.tables import split, tables
from orchestration.assets.tuning import tuning
from orchestration.checks import checks
from orchestration.drift_review import review_drift
from orchestration.jobs import cross_validation_job, drift_job, retraining_job, tuning_job
from orchestration.progress import console
from orchestration.resources import resources
from orchestration.retention.job import pruning_job
from orchestration.schedules import schedules
from orchestration.sensors import sensors
from orchestration.sensors.monitoring import decisions
from orchestration.settings import Settings
from orchestration.training_resource import training_resource


def definitions(settings: Settings, **replaced: Any) -> dg.Definitions:
    """The definitions of the platform under these settings. Raises ConfigurationError.

    replaced: resources by key (orchestration.resources), instead of those of the settings.
    """
    config, partitions = replaced.get("training", settings.training), partitions_of(settings)
    assets = [
        raw_dataset,
        feedback,
        tables,
        split,
        training_log,
        item_vectors,
        item_features,
        user_features,
        *model_assets(config),
        report_asset(config),
        cross_validation,
        release_candidate,
        registered_model_asset(config),
        champion,
        served_catalogue,
        bento,
        batch_recommendations,
        drift_report,
        online_quality,
        quality_monitor,
        prediction_drift,
        tuning,
    ]
    return dg.Definitions(
        assets=[*partitioned(assets, partitions), decisions.replace_attributes(partitions_def=partitions)],
        asset_checks=checks(partitions),
        jobs=[retraining_job, drift_job, cross_validation_job, tuning_job, pruning_job, review_drift],
        schedules=schedules(settings),
        sensors=sensors(settings),
        resources={**resources(settings), **replaced, "training": training_resource(config)},
        loggers={"console": console},
        executor=dg.in_process_executor,
    )


def partitions_of(settings: Settings) -> dg.PartitionsDefinition[str]:
    """One partition for each data set, built-in and custom: the graph is materialised for each.

    Raises ConfigurationError.
    """
    return dg.StaticPartitionsDefinition(list(settings.specs))


def partitioned(
    assets: Iterable[dg.AssetsDefinition], partitions: dg.PartitionsDefinition[str]
) -> list[dg.AssetsDefinition]:
    """The same assets with these partitions."""
    return [a.map_asset_specs(lambda spec: spec.replace_attributes(partitions_def=partitions)) for a in assets]


@dg.definitions
def defs() -> dg.Definitions:
    """The definitions that Dagster loads (workspace.yaml), with settings from the environment; not built on import."""
    return definitions(Settings.read())
