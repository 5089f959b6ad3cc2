"""The assets from an evaluated recipe to a version that serves: choose, refit, register, gate."""

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq

from orchestration.assets.json_outputs import Champion, RegisteredModel, ReleaseCandidate
from orchestration.assets.metadata import rounded, show
from orchestration.assets.models import MODEL, fitted_models, parameters
from orchestration.io_manager import Lake
from orchestration.resources import Datasets
from orchestration.settings import Settings
from recommenders.errors import DataError
from recommenders.evaluation.report import Report
from recommenders.evaluation.window_task import WindowTask, window_task
from recommenders.evaluation.writers.report_folder import save_report
from recommenders.events.interactions import Interactions
from recommenders.features.items import encode_items_as_of
from recommenders.metrics.ranking import PRIMARY_METRIC
from recommenders.models.recommender import Recommender
from recommenders.splitting.temporal import training_log as build_log
from recommenders.storage.feedback_position import Position
from recommenders.training.code_fingerprint import code_fingerprint
from recommenders.training.configuration import TrainingConfig
from recommenders.training.fitting import SkippedModel
from recommenders.training.selection import CandidateChoice, choose
from serving.release.challenger import MarketData, evaluate_challenger, release, stored_lists
from serving.release.gate import GateCheck, choose_candidate
from serving.release.refit import add_segments, measure, refit_candidate, refit_checks, to_record
from serving.release.registry import Registry
from serving.release.versions import LISTS_FILE, Version, training_tags


@dg.asset(group_name="release")
def release_candidate(
    context: dg.AssetExecutionContext,
    lake: dg.ResourceParam[Lake],
    datasets: dg.ResourceParam[Datasets],
    training: dg.ResourceParam[TrainingConfig],
    registry: dg.ResourceParam[Registry],
    interactions: pa.Table,
    items: pa.Table,
    evaluation_report: Report,
) -> ReleaseCandidate:
    """The model for the gate: chosen on the validation window, without the results of the test window.

    An earlier choice of the same recipe on nearly the same log is reused, because choosing costs a second training.
    """
    name = context.partition_key
    for line in registry.reconcile(name):
        context.log.warning(line)
    live = registry.champion(name)
    first = live is None or training.is_provisional(live.recipe)
    protocol, earlier = datasets[name].spec.protocol, earlier_choice(lake, name)
    choice = choose(training, interactions, items, protocol, earlier, first)
    vectors = evaluation_report.vectors(PRIMARY_METRIC)
    candidate = choose_candidate(vectors, choice.candidate, has_champion=not first)
    show(
        context,
        {
            "candidate": candidate,
            "chosen": f"{choice.candidate}, {choice.how}",
            "users of the validation window": choice.n_users,
            **{f"{model} {PRIMARY_METRIC} on validation": rounded(mean) for model, mean in choice.means.items()},
        },
    )
    return ReleaseCandidate(candidate, first, choice)


def earlier_choice(lake: Lake, dataset: str) -> CandidateChoice | None:
    """The last choice for a data set; None if it cannot be read."""
    try:
        found: ReleaseCandidate = lake.read(dataset, "release_candidate", ReleaseCandidate)
    except (OSError, DataError):  # none yet, or of an older version: choose again
        return None
    return found.choice


def registered_model_asset(config: TrainingConfig) -> dg.AssetsDefinition:
    """The asset that refits the chosen recipe on all data and registers it."""

    @dg.asset(
        ins={name: dg.AssetIn(dagster_type=MODEL) for name in config.enabled()},
        group_name="release",
        kinds={"mlflow"},
    )
    def registered_model(
        context: dg.AssetExecutionContext,
        lake: dg.ResourceParam[Lake],
        datasets: dg.ResourceParam[Datasets],
        training: dg.ResourceParam[TrainingConfig],
        registry: dg.ResourceParam[Registry],
        interactions: pa.Table,
        items: pa.Table,
        users: pa.Table,
        evaluation_report: Report,
        release_candidate: ReleaseCandidate,
        **fitted: Recommender | SkippedModel,
    ) -> RegisteredModel:
        """The release candidate's recipe, refitted on all data, checked, and registered in MLflow as a challenger."""
        name, candidate, models = context.partition_key, release_candidate.candidate, fitted_models(fitted)
        protocol, tables = datasets[name].spec.protocol, lake.table_version(name)
        log = replace(build_log(interactions, items, protocol), version=tables.data_version)
        vectors = encode_items_as_of(items, log.items, log.last_event)
        options = training.fit.options(checkpoints=registry.checkpoints(name))
        model = refit_candidate(candidate, models, log, vectors, options)
        segments = add_segments(model, log, users)
        model.provenance |= provenance(training, evaluation_report, log, tables.position)
        task = window_task(interactions, items, protocol)
        version, found = register(registry, training, model, models[candidate], evaluation_report, task, log)
        reasons = dg.MetadataValue.md("\n".join(f"- {one.reason}" for one in found))
        facts = links(registry, version, evaluation_report.bundle_megabytes(candidate))
        show(context, facts | {"refit": reasons, "segments": segments})
        return RegisteredModel(name, version.number, candidate, training.recipe())

    return registered_model


