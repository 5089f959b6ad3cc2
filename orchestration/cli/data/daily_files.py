"""`tradewind data replay`: a real log, day by day."""

import json
from pathlib import Path
from typing import Annotated

import typer

from orchestration.cli.options import AsJson, Source, echo, settings_of
from recommenders.errors import ConfigurationError


def replay(
    name: Annotated[
        str, typer.Argument(metavar="DATASET", help="Name of the data set; only online_retail is the log of a shop.")
    ],
    until: Annotated[str, typer.Option(help="Last day to write, as YYYY-MM-DD.")],
    source: Source = None,
    to: Annotated[
        Path | None, typer.Option(help="Folder for the days; by default sources/NAME-feed below TRADEWIND_HOME.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Replay a real log day by day into a folder, which becomes its source; call it again for later days."""
    from recommenders.datasets import daily_files as replays

    if name != replays.NAME:
        raise ConfigurationError(
            f"data replay: got {name!r}; allowed: {replays.NAME}, the only log of a shop; replay that one"
        )
    settings = settings_of(name, source)
    at = settings.source_of(settings.spec)
    log = replays.replayed_log(at)  # after the first call the remembered source is the replayed folder
    folder = to or (at if log != at else settings.home / "sources" / f"{name}-feed")
    replayed = replays.replay(log, folder.expanduser().resolve(), until)
    settings.model_copy(update={"source": replayed.folder}).remember_source()
    if as_json:
        print(json.dumps({"dataset": name} | replayed.to_json()))
    else:
        echo(f"{replayed.summary()}. Next: tradewind train --dataset {name}")


def feed() -> None:
    """Former name of `tradewind data replay`."""
    raise ConfigurationError("tradewind data feed is called tradewind data replay now; use that")
