"""`tradewind tune`: better settings of models, by trials on the validation window."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from orchestration.cli.options import AsJson, Changes, Config, Dataset, Source, echo, settings_of


def tune(
    dataset: Dataset = None,
    source: Source = None,
    config: Config = None,
    changes: Changes = None,
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
    from orchestration.assets.tuning import TuningOptions
    from orchestration.io_manager import Lake
    from orchestration.jobs import TUNING
    from orchestration.launcher.runs import materialise
    from orchestration.tuning import TuningResult, as_markdown

    names = [name.strip() for name in (models or "").split(",") if name.strip()]
    options = TuningOptions(
        models=names, sampler=sampler, trials=trials, minutes=minutes, metric=metric, workers=workers, seed=seed
    )
    _ = options.budget()  # an error before anything is read
    settings = settings_of(dataset, source, config, changes)
    settings.training.chosen(names)
    settings.remember_dataset("train")
    materialise(settings, job_name=TUNING, ops={"tuning": {"config": options.model_dump()}})
    settings.remember_source()
    found: TuningResult = Lake(root=str(settings.lake)).read(settings.dataset, "tuning", TuningResult)
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(found.config, output)
    if as_json:
        print(json.dumps(asdict(found)))
    else:
        print(as_markdown(found))
        echo(f"Next: tradewind evaluate --dataset {settings.dataset} --config {output or found.config}")
