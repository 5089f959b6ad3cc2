"""`tradewind validate`: cross-validation of models on the events before the test window."""

from typing import Annotated

import typer

from orchestration.cli.options import AsJson, Changes, Config, Dataset, Output, Source, print_report, settings_of
from recommenders.errors import ConfigurationError


def validate(
    dataset: Dataset = None,
    source: Source = None,
    config: Config = None,
    changes: Changes = None,
    scheme: Annotated[
        str, typer.Option(help="kfold: parts of the users; stratified: the same by group; time: rolling origin.")
    ] = "kfold",
    folds: Annotated[int, typer.Option(help="Number of folds; every model is fitted once per fold.")] = 5,
    by: Annotated[
        str | None,
        typer.Option(help="With stratified: a column of the users table, or activity.", show_default="segment"),
    ] = None,
    models: Annotated[
        str | None, typer.Option(help="Model names, separated by commas.", show_default="all enabled models")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the folds.")] = 42,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Cross-validate models: evaluate them on several folds before the test window."""
    if models is not None and not models.strip(", "):
        raise ConfigurationError(
            f"--models: got {models!r}; allowed: names separated by commas; name one or leave it out"
        )
    from orchestration.assets.cross_validation import FoldSettings
    from orchestration.io_manager import Lake
    from orchestration.jobs import VALIDATION
    from orchestration.launcher.runs import materialise
    from recommenders.evaluation.fold_report import CrossValidation
    from recommenders.evaluation.writers.fold_tables import render_folds

    names = [name.strip() for name in (models or "").split(",") if name.strip()]
    chosen = FoldSettings(scheme=scheme, folds=folds, by=by or "", models=names, seed=seed)
    _ = chosen.plan()  # an error before anything is read
    settings = settings_of(dataset, source, config, changes)
    settings.training.chosen(names)
    settings.remember_dataset("train")
    materialise(settings, job_name=VALIDATION, ops={"cross_validation": {"config": chosen.model_dump()}})
    settings.remember_source()
    found: CrossValidation = Lake(root=str(settings.lake)).read(settings.dataset, "cross_validation", CrossValidation)
    print_report(found.to_json(), render_folds(found), output, as_json)
