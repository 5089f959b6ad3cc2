"""Every model, one protocol, intervals and ceilings."""

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from orchestration.assets.models import MODEL
from orchestration.metadata import picture
from orchestration.partitions import datasets
from orchestration.settings import Settings
from recommenders.datasets.catalog import dataset
from recommenders.datasets.interactions import Interactions
from recommenders.datasets.splits import cut_time
from recommenders.evaluation.protocol import make_case
from recommenders.evaluation.report import Report
from recommenders.evaluation.report import evaluate as evaluate_models
from recommenders.features.items import ItemFeatures
from recommenders.models.recommender import Recommender
from recommenders.training.configuration import TrainingConfig
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
        **models: Recommender,
    ) -> Report:
        """Precision, recall, NDCG, coverage and diversity of every model on the test window, against the criteria."""
        spec = dataset(context.partition_key)
        case = make_case(training_log, split.filter(pc.field("part") == "test"), spec.protocol)
        report = evaluate_models(
            models,
            case,
            item_vectors,
            dataset=spec.name,
            cut=cut_time(split),
            config=settings.training.evaluation,
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