def links(registry: Registry, version: Version, megabytes: float) -> dict[str, Any]:
    """The metadata of a new version."""
    return {
        "version": version.number,
        "model": version.model,
        "megabytes": megabytes,
        "mlflow version": dg.MetadataValue.url(registry.version_url(version)),
        "mlflow run": dg.MetadataValue.url(registry.run_url(version.run_id)),
    }


def register(
    registry: Registry,
    config: TrainingConfig,
    model: Recommender,
    evaluated: Recommender,
    report: Report,
    task: WindowTask,
    log: Interactions,
) -> tuple[Version, list[GateCheck]]:
    """Registers a new version of the model in MLflow; returns it with the findings of the refit.

    Its run holds the evaluation of its recipe, and the lists for the comparison with later releases.
    """
    name = report.dataset
    with (
        tempfile.TemporaryDirectory() as folder,
        registry.run(name, f"{model.name}-release", parameters(config, model.name), {"stage": "release"}) as run,
    ):
        lists = task.lists(evaluated)
        pq.write_table(stored_lists(lists, task), Path(folder) / LISTS_FILE)
        run.log_file(Path(folder) / LISTS_FILE)
        run.log_file(save_report(report, Path(folder) / "evaluation"))
        bundle = model.save(Path(folder) / "bundle")
        measurements = measure(bundle, evaluated, lists, report.bundle_megabytes(model.name), task, log)
        found = refit_checks(measurements)
        tags = version_tags(config, model, report, to_record(measurements, found))
        return registry.publish(name, bundle, run.run_id, tags), found


def provenance(
    config: TrainingConfig, report: Report, log: Interactions, position: Position | None = None
) -> dict[str, str]:
    """The provenance that a version stores. The data version of its log is stored already.

    position: the last feedback event that the log takes into account; the service then adds only later ones.
    """
    return {
        "recipe": config.recipe(),
        "code": code_fingerprint(),
        "protocol": report.protocol,
        "cut": report.cut,
        "trained_until": str(log.timestamps.max().astype("datetime64[us]")),
        **(position.to_provenance() if position else {}),
    }


def version_tags(
    config: TrainingConfig, model: Recommender, report: Report, refit: Mapping[str, Any]
) -> dict[str, str]:
    """The tags of the registered version: its provenance, the evaluation of its recipe, and the record of the refit."""
    configuration = config.resolved(report.dataset).model_dump_json()
    return training_tags(model.provenance, configuration, report.models[model.name], refit)


@dg.asset(group_name="release", kinds={"mlflow"})
def champion(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    datasets: dg.ResourceParam[Datasets],
    training: dg.ResourceParam[TrainingConfig],
    registry: dg.ResourceParam[Registry],
    registered_model: RegisteredModel,
    evaluation_report: Report,
    interactions: pa.Table,
    items: pa.Table,
) -> Champion:
    """The version that serves: the challenger if it passes the gate, else the present champion.

    A promotion ends the incidents of earlier rollbacks.
    """
    name, dataset = context.partition_key, datasets[context.partition_key]
    challenger = registry.version(name, registered_model.version)
    restored = dataset.restored_version() is not None
    market = MarketData(interactions, items, dataset.spec.protocol, restored)
    refitted = challenger.refit_checks
    live = registry.champion(name)
    decision = evaluate_challenger(registry, live, challenger, evaluation_report, market, training, refitted)
    serving, promoted, reasons = release(registry, challenger, decision)
    if promoted:
        settings.alerts.recover_all("rollback", name)
    else:
        context.log.warning(f"version {challenger.number} of {name} stays a challenger: {'; '.join(reasons)}")
    show(
        context,
        {
            "version": serving.number,
            "model": serving.model,
            "promoted": promoted,
            "reasons": dg.MetadataValue.md("\n".join(f"- {reason}" for reason in reasons)),
            "gate record": dg.MetadataValue.json(decision.record),
            "mlflow version": dg.MetadataValue.url(registry.version_url(serving)),
        },
    )
    return Champion(name, serving.number, serving.model, promoted)
