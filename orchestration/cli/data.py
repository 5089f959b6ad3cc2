"""`tradewind data`: which data sets there are, what one holds, and which versions of it."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from orchestration.cli.options import AsJson, Source, echo_warnings, known, say, settings_of
from recommenders.errors import ConfigurationError

app = typer.Typer(
    help="Data sets: list, fetch, make, describe, replay; versions and the way back.", no_args_is_help=True
)


@app.command("list")
def data_list(as_json: AsJson = False) -> None:
    """The data sets there are, with their licence and what --source expects."""
    from orchestration.settings import Settings

    specs = Settings.read().specs.values()
    rows = [{"name": s.name, "title": s.title, "licence": s.licence, "source": s.layout} for s in specs]
    if as_json:
        print(json.dumps(rows))
        return
    for row in rows:
        print(f"{row['name']}\n  {row['title']}\n  source: {row['source']}\n  licence: {row['licence']}")


@app.command("describe")
def data_describe(
    name: Annotated[str, typer.Argument(metavar="DATASET", help="Data set by name.")],
    source: Source = None,
    output: Annotated[
        Path | None, typer.Option(help="Also write the page to this Markdown file, its picture beside it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read a data set and report what it holds, where every row went, and what would stop a run."""
    from orchestration.assets.source import take_in
    from orchestration.cli.exports import describe_tables, stops_of, write_page
    from recommenders.datasets.profile.page import render

    settings = settings_of(name, source)
    with echo_warnings("recommenders.datasets"):
        version = take_in(settings)
    settings.remember_source()
    found = describe_tables(settings)
    for stop in stops_of(settings, version):
        say(f"A run would stop here: {stop}.")
    if output:
        write_page(found, output)
    print(json.dumps(found.to_json()) if as_json else render(found))


@app.command("feed")
def data_feed(
    name: Annotated[
        str, typer.Argument(metavar="DATASET", help="Data set by name; only online_retail is a shop's own log.")
    ],
    until: Annotated[str, typer.Option(help="Last day to write, as YYYY-MM-DD.")],
    source: Source = None,
    to: Annotated[
        Path | None, typer.Option(help="Folder for the days; by default sources/NAME-feed below TRADEWIND_HOME.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Replay a real log day by day into a folder, which then is its source; call it again for later days."""
    from recommenders.datasets.replay import NAME, feed, log_of

    if name != NAME:
        raise ConfigurationError(f"data feed: got {name!r}; allowed: {NAME}, the one log of a shop; replay that one")
    settings = settings_of(name, source)
    at = settings.source_of(settings.spec)
    log = log_of(at)  # the remembered source is the feed itself after the first call
    folder = to or (at if log != at else settings.home / "sources" / f"{name}-feed")
    fed = feed(log, folder.expanduser().resolve(), until)
    settings.model_copy(update={"source": fed.folder}).remember_source()
    if as_json:
        print(json.dumps({"dataset": name} | fed.to_json()))
    else:
        say(f"{fed.summary()}. Next: tradewind train --dataset {name}")


@app.command("fetch")
def data_fetch(
    name: Annotated[str, typer.Argument(metavar="DATASET|all", help="Data set by name, or all.")],
    variant: Annotated[
        str, typer.Option(help="One of its variants, such as ml-25m or 2018-5core:All_Beauty; by default its own.")
    ] = "",
    to: Annotated[
        Path | None, typer.Option(help="Folder for the files; by default sources/NAME below TRADEWIND_HOME.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Agree to the terms without being asked.")] = False,
    as_json: AsJson = False,
) -> None:
    """Download a data set's files from its publisher, after showing its terms; they then are its source."""
    from orchestration.settings import Settings
    from recommenders.datasets.downloads.fetch import consent, fetch, fetch_all, folder_of

    if name == "all" and variant:
        raise ConfigurationError(f"--variant: got {variant!r} with all, which takes each data set's own; leave it out")
    root = Settings.read().home / "sources"
    agree = consent(yes, sys.stdin.isatty(), lambda question: typer.confirm(question, err=True))
    if name == "all":
        outcomes = fetch_all(to or root, agree, say)
    else:
        outcomes = [fetch(name, variant, to or folder_of(root, name, variant), agree, say)]
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


@app.command("make")
def data_make(
    to: Annotated[Path, typer.Option(help="Folder for the world's files; it must not exist yet.")],
    scale: Annotated[float, typer.Option(help="1 is 2,000 buyers and 25,000 orders, 100 is 2.5 million orders.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Another seed, another world.")] = 42,
    scenario: Annotated[
        list[str] | None,
        typer.Option(help="KIND:FIRST-DAY:STRENGTH, such as demand_shift:2026-05-01:0.5; may be given again."),
    ] = None,
) -> None:
    """Write a simulated B2B market of any size as files, with things that happen to it (docs/world.md)."""
    from recommenders.simulation.config import Scenario
    from recommenders.simulation.files import write_world

    if to.exists():
        raise ConfigurationError(f"--to: {to} exists already; name a new folder, nothing is overwritten")
    write_world(to, scale, seed, [Scenario.parse(text) for text in scenario or []])
    say(f"Written to {to}. Next: tradewind run --dataset custom_b2b --source {to}")


@app.command("versions")
def data_versions(
    name: Annotated[str, typer.Argument(metavar="DATASET", help="Data set by name.")],
    as_json: AsJson = False,
) -> None:
    """All versions of a data set's tables, newest first."""
    versions = known(name).tables.versions()
    rows = [
        {
            "version": version.number,
            "created": version.created.isoformat(timespec="seconds"),
            "data_version": version.data_version,
            "rows": version.counts.kept,
            "quarantined": version.counts.quarantined,
            "files": len(version.files),
            "restored_from": version.restored_from,
        }
        for version in versions
    ]
    if as_json:
        print(json.dumps(rows))
        return
    for row in rows:
        back = "" if row["restored_from"] is None else f"  gone back to {row['restored_from']}"
        print(f"{row['version']:>4}  {row['created']}  {row['data_version']}  {row['rows']:>10} rows{back}")


@app.command("restore")
def data_restore(
    name: Annotated[str, typer.Argument(metavar="DATASET", help="Data set by name.")],
    version: Annotated[
        str,
        typer.Argument(metavar="NUMBER|latest", help="Number of the version, or latest to follow the source again."),
    ],
) -> None:
    """Go back to an earlier version of a data set's tables; it stays until `latest` is asked for."""
    store = known(name).tables
    if version == "latest":
        store.release()
        say(f"{name} follows its source again. Next: tradewind train --dataset {name}")
        return
    if not version.isdecimal():
        raise ConfigurationError(f"version: got {version!r}; allowed: a number of `tradewind data versions`, or latest")
    restored = store.restore(int(version))
    say(f"{name} holds the {restored.counts.kept} rows of version {version} now, until `data restore {name} latest`.")
