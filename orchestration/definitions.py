"""The Dagster definitions: all assets, checks, jobs, schedules and sensors."""

import dagster as dg

from orchestration.assets.deployment import batch_recommendations, bento
from orchestration.assets.drift_report import drift_report
from orchestration.assets.evaluation_report import report_asset
from orchestration.assets.features import item_features, item_vectors, training_log, user_features
from orchestration.assets.models import model_assets
from orchestration.assets.raw_dataset import raw_dataset
from orchestration.assets.release import champion, registered_model_asset, release_candidate
from orchestration.assets.split import split
from orchestration.assets.tables import tables
from orchestration.checks import checks
from orchestration.io_manager import Lake
from orchestration.jobs import drift_job, retraining_job
from orchestration.partitions import partitioned, partitions_of
from orchestration.progress import console
from orchestration.schedules import schedules
from orchestration.sensors import sensors
from orchestration.settings import Settings


def definitions(settings: Settings) -> dg.Definitions:
    """The definitions of the platform under these settings. Raises ConfigurationError."""
    config, partitions = settings.training, partitions_of(settings)
    assets = [
        raw_dataset,
        tables,
        split,
        training_log,
        item_vectors,
        item_features,
        user_features,
        *model_assets(config),
        report_asset(config),
        release_candidate,
        registered_model_asset(config),
        champion,
        bento,
        batch_recommendations,
        drift_report,
    ]
    return dg.Definitions(
        assets=partitioned(assets, partitions),
        asset_checks=checks(partitions),
        jobs=[retraining_job, drift_job],
        schedules=schedules(settings),
        sensors=sensors(settings),
        resources={"settings": settings, "io_manager": Lake(root=str(settings.lake))},
        loggers={"console": console},
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """The definitions that Dagster loads (workspace.yaml), with settings from the environment; not built on import."""
    return definitions(Settings.read())
