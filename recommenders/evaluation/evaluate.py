"""Evaluates models on one task: makes lists, computes metrics with intervals and costs, and returns a report."""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recommenders.evaluation import list_metrics, rank
from recommenders.evaluation.criteria import ceilings
from recommenders.evaluation.list_metrics import PopularityBaseline
from recommenders.evaluation.statistics.reliability import reliability_of
from recommenders.evaluation.statistics.report_values import Metrics, Values, Vectors, compared, intervals, plain
from recommenders.evaluation.tasks.slices import slices_of
from recommenders.evaluation.tasks.task import EvaluationConfig, EvaluationTask, TaskView
from recommenders.features.items import ItemFeatures
from recommenders.metrics.ranking import PRIMARY_METRIC, K
from recommenders.models.all_models import MODELS
from recommenders.models.recommender import Recommender

if TYPE_CHECKING:
    import pyarrow as pa

from recommenders.evaluation.report import Report

SLICE_METRICS = tuple(f"{metric}@{K}" for metric in ("precision", "recall", "ndcg", "hit_rate"))


def evaluate(
    models: Mapping[str, Recommender],
    task: EvaluationTask,
    features: ItemFeatures | None = None,
    *,
    dataset: str = "",
    cut: datetime | None = None,
    config: EvaluationConfig | None = None,
    segments: Mapping[str, NDArray[np.bool_]] | None = None,
    oracle: Mapping[str, Mapping[str, float]] | None = None,
    cold: Mapping[str, EvaluationTask] | None = None,
) -> Report:
    """Makes the lists of every model for every user of the task and evaluates them over all items (full ranking).

    segments: name -> (n_users,) masks of further user slices, besides those of slices.slices_of. oracle: view ->
    metric -> the value of a ranking by true probability, on a simulated market. cold: name -> a further task over the
    same items that is evaluated too, such as those of recommenders.evaluation.tasks.cold_start.
    """
    config, views, models = config or EvaluationConfig(), task.views(), _in_order(models)
    vectors, metrics = metrics_of(models, task, views, features, config)
    return Report(
        dataset,
        task.description,
        cut.isoformat() if cut else "",
        len(task.user_ids),
        task.cold_users,
        task.cold_items,
        metrics.pop("all"),
        metrics,
        {name: ceilings(view.relevant, task.candidates, K) for name, view in views.items()},
        {name: {"users": int((np.diff(view.relevant.indptr) == 0).sum())} for name, view in views.items()},
        **_costs(models, task),
        per_user=_per_user_table(vectors["all"], task),
        slices=_slice_metrics(vectors["all"], slices_of(task, features, segments), config),
        comparisons={name: compared(found, PRIMARY_METRIC, config) for name, found in vectors.items()},
        oracle={name: dict(values) for name, values in (oracle or {}).items()},
        reliability=reliability_of(models, task),
        cold={name: _evaluate_cold(models, other, config) for name, other in (cold or {}).items()},
    ).with_targets(config)


def _in_order(models: Mapping[str, Recommender]) -> dict[str, Recommender]:
    """The models in the order of MODELS; models that it does not list come last."""
    order = {name: place for place, name in enumerate(MODELS)}
    return {name: models[name] for name in sorted(models, key=lambda name: order.get(name, len(order)))}


def metrics_of(
    models: Mapping[str, Recommender],
    task: EvaluationTask,
    views: dict[str, TaskView],
    features: ItemFeatures | None,
    config: EvaluationConfig,
) -> tuple[dict[str, dict[str, dict[str, Values]]], dict[str, dict[str, Metrics]]]:
    """View -> model -> metric -> one value per user; and view -> model -> metrics with their intervals."""
    baseline = PopularityBaseline.from_log(next(iter(models.values())).histories_, task, views, K)
    users: dict[str, dict[str, dict[str, Values]]] = {view: {} for view in views}
    items: dict[str, dict[str, dict[str, Values]]] = {view: {} for view in views}
    whole: dict[str, dict[str, Metrics]] = {view: {} for view in views}
    for name, model in models.items():
        for view, ranked in rank.rank_users(model, task, views, K).items():
            users[view][name] = list_metrics.per_user(ranked, task, views[view], features, baseline)
            items[view][name] = list_metrics.per_item(ranked, task)
            whole[view][name] = {m: [plain(v), None, None] for m, v in list_metrics.overall(ranked, task).items()}
    metrics = {}
    for view in views:
        parts = (intervals(users[view], config), intervals(items[view], config), whole[view])
        metrics[view] = {name: parts[0][name] | parts[1][name] | parts[2][name] for name in models}
    return users, metrics


def _costs(models: Mapping[str, Recommender], task: EvaluationTask) -> dict[str, Any]:
    """The costs of each model: milliseconds per list, megabytes on disk, and the recorded cost of fitting.

    The models are fitted on one log, so the size of their context is counted once.
    """
    known = ("fit_seconds", "peak_memory_mb")
    return {
        "milliseconds": {name: rank.latency(model, task, K) for name, model in models.items()},
        "megabytes": {name: rank.bytes_on_disk(model) / 1e6 for name, model in models.items()},
        "context_megabytes": rank.context_bytes(next(iter(models.values()))) / 1e6,
        "costs": {
            name: {key: float(model.provenance[key]) for key in known if model.provenance.get(key) is not None}
            for name, model in models.items()
        },
    }


def _evaluate_cold(models: Mapping[str, Recommender], task: EvaluationTask, config: EvaluationConfig) -> dict[str, Any]:
    """{"description", "n_users", "models", "ceilings", "comparison"} of one task, on the view "all"."""
    views = {"all": task.views()["all"]}
    vectors, metrics = metrics_of(models, task, views, None, config)
    return {
        "description": task.description,
        "n_users": len(task.user_ids),
        "models": {name: {m: found[m] for m in SLICE_METRICS} for name, found in metrics["all"].items()},
        "ceilings": ceilings(task.relevant, task.candidates, K),
        "comparison": compared(vectors["all"], PRIMARY_METRIC, config),
    }


def _slice_metrics(
    vectors: Vectors, slices: Mapping[str, NDArray[np.bool_]], config: EvaluationConfig
) -> dict[str, dict[str, Any]]:
    found = {}
    for name, mask in slices.items():
        inside = {
            model: {m: v[mask] for m, v in values.items() if m in SLICE_METRICS} for model, values in vectors.items()
        }
        found[name] = {"n_users": int(mask.sum()), "models": intervals(inside, config)}
    return found


def _per_user_table(vectors: Vectors, task: EvaluationTask) -> "pa.Table":
    import pyarrow as pa

    n_users = len(task.user_ids)
    parts = [{"model": [name] * n_users, "user_id": task.user_ids, **found} for name, found in vectors.items()]
    return pa.concat_tables([pa.table(part) for part in parts])
