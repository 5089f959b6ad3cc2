"""Every model, one protocol, intervals and ceilings."""

import contextlib
from collections.abc import Mapping
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from orchestration.assets.metadata import picture, rounded, show
from orchestration.assets.models import MODEL, standing
from orchestration.assets.source import fingerprint, held
from orchestration.settings import Settings
from recommenders.datasets.spec import Protocol
from recommenders.errors import DataError
from recommenders.evaluation.evaluate import evaluate as evaluate_models
from recommenders.evaluation.oracle import oracle_figures
from recommenders.evaluation.report import Report
from recommenders.evaluation.tasks.cold_start import cold_buyers, cold_items, rest_of_basket
from recommenders.evaluation.tasks.slices import by_segment
from recommenders.evaluation.tasks.task import Case, make_case
from recommenders.evaluation.writers import markdown, plots
from recommenders.events.interactions import Interactions
from recommenders.features.items import ItemFeatures
from recommenders.metrics.ranking import PRIMARY_METRIC
from recommenders.models.recommender import Recommender
from recommenders.splitting.temporal import cut_time
from recommenders.training.configuration import TrainingConfig
from recommenders.training.fitting import Declined
from serving.release.registry import Registry

ORACLE_CELLS = 40_000_000  # buyers x items, about a minute's work; the oracle of more would outlast the training


def report_asset(config: TrainingConfig) -> dg.AssetsDefinition:
    """The asset that judges the models which the configuration enables."""

    @dg.asset(
        ins={name: dg.AssetIn(dagster_type=MODEL) for name in config.enabled()},
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
        spec, models = settings.of(context.partition_key).spec, standing(fitted)
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
            oracle=oracle_of(settings.of(spec.name), case, training_log, split),
            cold=cold_cases(training_log, test, spec.protocol),
        )
        tell_mlflow(settings.of(spec.name), report, models)
        show(context, page_of(report))
        return report

    return evaluation_report


def tell_mlflow(settings: Settings, report: Report, models: Mapping[str, Recommender]) -> None:
    """Each model's figures into the run that fitted it."""
    registry = Registry(settings)
    for name, model in models.items():
        with registry.resume(model.provenance["run_id"]) as run:
            run.log_metrics({m: v[0] for m, v in report.models[name].items() if v[0] is not None})


def page_of(report: Report) -> dict[str, Any]:
    """What a person sees on the asset's page."""
    return {
        "report": dg.MetadataValue.md(markdown.render(report)),
        "plot": picture(plots.plot_report(report), "quality of each model with its interval and ceiling"),
        "cut": report.cut,
        "users": report.n_users,
        **{f"{name} {PRIMARY_METRIC}": rounded(values[PRIMARY_METRIC][0]) for name, values in report.models.items()},
    }


def oracle_of(settings: Settings, case: Case, log: Interactions, split: pa.Table) -> dict[str, dict[str, float]]:
    """What a ranking by the true probabilities reaches on the market that the project has made; nothing elsewhere.

    Files from outside, a version that is held, and files made anew since the log was read may be of another market.
    """
    data = settings.training.data
    made_here = settings.dataset == "custom_b2b" and settings.source is None and not held(settings)
    if not made_here or fingerprint(settings)["version"] != log.version:
        return {}
    if len(case.user_ids) * len(log.items) > ORACLE_CELLS:
        return {}
    return oracle_figures(data.scale, data.seed, case, log, split, settings.spec.protocol.test_days)


def cold_cases(log: Interactions, test: pa.Table, protocol: Protocol) -> dict[str, Case]:
    """New buyers and new items of the test window, where there are any."""
    found: dict[str, Case] = {}
    with contextlib.suppress(DataError):
        found["cold-start users, later visits"] = cold_buyers(log, test, protocol)
    with contextlib.suppress(DataError):
        found["cold-start users, rest of the basket"] = rest_of_basket(log, test, protocol)
    with contextlib.suppress(DataError):
        cases = cold_items(log, test, protocol)
        found |= {"new items among themselves": cases["cold_only"], "new items among all": cases["among_all"]}
    return found
