"""`tradewind data fetch`: the files of a data set from its publisher."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from orchestration.cli.options import AsJson, echo
from recommenders.errors import ConfigurationError


def fetch(
    name: Annotated[str, typer.Argument(metavar="DATASET|all", help="Name of the data set, or all.")],
    variant: Annotated[
        str, typer.Option(help="Variant, such as ml-25m or 2018-5core:All_Beauty; by default the data set's own.")
    ] = "",
    to: Annotated[
        Path | None, typer.Option(help="Folder for the files; by default sources/NAME below TRADEWIND_HOME.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Agree to the terms without a question.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show a data set's terms, then download its files from the publisher; they become its source."""
    from orchestration.settings import Settings
    from recommenders.datasets.downloads import fetch as downloads

    if name == "all" and variant:
        raise ConfigurationError(f"--variant: got {variant!r} with all, which takes each data set's own; leave it out")
    root = Settings.read().home / "sources"
    agree = downloads.consent(yes, sys.stdin.isatty(), lambda question: typer.confirm(question, err=True))
    if name == "all":
        outcomes = downloads.fetch_all(to or root, agree, echo)
    else:
        outcomes = [downloads.fetch(name, variant, to or downloads.folder_of(root, name, variant), agree, echo)]
    for outcome in outcomes:
        if outcome.done in ("fetched", "already there"):  # `run --dataset NAME` finds them from now on
            Settings.read(dataset=outcome.dataset, source=Path(outcome.folder)).remember_source()
    if as_json:
        print(json.dumps([outcome.to_json() for outcome in outcomes]))
    elif name == "all":
        for outcome in outcomes:
            print(f"{outcome.dataset:<15} {outcome.done:<14} {outcome.folder}".rstrip())
    if any(outcome.done == "failed" for outcome in outcomes):
        raise typer.Exit(1)
