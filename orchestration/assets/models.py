"""One asset per model, fitted on the events before the cut, and the ensembles of these models."""

from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg

from orchestration.assets.metadata import picture, rounded, show
from recommenders.errors import ModelTooLargeError, UnsuitableError
from recommenders.evaluation.cost import measure
from recommenders.evaluation.writers.plots import plot_learning_curve
from recommenders.events.interactions import Interactions
from recommenders.features.items import ItemFeatures
from recommenders.models.all_models import ENSEMBLES, MODELS, model_class
from recommenders.models.recommender import Recommender
from recommenders.training.configuration import TrainingConfig
from recommenders.training.fitting import SkippedModel, fit_model
from serving.release.registry import Registry
from serving.release.run_tracker import RunTracker

# what a ranker reads; it waits for them, and so for the blocking check that they hold nothing later than the cut
FEATURE_TABLES = ["item_features", "user_features"]
MODEL = dg.PythonObjectDagsterType((Recommender, SkippedModel), name="Recommender")


def model_assets(config: TrainingConfig) -> list[dg.AssetsDefinition]:
    """The assets of the models that the configuration enables."""
    base_models = [name for name in config.enabled() if name not in ENSEMBLES]
    return [model_asset(name, base_models if name in ENSEMBLES else []) for name in config.enabled()]


def model_asset(name: str, base_models: list[str]) -> dg.AssetsDefinition:
    """The asset that fits one model, or builds an ensemble from the fitted base models."""

    @dg.asset(
        name=name,
        description=MODELS[name].summary,
        ins={base_model: dg.AssetIn(dagster_type=MODEL) for base_model in base_models},
        deps=FEATURE_TABLES if model_class(name).ranks_candidates else [],
        group_name="models",
        kinds={"mlflow", *MODELS[name].trained_with},
        dagster_type=MODEL,
    )
    def train(
        context: dg.AssetExecutionContext,
        training: dg.ResourceParam[TrainingConfig],
        registry: dg.ResourceParam[Registry],
        training_log: Interactions,
        item_vectors: ItemFeatures,
        **fitted: Recommender | SkippedModel,
    ) -> Recommender | SkippedModel:
        """Fits the model on the training log, in its own MLflow run."""

        def fit(run: RunTracker) -> Recommender:
            options = training.fit.options(run.log, run.checkpoints)
            return fit_model(name, training, training_log, fitted_models(fitted), item_vectors, options)

        return fit_tracked(context, training, registry, name, fit, training_log.version)

    return train


def fitted_models(models: Mapping[str, Recommender | SkippedModel]) -> dict[str, Recommender]:
    """The models that could be fitted on the log."""
    return {name: model for name, model in models.items() if isinstance(model, Recommender)}


def fit_tracked(
    context: dg.AssetExecutionContext,
    config: TrainingConfig,
    registry: Registry,
    name: str,
    fit: Callable[[RunTracker], Recommender],
    data_version: str,
) -> Recommender | SkippedModel:
    """A model fitted in its own MLflow run. Its provenance names the run and the recipe, its log the data version.

    A model that cannot be fitted on this log is skipped: returns the reason.
    """
    with registry.run(context.partition_key, name, parameters(config, name), {"stage": "evaluation"}) as run:
        try:
            model, cost = measure(lambda: fit(run))
        except UnsuitableError as error:
            context.log.warning(str(error))
            show(context, {"skipped": str(error)})
            origin = {"data_version": data_version, "recipe": config.recipe()}
            if isinstance(error, ModelTooLargeError):
                # with more memory it may be fitted
                origin["max_memory_mb"] = str(config.fit.max_memory_mb)
            return SkippedModel(name, str(error), origin)
        model.provenance |= {"run_id": run.run_id, "recipe": config.recipe()}
        model.provenance |= {"fit_seconds": cost.seconds, "peak_memory_mb": cost.peak_mb}
        show_model(context, registry, run, model)
    return model


def parameters(config: TrainingConfig, name: str) -> dict[str, Any]:
    """The parameters of a run in MLflow."""
    return {"model": name, "recipe": config.recipe(), **config.fit_config(name).model_dump()}


def show_model(context: dg.AssetExecutionContext, registry: Registry, run: RunTracker, model: Recommender) -> None:
    """Adds the metadata of a fitted model in Dagster and in its MLflow run."""
    metadata: dict[str, Any] = {
        "fit seconds": rounded(model.provenance["fit_seconds"], 1),
        "peak memory, MB": round(model.provenance["peak_memory_mb"]),
        "mlflow run": dg.MetadataValue.url(registry.run_url(run.run_id)),
        "compare runs": dg.MetadataValue.url(registry.comparison_url(context.partition_key, model.name)),
    }
    if model.learning_curve:
        curve = plot_learning_curve(model.learning_curve)
        run.log_bytes("learning_curve.png", curve)
        metadata |= {"learning curve": picture(curve, "learning curve"), "epochs": len(model.learning_curve)}
    show(context, metadata)
