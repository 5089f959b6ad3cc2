"""The results of a cross-validation: each fold, and all folds together."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommenders.evaluation.evaluate import metrics_of
from recommenders.evaluation.fold_tasks import Fold, FoldPlan
from recommenders.evaluation.statistics.report_values import Cell, Metrics, Values, Vectors, compared, intervals
from recommenders.evaluation.tasks.task import EvaluationConfig
from recommenders.metrics.ranking import PRIMARY_METRIC
from recommenders.models.recommender import Recommender


@dataclass(frozen=True)
class FoldResult:
    """One fold. The training numbers are of the log that the models were fitted on."""

    name: str
    n_users: int  # evaluated
    n_left_out: int  # users of the fold that are not evaluated: EvaluationTask.cold_users
    n_training_users: int
    n_training_events: int
    models: dict[str, Metrics]  # on the view "all"
    skipped: dict[str, str]  # model that cannot be fitted on the log of the fold -> reason
    fit_seconds: dict[str, float]  # model -> seconds of its fit, without those of its base models


@dataclass(frozen=True)
class CrossValidation:
    """All folds. `pooled`, `across_folds` and `comparison` have the models that were fitted in every fold."""

    dataset: str
    plan: FoldPlan
    protocol: str
    cut: str  # ISO 8601: the test window begins after it; no fold has a later event
    n_users: int  # distinct users over all folds
    folds: list[FoldResult]
    pooled: dict[str, dict[str, Cell]]  # model -> metric -> mean over users with its interval
    across_folds: dict[str, dict[str, Cell]]  # model -> metric -> [mean, standard deviation] of the folds' values
    comparison: dict[str, Any]  # the best model and the others: report_values.compared()

    @property
    def models(self) -> list[str]:
        """The models that were fitted in at least one fold."""
        return list(dict.fromkeys(name for fold in self.folds for name in fold.models))

    def to_json(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class EvaluatedFold:
    """The result of one fold, and the values of its users."""

    result: FoldResult
    description: str
    user_ids: NDArray[np.str_]  # (n_users,)
    vectors: Vectors  # model -> metric -> (n_users,)


def evaluate_fold(
    fold: Fold,
    models: Mapping[str, Recommender],
    skipped: Mapping[str, str],
    fit_seconds: Mapping[str, float],
    config: EvaluationConfig,
) -> EvaluatedFold:
    """Makes and evaluates lists as evaluate() does, on the view "all". models: fitted on the log of the fold."""
    log, task = fold.window.log, fold.window.task
    views = {"all": task.views()["all"]}
    vectors, metrics = metrics_of(models, task, views, fold.window.features, config)
    sizes = (len(task.user_ids), task.cold_users, len(log.users), len(log))
    result = FoldResult(fold.name, *sizes, metrics["all"], dict(skipped), dict(fit_seconds))
    return EvaluatedFold(result, task.description, task.user_ids, vectors["all"])


def summarise(
    folds: Sequence[EvaluatedFold], plan: FoldPlan, config: EvaluationConfig, dataset: str, cut: str
) -> CrossValidation:
    """The results of all folds together."""
    n_users, vectors = pool(folds)
    results = [fold.result for fold in folds]
    return CrossValidation(
        dataset,
        plan,
        folds[0].description,
        cut,
        n_users,
        results,
        intervals(vectors, config) if vectors else {},
        {name: _across([fold.models[name] for fold in results]) for name in vectors},
        compared(vectors, PRIMARY_METRIC, config) if vectors else {},
    )


def pool(folds: Sequence[EvaluatedFold]) -> tuple[int, dict[str, dict[str, Values]]]:
    """The number of distinct users, and model -> metric -> one value per user: the mean over the user's folds.

    Values of one user in several folds are not independent; as one value they are resampled together. An undefined
    value is left out of the mean. Only models that were evaluated in every fold are compared on the same users.
    """
    ids, places = np.unique(np.concatenate([fold.user_ids for fold in folds]), return_inverse=True)
    names = [name for name in folds[0].vectors if all(name in fold.vectors for fold in folds)]
    found: dict[str, dict[str, Values]] = {}
    for name in names:
        joined = {
            metric: np.concatenate([fold.vectors[name][metric] for fold in folds]) for metric in folds[0].vectors[name]
        }
        found[name] = {metric: _mean_by_place(values, places, len(ids)) for metric, values in joined.items()}
    return len(ids), found


def _mean_by_place(values: Values, places: NDArray[np.int64], n: int) -> Values:
    """(n,) the mean of the defined values at each place; nan if there is none."""
    defined = ~np.isnan(values)
    sums = np.bincount(places[defined], values[defined], minlength=n)
    counts = np.bincount(places[defined], minlength=n)
    return np.asarray(sums / np.where(counts > 0, counts, np.nan))


def _across(folds: Sequence[Metrics]) -> dict[str, Cell]:
    """Metric -> [mean, sample standard deviation] of the folds where it is defined; None for too few of them."""
    found: dict[str, Cell] = {}
    for metric in folds[0]:
        values = [value for value in (fold[metric][0] for fold in folds) if value is not None]
        deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
        found[metric] = [float(np.mean(values)) if values else None, deviation]
    return found
