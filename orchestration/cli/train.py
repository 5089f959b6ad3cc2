"""`tradewind train`: all models on the events before the cut."""

import json

from orchestration.cli.options import AsJson, Changes, Config, Dataset, Source, echo, settings_of


def train(
    dataset: Dataset = None,
    source: Source = None,
    config: Config = None,
    changes: Changes = None,
    as_json: AsJson = False,
) -> None:
    """Read the source and fit all models on the events before the cut."""
    from orchestration.launcher.runs import materialise, upstream

    settings = settings_of(dataset, source, config, changes)
    settings.remember_dataset("train")
    done = materialise(settings, upstream(settings, *settings.training.enabled()))
    settings.remember_source()
    if as_json:
        print(json.dumps({"dataset": settings.dataset, "run_id": done.run_id, "seconds": done.seconds}))
    else:
        echo(f"Trained on {settings.dataset}. Next: tradewind evaluate --dataset {settings.dataset}")
