"""`tradewind benchmark`: models on files with their own split, such as those of a paper."""

from pathlib import Path
from typing import Annotated

import typer

from orchestration.cli.options import AsJson, Config, Output, check_config, echo, print_report
from recommenders.errors import ConfigurationError, UnknownNameError
from recommenders.metrics.ranking import K


def benchmark(
    train: Annotated[Path, typer.Option(help="Training events (docs/evaluation.md).")],
    test: Annotated[Path, typer.Option(help="Test events.")],
    negatives: Annotated[
        Path | None, typer.Option(help="Sampled negatives to rank the test items among, else all items.")
    ] = None,
    items: Annotated[Path | None, typer.Option(help="CSV of item_id, title, category, brand, price ...")] = None,
    models: Annotated[
        str | None, typer.Option(help="Model names, separated by commas.", show_default="all enabled models")
    ] = None,
    k: Annotated[int, typer.Option(help="Number of items in a list.")] = K,
    repeat: Annotated[
        bool, typer.Option("--repeat", help="Repeat consumption: known items stay in the lists.")
    ] = False,
    config: Config = None,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate models on files of your own: training events and test events."""
    if models is not None and not models.strip(", "):
        raise ConfigurationError(
            f"--models: got {models!r}; allowed: names separated by commas; name one or leave it out"
        )
    if k < 1:
        raise ConfigurationError(f"--k: got {k}; allowed: 1 or more; give the number of items in a list")
    from orchestration.settings import Settings
    from recommenders.evaluation.benchmark.file_benchmark import BenchmarkFiles
    from recommenders.evaluation.benchmark.results import to_markdown
    from recommenders.training.benchmark_run import evaluate_files

    check_config(config)
    training = Settings.read(config=config).training
    names = _names(models or "") or training.enabled()
    found = evaluate_files(BenchmarkFiles(train, test, negatives, items, repeat), names, k, training, echo)
    print_report(found, to_markdown(found), output, as_json)


def _names(given: str) -> list[str]:
    """The named models, each once. Raises UnknownNameError."""
    from recommenders.models.all_models import MODELS

    names = list(dict.fromkeys(name.strip() for name in given.split(",") if name.strip()))
    for name in names:
        if name not in MODELS:
            raise UnknownNameError("model", name, MODELS)
    return names
