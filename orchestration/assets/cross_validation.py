"""The asset that evaluates models on several folds of the events before the test window."""

from typing import Any

import dagster as dg
import pyarrow as pa
import yaml
from pydantic import Field

from orchestration.assets.metadata import PROGRESS, picture, rounded, show
from orchestration.jobs import EXPERIMENTS, PARTITION_TAG, VALIDATION
from orchestration.launchpad import launchpad_url
from orchestration.resources import Datasets
from orchestration.settings import Settings
from recommenders.evaluation.fold_report import CrossValidation
from recommenders.evaluation.fold_tasks import FoldPlan
from recommenders.evaluation.writers.fold_tables import render_folds
from recommenders.evaluation.writers.plots import plot_folds
from recommenders.metrics.ranking import PRIMARY_METRIC
from recommenders.training.configuration import TrainingConfig
from recommenders.training.cross_validation import cross_validate


class FoldSettings(dg.Config):
    """The folds and the models of one run."""

    scheme: str = Field(default="kfold", description="kfold, time or stratified (docs/evaluation.md).")
    folds: int = Field(default=5, description="Number of folds, 2 or more. Every model is fitted once per fold.")
    by: str = Field(
        default="", description="stratified only: a column of the users table, or activity; empty: segment."
    )
    models: list[str] = Field(default=[], description="Models to compare; none: all enabled models.")
    seed: int = Field(default=42, description="Seed of the folds.")

    def plan(self) -> FoldPlan:
        """The plan of the folds. Raises UnknownNameError or ConfigurationError."""
        return FoldPlan(self.scheme, self.folds, self.by, self.seed)


@dg.asset(group_name=EXPERIMENTS)
def cross_validation(
    context: dg.AssetExecutionContext,
    config: FoldSettings,
    settings: dg.ResourceParam[Settings],
    datasets: dg.ResourceParam[Datasets],
    training: dg.ResourceParam[TrainingConfig],
    interactions: pa.Table,
    items: pa.Table,
    users: pa.Table,
) -> CrossValidation:
    """Models on several folds of the events before the test window: k-fold over users, stratified, or rolling origin.

    No retraining and no schedule makes it, because it fits every model once per fold.
    """
    dataset = datasets[context.partition_key]
    found = cross_validate(
        config.plan(),
        training,
        (interactions, items, users),
        dataset.spec.protocol,
        config.models,
        dataset=dataset.name,
        echo=lambda line: context.log.info(f"{PROGRESS}{line}"),
    )
    show(context, fold_metadata(settings, config, found))
    return found


def fold_metadata(settings: Settings, config: FoldSettings, found: CrossValidation) -> dict[str, Any]:
    """The metadata of the asset: the report, a plot, a link to run it again, and the primary metric of each model."""
    run_config = yaml.safe_dump({"ops": {"cross_validation": {"config": config.model_dump()}}}, sort_keys=False)
    url = launchpad_url(settings, VALIDATION, run_config, {PARTITION_TAG: found.dataset})
    return {
        "report": dg.MetadataValue.md(render_folds(found)),
        "plot": picture(plot_folds(found, PRIMARY_METRIC), f"{PRIMARY_METRIC} of each model in each fold"),
        "run again": dg.MetadataValue.md(f"[in the launchpad of {VALIDATION}]({url})"),
        "scheme": found.plan.scheme,
        "folds": len(found.folds),
        "users": found.n_users,
        **{f"{name} {PRIMARY_METRIC}": rounded(values[PRIMARY_METRIC][0]) for name, values in found.pooled.items()},
    }
