"""`tradewind data`: the data sets, the profile of one, and the versions of its tables."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from orchestration.cli.options import AsJson, Source, echo, echo_warnings, settings_of, settings_without_source
from recommenders.errors import ConfigurationError

app = typer.Typer(
    help="Data sets: list, download, simulate, profile, replay; list and restore versions.", no_args_is_help=True
)


@app.command("list")
def data_list(as_json: AsJson = False) -> None:
    """List the data sets, with their licence and the files that --source expects."""
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
    name: Annotated[str, typer.Argument(metavar="DATASET", help="Name of the data set.")],
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


@app.command("replay")
def data_replay(
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
    from recommenders.datasets.replay import NAME, replay, replayed_log

    if name != NAME:
        raise ConfigurationError(f"data replay: got {name!r}; allowed: {NAME}, the only log of a shop; replay that one")
    settings = settings_of(name, source)
    at = settings.source_of(settings.spec)
    log = replayed_log(at)  # after the first call the remembered source is the replayed folder
    folder = to or (at if log != at else settings.home / "sources" / f"{name}-feed")
    replayed = replay(log, folder.expanduser().resolve(), until)
    settings.model_copy(update={"source": replayed.folder}).remember_source()
    if as_json:
        print(json.dumps({"dataset": name} | replayed.to_json()))
    else:
        echo(f"{replayed.summary()}. Next: tradewind train --dataset {name}")


@app.command("feed", hidden=True, context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
def data_feed() -> None:
    """Former name of `tradewind data replay`."""
    raise ConfigurationError("tradewind data feed is called tradewind data replay now; use that")


@app.command("fetch")
def data_fetch(
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
    from recommenders.datasets.downloads.fetch import consent, fetch, fetch_all, folder_of

    if name == "all" and variant:
        raise ConfigurationError(f"--variant: got {variant!r} with all, which takes each data set's own; leave it out")
    root = Settings.read().home / "sources"
    agree = consent(yes, sys.stdin.isatty(), lambda question: typer.confirm(question, err=True))
    if name == "all":
        outcomes = fetch_all(to or root, agree, echo)
    else:
        outcomes = [fetch(name, variant, to or folder_of(root, name, variant), agree, echo)]
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
    to: Annotated[Path, typer.Option(help="Folder for the files; it must not exist yet.")],
    scale: Annotated[float, typer.Option(help="1 is 2,000 users and 25,000 orders, 100 is 2.5 million orders.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Random seed; each seed gives another market.")] = 42,
    scenario: Annotated[
        list[str] | None,
        typer.Option(help="KIND:FIRST-DAY:STRENGTH, such as demand_shift:2026-05-01:0.5; may be repeated."),
    ] = None,
) -> None:
    """Write a simulated B2B market of any size as files, with scenarios (docs/world.md)."""
    from recommenders.simulation.config import Scenario
    from recommenders.simulation.files import write_world

    if to.exists():
        raise ConfigurationError(f"--to: {to} exists already; name a new folder, nothing is overwritten")
    write_world(to, scale, seed, [Scenario.parse(text) for text in scenario or []])
    echo(f"Written to {to}. Next: tradewind run --dataset custom_b2b --source {to}")


@app.command("versions")
def data_versions(
    name: Annotated[str, typer.Argument(metavar="DATASET", help="Name of the data set.")],
    as_json: AsJson = False,
) -> None:
    """List all versions of a data set's tables, newest first."""
    versions = settings_without_source(name).tables.versions()
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
        note = "" if row["restored_from"] is None else f"  restored from {row['restored_from']}"
        print(f"{row['version']:>4}  {row['created']}  {row['data_version']}  {row['rows']:>10} rows{note}")


@app.command("restore")
def data_restore(
    name: Annotated[str, typer.Argument(metavar="DATASET", help="Name of the data set.")],
    version: Annotated[
        str,
        typer.Argument(metavar="NUMBER|latest", help="Number of the version, or latest to follow the source again."),
    ],
) -> None:
    """Restore an earlier version of a data set's tables; it stays until you restore `latest`."""
    store = settings_without_source(name).tables
    if version == "latest":
        store.release()
        echo(f"{name} follows its source again. Next: tradewind train --dataset {name}")
        return
    if not version.isdecimal():
        raise ConfigurationError(f"version: got {version!r}; allowed: a number of `tradewind data versions`, or latest")
    restored = store.restore(int(version))
    echo(f"{name} now has the {restored.counts.kept} rows of version {version}, until `data restore {name} latest`.")
