"""One asset a model, each fitted on what lies before the cut, and the hybrid that blends them."""

from collections.abc import Callable
from typing import Any

import dagster as dg

from orchestration.metadata import picture
from orchestration.partitions import datasets
from orchestration.settings import Settings
from recommenders.datasets.interactions import Interactions
from recommenders.evaluation.plots import plot_learning_curve
from recommenders.features.items import ItemFeatures
from recommenders.models.hybrid import Hybrid
from recommenders.models.recommender import Recommender
from recommenders.training.configuration import TrainingConfig
from recommenders.training.training import compose_hybrid, fit_member
from serving.registry import Registry, RunTracker

KINDS = {"neural_collaborative": {"torch", "mlflow"}}


def model_assets(config: TrainingConfig) -> list[dg.AssetsDefinition]:
    """The assets of the models that the configuration enables."""
    members = [name for name in config.enabled() if name != Hybrid.name]
    return [
        *(member_asset(name) for name in members),
        *([hybrid_asset(members)] if "hybrid" in config.enabled() else []),
    ]


def member_asset(name: str) -> dg.AssetsDefinition:
    """The asset that fits one model."""

    @dg.asset(
        name=name,
        description=f"The {name} model, fitted on what lies before the cut.",
        partitions_def=datasets,
        group_name="models",
        kinds=KINDS.get(name, {"mlflow"}),
    )
    def train(
        context: dg.AssetExecutionContext,
        settings: dg.ResourceParam[Settings],
        training_log: Interactions,
        item_vectors: ItemFeatures,
    ) -> Recommender:
        def fit(run: RunTracker) -> Recommender:
            return fit_member(name, settings.training, training_log, item_vectors, run)

        return tracked(context, settings, name, fit)

    return train


def hybrid_asset(members: list[str]) -> dg.AssetsDefinition:
    """The asset that blends the fitted members by the configured weights."""

    @dg.asset(
        name=Hybrid.name,
        ins={name: dg.AssetIn(dagster_type=MODEL) for name in members},
        partitions_def=datasets,
        group_name="models",
        kinds={"mlflow"},
    )
    def blend(
        context: dg.AssetExecutionContext,
        settings: dg.ResourceParam[Settings],
        training_log: Interactions,
        **fitted: Recommender,
    ) -> Recommender:
        """The weighted blend of the members: what is released."""

        def compose(_run: RunTracker) -> Recommender:
            return compose_hybrid(settings.training, training_log, fitted)

        return tracked(context, settings, Hybrid.name, compose)

    return blend


MODEL = dg.PythonObjectDagsterType(Recommender, name="Recommender")


def tracked(
    context: dg.AssetExecutionContext, settings: Settings, name: str, fit: Callable[[RunTracker], Recommender]
) -> Recommender:
    """A model fitted in an MLflow run of its own; it says which run and recipe it comes from, its log which data."""
    dataset, config = context.partition_key, settings.training
    registry = Registry(settings.of(dataset))
    with registry.run(dataset, name, parameters(config, name), {"stage": "evaluation"}) as run:
        model = fit(run)
        model.provenance |= {"run_id": run.run_id, "recipe": config.recipe()}
        describe(context, registry, run, model)
    return model


def parameters(config: TrainingConfig, name: str) -> dict[str, Any]:
    """What MLflow shows as a run's parameters."""
    return {"model": name, "recipe": config.recipe(), **config.of(name).model_dump()}


def describe(context: dg.AssetExecutionContext, registry: Registry, run: RunTracker, model: Recommender) -> None:
    """Metadata of a fitted model, in Dagster and in its MLflow run."""
    metadata: dict[str, Any] = {"mlflow run": dg.MetadataValue.url(registry.run_url(run.run_id))}
    if model.learning_curve:
        curve = plot_learning_curve(model.learning_curve)
        run.log_bytes("learning_curve.png", curve)
        metadata |= {"learning curve": picture(curve, "learning curve"), "epochs": len(model.learning_curve)}
    context.add_output_metadata(metadata)
