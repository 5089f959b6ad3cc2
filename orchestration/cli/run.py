"""`tradewind run`: everything, until Ctrl-C."""

from typing import Annotated

import typer

from orchestration.cli.options import Config, Dataset, Source, echo, settings_of
from orchestration.cli.signals import end_on_signals


def run(
    dataset: Dataset = None,
    source: Source = None,
    config: Config = None,
    once: Annotated[
        bool, typer.Option("--once", help="Run everything once, test /predict, print JSON as the last line, and exit.")
    ] = False,
) -> None:
    """Run everything: data, models, champion, service and web pages. Ctrl-C stops it."""
    from orchestration.launcher.console import run_platform

    with end_on_signals():
        run_platform(settings_of(dataset, source, config), once, echo)
