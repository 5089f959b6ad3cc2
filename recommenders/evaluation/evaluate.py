"""Every model on one task: lists, figures with intervals, costs; and the report of them."""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recommenders.evaluation import judge, rank
from recommenders.evaluation.criteria import ceilings
from recommenders.evaluation.figures import Metrics, Values, Vectors, compared, intervals, plain
from recommenders.evaluation.judge import Crowd
from recommenders.evaluation.tasks.slices import slices_of
from recommenders.evaluation.tasks.task import Case, EvaluationConfig, View
from recommenders.features.items import ItemFeatures
from recommenders.metrics.ranking import PRIMARY_METRIC, K
from recommenders.models.catalog import MODELS
from recommenders.models.recommender import Recommender

if TYPE_CHECKING:
    import pyarrow as pa

from recommenders.evaluation.report import Report

SLICED = tuple(f"{metric}@{K}" for metric in ("precision", "recall", "ndcg", "hit_rate"))


def evaluate(
    models: Mapping[str, Recommender],
    case: Case,
    features: ItemFeatures | None = None,
    *,
    dataset: str = "",
    cut: datetime | None = None,
    config: EvaluationConfig | None = None,
    segments: Mapping[str, NDArray[np.bool_]] | None = None,
    oracle: Mapping[str, Mapping[str, float]] | None = None,
    cold: Mapping[str, Case] | None = None,
) -> Report:
    """Asks every model for lists for every buyer of the case and judges them, over all items (full ranking).

    segments: name -> (n_users,) buyers to judge apart, beside those of slices.slices_of. oracle: view -> metric ->
    what a ranking by the true probabilities reaches, on a simulated market. cold: name -> a case over the same items
    that is judged beside the main one, such as those of recommenders.evaluation.tasks.cold_start.
    """
    config, views, models = config or EvaluationConfig(), case.views(), _in_order(models)
    vectors, metrics = _judge(models, case, views, features, config)
    return Report(
        dataset,
        case.description,
        cut.isoformat() if cut else "",
        len(case.user_ids),
        case.cold_users,
        case.cold_items,
        metrics.pop("all"),
        metrics,
        {name: ceilings(view.relevant, case.candidates, K) for name, view in views.items()},
        {name: {"users": int((np.diff(view.relevant.indptr) == 0).sum())} for name, view in views.items()},
        **_taken(models, case),
        per_user=_table(vectors["all"], case),
        slices=_sliced(vectors["all"], slices_of(case, features, segments), config),
        comparisons={name: compared(of_view, PRIMARY_METRIC, config) for name, of_view in vectors.items()},
        oracle={name: dict(of_view) for name, of_view in (oracle or {}).items()},
        cold={name: _judged_cold(models, other, config) for name, other in (cold or {}).items()},
    ).against(config)


def _in_order(models: Mapping[str, Recommender]) -> dict[str, Recommender]:
    """As the catalogue has them; what it does not know comes last."""
    order = {name: place for place, name in enumerate(MODELS)}
    return {name: models[name] for name in sorted(models, key=lambda name: order.get(name, len(order)))}


def _judge(
    models: Mapping[str, Recommender],
    case: Case,
    views: dict[str, View],
    features: ItemFeatures | None,
    config: EvaluationConfig,
) -> tuple[dict[str, dict[str, dict[str, Values]]], dict[str, dict[str, Metrics]]]:
    """View -> model -> metric -> one value a user; and view -> model -> metrics with their intervals."""
    crowd = Crowd.of(next(iter(models.values())).histories_, case, views, K)
    users: dict[str, dict[str, dict[str, Values]]] = {view: {} for view in views}
    items: dict[str, dict[str, dict[str, Values]]] = {view: {} for view in views}
    whole: dict[str, dict[str, Metrics]] = {view: {} for view in views}
    for name, model in models.items():
        for view, ranked in rank.rank(model, case, views, K).items():
            users[view][name] = judge.per_user(ranked, case, views[view], features, crowd)
            items[view][name] = judge.per_item(ranked, case)
            whole[view][name] = {m: [plain(v), None, None] for m, v in judge.overall(ranked, case).items()}
    metrics = {}
    for view in views:
        parts = (intervals(users[view], config), intervals(items[view], config), whole[view])
        metrics[view] = {name: parts[0][name] | parts[1][name] | parts[2][name] for name in models}
    return users, metrics


def _taken(models: Mapping[str, Recommender], case: Case) -> dict[str, Any]:
    """What each model takes: milliseconds a list, megabytes on disk, and for fitting what was recorded then."""
    known = ("fit_seconds", "peak_memory_mb")
    return {
        "milliseconds": {name: rank.latency(model, case, K) for name, model in models.items()},
        "megabytes": {name: rank.bytes_on_disk(model) / 1e6 for name, model in models.items()},
        "costs": {
            name: {fact: float(model.provenance[fact]) for fact in known if model.provenance.get(fact) is not None}
            for name, model in models.items()
        },
    }


def _judged_cold(models: Mapping[str, Recommender], case: Case, config: EvaluationConfig) -> dict[str, Any]:
    """{"description", "n_users", "models", "ceilings", "comparison"} of one case, all its items in one view."""
    views = {"all": case.views()["all"]}
    vectors, metrics = _judge(models, case, views, None, config)
    return {
        "description": case.description,
        "n_users": len(case.user_ids),
        "models": {name: {m: found[m] for m in SLICED} for name, found in metrics["all"].items()},
        "ceilings": ceilings(case.relevant, case.candidates, K),
        "comparison": compared(vectors["all"], PRIMARY_METRIC, config),
    }


def _sliced(
    vectors: Vectors, slices: Mapping[str, NDArray[np.bool_]], config: EvaluationConfig
) -> dict[str, dict[str, Any]]:
    found = {}
    for name, members in slices.items():
        inside = {model: {m: v[members] for m, v in own.items() if m in SLICED} for model, own in vectors.items()}
        found[name] = {"n_users": int(members.sum()), "models": intervals(inside, config)}
    return found


def _table(vectors: Vectors, case: Case) -> "pa.Table":
    import pyarrow as pa

    n_users = len(case.user_ids)
    parts = [{"model": [name] * n_users, "user_id": case.user_ids, **found} for name, found in vectors.items()]
    return pa.concat_tables([pa.table(part) for part in parts])
