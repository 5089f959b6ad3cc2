"""The asset that evaluates all models by one protocol, with confidence intervals and ceilings."""

import contextlib
from collections.abc import Mapping
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from orchestration.assets.metadata import picture, rounded, show
from orchestration.assets.models import MODEL, fitted_models
from orchestration.resources import Dataset, Datasets
from recommenders.datasets.spec import Protocol
from recommenders.errors import DataError
from recommenders.evaluation.evaluate import evaluate as evaluate_models
from recommenders.evaluation.oracle import oracle_metrics
from recommenders.evaluation.report import Report
from recommenders.evaluation.tasks.cold_start import cold_items, cold_start_users, rest_of_basket
from recommenders.evaluation.tasks.slices import by_segment
from recommenders.evaluation.tasks.task import EvaluationTask, make_task
from recommenders.evaluation.writers import markdown, plots
from recommenders.events.interactions import Interactions
from recommenders.features.items import ItemFeatures
from recommenders.metrics.ranking import PRIMARY_METRIC
from recommenders.models.recommender import Recommender
from recommenders.splitting.temporal import cut_time
from recommenders.training.configuration import TrainingConfig
from recommenders.training.fitting import SkippedModel
from serving.release.registry import Registry

ORACLE_CELLS = 40_000_000  # users x items, about a minute of work; with more the oracle takes longer than training


def report_asset(config: TrainingConfig) -> dg.AssetsDefinition:
    """The asset that evaluates the models which the configuration enables."""

    @dg.asset(
        ins={name: dg.AssetIn(dagster_type=MODEL) for name in config.enabled()},
        group_name="evaluation",
        kinds={"mlflow"},
    )
    def evaluation_report(
        context: dg.AssetExecutionContext,
        datasets: dg.ResourceParam[Datasets],
        training: dg.ResourceParam[TrainingConfig],
        registry: dg.ResourceParam[Registry],
        split: pa.Table,
        training_log: Interactions,
        item_vectors: ItemFeatures,
        users: pa.Table,
        **fitted: Recommender | SkippedModel,
    ) -> Report:
        """All models on the test window: accuracy, variety, slices, cold start, comparisons and success criteria."""
        dataset, models = datasets[context.partition_key], fitted_models(fitted)
        test = split.filter(pc.field("part") == "test")
        task = make_task(training_log, test, dataset.spec.protocol)
        report = evaluate_models(
            models,
            task,
            item_vectors,
            dataset=dataset.name,
            cut=cut_time(split),
            config=training.evaluation,
            segments=by_segment(task, users),
            oracle=simulated_oracle_metrics(dataset, training, task, training_log, split),
            cold=cold_start_tasks(training_log, test, dataset.spec.protocol),
        )
        log_to_mlflow(registry, report, models)
        show(context, report_metadata(report))
        return report

    return evaluation_report


def log_to_mlflow(registry: Registry, report: Report, models: Mapping[str, Recommender]) -> None:
    """Logs each model's metrics to the MLflow run that fitted it."""
    for name, model in models.items():
        with registry.resume(model.provenance["run_id"]) as run:
            run.log_metrics({m: v[0] for m, v in report.models[name].items() if v[0] is not None})


def report_metadata(report: Report) -> dict[str, Any]:
    """The metadata of the asset: the report, a plot and the primary metric of each model."""
    return {
        "report": dg.MetadataValue.md(markdown.render(report)),
        "plot": picture(plots.plot_report(report), "quality of each model with its interval and ceiling"),
        "cut": report.cut,
        "users": report.n_users,
        **{f"{name} {PRIMARY_METRIC}": rounded(values[PRIMARY_METRIC][0]) for name, values in report.models.items()},
    }


def simulated_oracle_metrics(
    dataset: Dataset, training: TrainingConfig, task: EvaluationTask, log: Interactions, split: pa.Table
) -> dict[str, dict[str, float]]:
    """The metrics of a ranking by the true purchase probabilities on the simulated market; empty for other data.

    Files from outside, a restored version, and files generated again after the log was read may be of another market.
    """
    data, has_own_files = training.data, dataset.settings.source is None and not dataset.restored_version()
    if dataset.name != "custom_b2b" or not has_own_files or dataset.fingerprint().version != log.version:
        return {}
    if len(task.user_ids) * len(log.items) > ORACLE_CELLS:
        return {}
    return oracle_metrics(data.scale, data.seed, task, log, split, dataset.spec.protocol.test_days)


def cold_start_tasks(log: Interactions, test: pa.Table, protocol: Protocol) -> dict[str, EvaluationTask]:
    """The tasks of cold-start users and new items of the test window, where there are any."""
    found: dict[str, EvaluationTask] = {}
    with contextlib.suppress(DataError):
        found["cold-start users, later visits"] = cold_start_users(log, test, protocol)
    with contextlib.suppress(DataError):
        found["cold-start users, rest of the basket"] = rest_of_basket(log, test, protocol)
    with contextlib.suppress(DataError):
        tasks = cold_items(log, test, protocol)
        found |= {"new items among themselves": tasks["cold_only"], "new items among all": tasks["among_all"]}
    return found
