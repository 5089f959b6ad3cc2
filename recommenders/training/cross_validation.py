"""Cross-validation: fits and evaluates the models on each fold of the log before the test window."""

from collections.abc import Callable, Sequence

import pyarrow as pa

from recommenders.datasets.spec import Protocol
from recommenders.errors import ConfigurationError
from recommenders.evaluation.fold_report import CrossValidation, EvaluatedFold, evaluate_fold, summarise
from recommenders.evaluation.fold_tasks import Fold, FoldPlan, fold_tasks
from recommenders.models.recommender import Recommender
from recommenders.splitting.temporal import cut_time, split
from recommenders.training.configuration import TrainingConfig
from recommenders.training.fitting import SkippedModel, fit_recipe, with_base_models

Echo = Callable[[str], None]


def cross_validate(
    plan: FoldPlan,
    config: TrainingConfig,
    tables: tuple[pa.Table, pa.Table, pa.Table],
    protocol: Protocol,
    models: Sequence[str] = (),
    *,
    dataset: str = "",
    echo: Echo = lambda _: None,
) -> CrossValidation:
    """The metrics of the models on each fold and over all folds; no event of the test window is used.

    tables: interactions, items, users. models: by default all enabled ones; base models of an ensemble are fitted too.
    Calls `echo` with a line for each fold and model. Raises UnknownNameError or ConfigurationError for the models,
    ConfigurationError if no model can be fitted in a fold, and as fold_tasks() does.
    """
    names = config.chosen(models)
    interactions, items, users = tables
    done = []
    for number, fold in enumerate(fold_tasks(plan, interactions, items, users, protocol), 1):
        place = f"fold {number} of {plan.folds}"
        task, log = fold.window.task, fold.window.log
        echo(f"{place}, {fold.name}: {len(task.user_ids):,} users, {len(log):,} training events")
        done.append(_run_fold(fold, names, config, _prefixed(echo, place)))
    cut = cut_time(split(interactions, protocol)).isoformat()
    return summarise(done, plan, config.evaluation, dataset, cut)


def _prefixed(echo: Echo, place: str) -> Echo:
    return lambda line: echo(f"{place}: {line}")


def _run_fold(fold: Fold, names: Sequence[str], config: TrainingConfig, echo: Echo) -> EvaluatedFold:
    fitted, skipped, seconds = _fit(fold, names, config, echo)
    if not fitted:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in skipped.items())
        raise ConfigurationError(f"no model could be fitted in the fold {fold.name}: {reasons}; name other models")
    return evaluate_fold(fold, fitted, skipped, seconds, config.evaluation)


def _fit(
    fold: Fold, names: Sequence[str], config: TrainingConfig, echo: Echo
) -> tuple[dict[str, Recommender], dict[str, str], dict[str, float]]:
    """The named models that can be fitted, the reasons for the others, and the seconds of each fit."""
    skipped: dict[str, str] = {}
    seconds: dict[str, float] = {}

    def on_skip(model: SkippedModel) -> None:
        skipped[model.name] = model.reason
        echo(f"{model.name} is skipped: {model.reason}")

    def on_fit(name: str, took: float) -> None:
        seconds[name] = round(took, 3)
        echo(f"{name}: fitted in {took:.1f} s")

    log, features = fold.window.log, fold.window.features
    needed = with_base_models(names, config, log)
    fitted = fit_recipe(config, log, features, on_skip=on_skip, only=needed, on_fit=on_fit)
    return {name: fitted[name] for name in names if name in fitted}, skipped, seconds
