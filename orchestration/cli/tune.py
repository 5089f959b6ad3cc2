"""`tradewind tune`: better settings of models, by trials on the validation window."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from orchestration.cli.options import AsJson, Config, Dataset, Source, echo, settings_of


def tune(
    dataset: Dataset = None,
    source: Source = None,
    config: Config = None,
    models: Annotated[
        str | None, typer.Option(help="Model names, separated by commas.", show_default="all enabled models")
    ] = None,
    sampler: Annotated[str, typer.Option(help="bayesian, random or grid.")] = "bayesian",
    trials: Annotated[int, typer.Option(help="Number of trials of each model.")] = 30,
    minutes: Annotated[
        float | None, typer.Option(help="Time for all models together, after which no trial begins.")
    ] = None,
    metric: Annotated[str, typer.Option(help="What is compared on the validation window.")] = "ndcg@10",
    workers: Annotated[int, typer.Option(help="Number of trials at the same time.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the values that are tried.")] = 42,
    output: Annotated[
        Path | None,
        typer.Option(help="The configuration with the best values.", show_default="TRADEWIND_HOME/tuning/DATASET"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Tune models: try values of their settings on the validation window. A second call continues."""
    from orchestration.launcher.runs import materialise, upstream
    from orchestration.tuning import as_markdown, tune_models
    from recommenders.training.tuning.tune import Budget
    from serving.release.registry import Registry

    budget = Budget(sampler, trials, minutes, metric, workers, seed)  # type: ignore[arg-type]  # it checks the name
    settings = settings_of(dataset, source, config)
    names = [name.strip() for name in (models or "").split(",") if name.strip()]
    settings.remember_dataset("train")
    materialise(settings, upstream(settings, "interactions", "items"))
    settings.remember_source()
    version = settings.tables.current()
    assert version is not None  # it was just stored
    tables = {name: settings.tables.read(name, version) for name in ("interactions", "items")}
    found = tune_models(
        settings, Registry(settings), settings.training, tables, version.data_version, names, budget, echo, output
    )
    if as_json:
        print(json.dumps(asdict(found)))
    else:
        print(as_markdown(found))
        echo(f"Next: tradewind evaluate --dataset {settings.dataset} --config {found.config}")
