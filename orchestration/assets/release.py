"""From a recipe that was judged to a version that serves: refit, register, gate, package."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from orchestration.assets.models import MODEL, parameters, standing
from orchestration.metadata import show
from orchestration.settings import Settings
from recommenders.datasets.interactions import Interactions
from recommenders.datasets.splits import training_log as build_log
from recommenders.evaluation.protocol import make_case
from recommenders.evaluation.report import Report
from recommenders.features.items import ItemFeatures, encode_items_as_of
from recommenders.models.recommender import Recommender
from recommenders.training.configuration import TrainingConfig
from recommenders.training.training import Declined, refit
from serving.gate import choose_candidate
from serving.judgement import judge
from serving.registry import Registry, Unlogged
from serving.versions import Version


def registered_model_asset(config: TrainingConfig) -> dg.AssetsDefinition:
    """The asset that refits the chosen recipe on everything and registers it."""

    @dg.asset(
        ins={name: dg.AssetIn(dagster_type=MODEL) for name in config.enabled()},
        group_name="release",
        kinds={"mlflow"},
    )
    def registered_model(
        context: dg.AssetExecutionContext,
        settings: dg.ResourceParam[Settings],
        raw_dataset: dict[str, Any],
        interactions: pa.Table,
        items: pa.Table,
        evaluation_report: Report,
        **fitted: Recommender | Declined,
    ) -> dict[str, Any]:
        """The release candidate's recipe, refitted on all data and registered in MLflow as a challenger."""
        name = context.partition_key
        registry = Registry(settings.of(name))
        has_champion = registry.champion(name) is not None
        candidate = choose_candidate(evaluation_report.vectors("ndcg@10"), has_champion=has_champion)
        protocol = settings.of(name).spec.protocol
        log = replace(build_log(interactions, items, protocol), version=raw_dataset["version"])
        vectors = encode_items_as_of(items, log.items, log.last_event)
        unlogged = Unlogged(registry.checkpoints(name))
        model = refit(candidate, settings.training, log, vectors, standing(fitted), unlogged)
        model.provenance |= provenance(settings, evaluation_report, log)
        version = register(registry, settings, model, evaluation_report)
        show(context, links(registry, version, evaluation_report.megabytes[candidate]))
        facts = {"version": version.number, "model": candidate, "recipe": settings.training.recipe()}
        return {"dataset": name, **facts}

    return registered_model


def links(registry: Registry, version: Version, megabytes: float) -> dict[str, Any]:
    """What a person sees of a new version."""
    return {
        "version": version.number,
        "model": version.model,
        "megabytes": megabytes,
        "mlflow version": dg.MetadataValue.url(registry.version_url(version)),
        "mlflow run": dg.MetadataValue.url(registry.run_url(version.run_id)),
    }


def register(registry: Registry, settings: Settings, model: Recommender, report: Report) -> Version:
    """A new version of the model in MLflow, in a run of its own that also holds the evaluation of its recipe."""
    name, config = report.dataset, settings.training
    with (
        tempfile.TemporaryDirectory() as folder,
        registry.run(name, f"{model.name}-release", parameters(config, model.name), {"stage": "release"}) as run,
    ):
        run.log_file(report.save(Path(folder) / "evaluation"))
        bundle = model.save(Path(folder) / "bundle")
        return registry.publish(name, bundle, run.run_id, version_tags(settings, model, report))


def provenance(settings: Settings, report: Report, log: Interactions) -> dict[str, str]:
    """What a version stores of where it came from; its log's data version stands there already."""
    return {
        "recipe": settings.training.recipe(),
        "cut": report.cut,
        "trained_until": str(log.timestamps.max().astype("datetime64[us]")),
    }


def version_tags(settings: Settings, model: Recommender, report: Report) -> dict[str, str]:
    """The same on the registered version, with the evaluation of its recipe."""
    return {
        **{key: str(value) for key, value in model.provenance.items() if key != "run_id"},
        "configuration": settings.training.resolved(report.dataset).model_dump_json(),
        "evaluation": json.dumps(report.models[model.name]),
    }


@dg.asset(group_name="release", kinds={"mlflow"})
def champion(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    registered_model: dict[str, Any],
    evaluation_report: Report,
    split: pa.Table,
    training_log: Interactions,
    item_vectors: ItemFeatures,
) -> dict[str, Any]:
    """The version that serves: the challenger if the gate lets it pass, else the champion there was."""
    name = context.partition_key
    registry = Registry(settings.of(name))
    challenger = registry.version(name, registered_model["version"])
    case = make_case(training_log, split.filter(pc.field("part") == "test"), settings.of(name).spec.protocol)
    decision = judge(registry.champion(name), challenger, evaluation_report, training_log, item_vectors, case)
    if decision.promote:
        serving = registry.promote(name, challenger.number, decision.record)
    else:
        registry.set_tags(challenger, {"gate_record": json.dumps(decision.record)})
        context.log.warning(f"version {challenger.number} of {name} stays a challenger: {'; '.join(decision.reasons)}")
        serving = registry.champion(name) or challenger
    show(
        context,
        {
            "version": serving.number,
            "model": serving.model,
            "promoted": decision.promote,
            "reasons": dg.MetadataValue.md("\n".join(f"- {reason}" for reason in decision.reasons)),
            "gate record": dg.MetadataValue.json(decision.record),
            "mlflow version": dg.MetadataValue.url(registry.version_url(serving)),
        },
    )
    return {"dataset": name, "version": serving.number, "model": serving.model, "promoted": decision.promote}
