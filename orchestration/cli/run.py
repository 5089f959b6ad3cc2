"""`tradewind run`: everything, until Ctrl-C."""

import signal
from typing import Annotated

import typer

from orchestration.cli.options import Config, Dataset, Source, echo, settings_of


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

    _end_on_signals()
    run_platform(settings_of(dataset, source, config), once, echo)


def _end_on_signals() -> None:
    """SIGTERM ends this process; so does SIGINT, unless the parent process had it ignored.

    One handler for both signals: Dagster gives SIGTERM the handler of SIGINT after each run, and a script's background
    jobs ignore SIGINT, so only SIGKILL would end one.
    """
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN

    def end(number: int, _: object) -> None:
        if number == signal.SIGTERM:
            raise SystemExit(143)
        if not ignored:
            raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
