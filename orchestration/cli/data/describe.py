"""`tradewind data describe`: the profile of a data set."""

import json
from pathlib import Path
from typing import Annotated

import typer

from orchestration.cli.options import AsJson, DatasetName, Source, echo, echo_warnings, settings_of


def describe(
    name: DatasetName,
    source: Source = None,
    output: Annotated[
        Path | None, typer.Option(help="Also write the profile to this Markdown file, and its picture beside it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read a data set and print its profile, the number of rows by outcome, and what would stop a run."""
    from orchestration.cli.exports import describe_tables, stops_of, write_page
    from orchestration.resources import Dataset
    from recommenders.datasets.profile.page import render

    settings = settings_of(name, source)
    with echo_warnings("recommenders.datasets"):
        version = Dataset(settings).ingest()
    settings.remember_source()
    found = describe_tables(settings)
    for stop in stops_of(settings, version):
        echo(f"A run would stop here: {stop}.")
    if output:
        write_page(found, output)
    print(json.dumps(found.to_json()) if as_json else render(found))
