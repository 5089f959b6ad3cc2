"""`tradewind data daily-files`: a real log, day by day."""

import json
from pathlib import Path
from typing import Annotated

import typer

from orchestration.cli.options import AsJson, Source, echo, settings_of
from recommenders.errors import ConfigurationError


def daily_files(
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
    """Write a real log day by day into a folder, which becomes its source; call it again for later days."""
    from recommenders.datasets.daily_files import NAME, log_of, write_daily_files

    if name != NAME:
        raise ConfigurationError(
            f"data daily-files: got {name!r}; allowed: {NAME}, the only log of a shop; name that one"
        )
    settings = settings_of(name, source)
    at = settings.source_of(settings.spec)
    log = log_of(at)  # after the first call the remembered source is the folder with the days
    folder = to or (at if log != at else settings.home / "sources" / f"{name}-feed")
    found = write_daily_files(log, folder.expanduser().resolve(), until)
    settings.model_copy(update={"source": found.folder}).remember_source()
    if as_json:
        print(json.dumps({"dataset": name} | found.to_json()))
    else:
        echo(f"{found.summary()}. Next: tradewind train --dataset {name}")


def former_name(context: typer.Context) -> None:
    """A former name of `tradewind data daily-files`."""
    raise ConfigurationError(
        f"tradewind data {context.info_name} is called tradewind data daily-files now; use that "
        "(tradewind replay makes an answer of the service again)"
    )
