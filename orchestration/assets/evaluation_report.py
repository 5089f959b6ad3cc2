"""Every model, one protocol, intervals and ceilings."""

import contextlib

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from orchestration.assets.models import MODEL, standing
from orchestration.metadata import picture
from orchestration.partitions import datasets
from orchestration.settings import Settings
from recommenders.datasets.catalog import dataset
from recommenders.datasets.interactions import Interactions
from recommenders.datasets.spec import Protocol
from recommenders.datasets.splits import cut_time
from recommenders.errors import DataError
from recommenders.evaluation.cold import cold_buyers, cold_items
from recommenders.evaluation.protocol import Case, make_case
from recommenders.evaluation.report import Report
from recommenders.evaluation.report import evaluate as evaluate_models
from recommenders.evaluation.slices import by_segment
from recommenders.features.items import ItemFeatures
from recommenders.models.recommender import Recommender
from recommenders.training.configuration import TrainingConfig
from recommenders.training.training import Declined
from serving.registry import Registry


def report_asset(config: TrainingConfig) -> dg.AssetsDefinition:
    """The asset that judges the models which the configuration enables."""

    @dg.asset(
        ins={name: dg.AssetIn(dagster_type=MODEL) for name in config.enabled()},
        partitions_def=datasets,
        group_name="evaluation",
        kinds={"mlflow"},
    )
    def evaluation_report(
        context: dg.AssetExecutionContext,
        settings: dg.ResourceParam[Settings],
        split: pa.Table,
        training_log: Interactions,
        item_vectors: ItemFeatures,
        users: pa.Table,
        **fitted: Recommender | Declined,
    ) -> Report:
        """Every model on the test window: accuracy, variety, slices, cold starts, comparisons, and the criteria."""
        spec, models = dataset(context.partition_key), standing(fitted)
        test = split.filter(pc.field("part") == "test")
        case = make_case(training_log, test, spec.protocol)
        report = evaluate_models(
            models,
            case,
            item_vectors,
            dataset=spec.name,
            cut=cut_time(split),
            config=settings.training.evaluation,
            segments=by_segment(case, users),
            cold=cold_cases(training_log, test, spec.protocol),
        )
        registry = Registry(settings.of(spec.name))
        for name, model in models.items():
            with registry.resume(model.provenance["run_id"]) as run:
                run.log_metrics({m: v[0] for m, v in report.models[name].items() if v[0] is not None})
        context.add_output_metadata(
            {
                "report": dg.MetadataValue.md(report.to_markdown()),
                "plot": picture(report.plot(), "quality of each model with its interval and ceiling"),
                "cut": report.cut,
                "users": report.n_users,
                **{f"{name} ndcg@10": values["ndcg@10"][0] for name, values in report.models.items()},
            }
        )
        return report

    return evaluation_report


def cold_cases(log: Interactions, test: pa.Table, protocol: Protocol) -> dict[str, Case]:
    """New buyers and new items of the test window, where there are any."""
    found: dict[str, Case] = {}
    with contextlib.suppress(DataError):
        found["buyers"] = cold_buyers(log, test, protocol)
    with contextlib.suppress(DataError):
        found |= {f"items, {name}": case for name, case in cold_items(log, test, protocol).items()}
    return found
