"""One asset a model, each fitted on what lies before the cut, and the hybrids made of them."""

from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg

from orchestration.assets.metadata import picture, rounded, show
from orchestration.io_manager import MODEL_TYPE
from orchestration.settings import Settings
from recommenders.errors import ModelTooLargeError, UnsuitableError
from recommenders.evaluation.cost import measure
from recommenders.evaluation.writers.plots import plot_learning_curve
from recommenders.events.interactions import Interactions
from recommenders.features.items import ItemFeatures
from recommenders.models.catalog import COMPOSED
from recommenders.models.recommender import Recommender
from recommenders.training.configuration import TrainingConfig
from recommenders.training.fitting import Declined, fit_model
from serving.release.registry import Registry, RunTracker

KINDS = {"neural_collaborative": {"torch", "mlflow"}, "sasrec": {"torch", "mlflow"}}
DESCRIPTIONS = {
    "popularity": "What sells, newer purchases counting more; the answer where nothing else is known.",
    "content_based": "Items like those the buyer took, by category, brand, price, rating and text.",
    "collaborative_filtering": "What the most similar buyers took.",
    "repurchase": "What the buyer is due to take again: how often, how regularly, how long ago.",
    "ease": "EASE: how much each item speaks for each other one, in closed form.",
    "ials": "Factors of buyers and items by alternating least squares (iALS).",
    "sasrec": "SASRec: attention over the buyer's events, in their order.",
    "neural_collaborative": "NeuMF: factors and layers over a buyer and the newest events.",
    "hybrid": "The blend of the members by the configured weights.",
    "hybrid_learned": "The ranker over all members' candidates, grown on earlier windows of the log.",
}
MODEL = dg.PythonObjectDagsterType((Recommender, Declined), name=MODEL_TYPE)


def model_assets(config: TrainingConfig) -> list[dg.AssetsDefinition]:
    """The assets of the models that the configuration enables."""
    members = [name for name in config.enabled() if name not in COMPOSED]
    return [model_asset(name, members if name in COMPOSED else []) for name in config.enabled()]


def model_asset(name: str, members: list[str]) -> dg.AssetsDefinition:
    """The asset that fits one model, or makes it of the fitted members."""

    @dg.asset(
        name=name,
        description=DESCRIPTIONS.get(name, f"The {name} model, fitted on what lies before the cut."),
        ins={member: dg.AssetIn(dagster_type=MODEL) for member in members},
        group_name="models",
        kinds=KINDS.get(name, {"mlflow"}),
        dagster_type=MODEL,
    )
    def train(
        context: dg.AssetExecutionContext,
        settings: dg.ResourceParam[Settings],
        training_log: Interactions,
        item_vectors: ItemFeatures,
        **fitted: Recommender | Declined,
    ) -> Recommender | Declined:
        def fit(run: RunTracker) -> Recommender:
            return fit_model(name, settings.training, training_log, standing(fitted), item_vectors, run)

        return tracked(context, settings, name, fit, training_log.version)

    return train


def standing(models: Mapping[str, Recommender | Declined]) -> dict[str, Recommender]:
    """The models that could learn from the log."""
    return {name: model for name, model in models.items() if isinstance(model, Recommender)}


def tracked(
    context: dg.AssetExecutionContext,
    settings: Settings,
    name: str,
    fit: Callable[[RunTracker], Recommender],
    data_version: str,
) -> Recommender | Declined:
    """A model fitted in an MLflow run of its own; it says which run and recipe it comes from, its log which data.

    Where it cannot learn from this log, why.
    """
    dataset, config = context.partition_key, settings.training
    registry = Registry(settings.of(dataset))
    with registry.run(dataset, name, parameters(config, name), {"stage": "evaluation"}) as run:
        try:
            model, cost = measure(lambda: fit(run))
        except UnsuitableError as error:
            context.log.warning(str(error))
            show(context, {"declined": str(error)})
            origin = {"data_version": data_version, "recipe": config.recipe()}
            if isinstance(error, ModelTooLargeError):
                origin["max_memory_mb"] = str(config.of(name).max_memory_mb)  # with more it may learn after all
            return Declined(name, str(error), origin)
        model.provenance |= {"run_id": run.run_id, "recipe": config.recipe()}
        model.provenance |= {"fit_seconds": cost.seconds, "peak_memory_mb": cost.peak_mb}
        describe(context, registry, run, model)
    return model


def parameters(config: TrainingConfig, name: str) -> dict[str, Any]:
    """What MLflow shows as a run's parameters."""
    return {"model": name, "recipe": config.recipe(), **config.of(name).model_dump()}


def describe(context: dg.AssetExecutionContext, registry: Registry, run: RunTracker, model: Recommender) -> None:
    """Metadata of a fitted model, in Dagster and in its MLflow run."""
    metadata: dict[str, Any] = {
        "fit seconds": rounded(model.provenance["fit_seconds"], 1),
        "peak memory, MB": round(model.provenance["peak_memory_mb"]),
        "mlflow run": dg.MetadataValue.url(registry.run_url(run.run_id)),
    }
    if model.learning_curve:
        curve = plot_learning_curve(model.learning_curve)
        run.log_bytes("learning_curve.png", curve)
        metadata |= {"learning curve": picture(curve, "learning curve"), "epochs": len(model.learning_curve)}
    show(context, metadata)
