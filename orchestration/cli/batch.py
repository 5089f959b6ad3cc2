"""`tradewind batch`: the lists of many users as a file."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestration.cli.options import AsJson, Dataset, echo, log_to_file, settings_without_source
from recommenders.errors import ConfigurationError, ReleaseError

if TYPE_CHECKING:
    from rich.progress import Progress

    from orchestration.settings import Settings
    from serving.batch.lists import BatchSummary
    from serving.batch.options import BatchOptions, Format

Users = Annotated[
    Path | None,
    typer.Option(
        help="Only for the users of this file: .csv or .parquet with the column user_id, or text with one id a line.",
        show_default="all known users",
    ),
]
Scene = Annotated[str, typer.Option(help="for_you, reorder, discover, or basket (for --users with a history).")]
Fields = Annotated[str | None, typer.Option(help="Attributes of items to write, separated by commas.")]
Filters = Annotated[str | None, typer.Option(help="Conditions on items, as JSON as in POST /predict.")]
Output = Annotated[
    Path | None, typer.Option(help="The file to write.", show_default="TRADEWIND_HOME/lists/DATASET.parquet")
]
FileFormat = Annotated[
    str | None,
    typer.Option("--format", help="parquet or csv.", show_default="as the name of the file ends, else parquet"),
]


def batch(
    dataset: Dataset = None,
    users: Users = None,
    scene: Scene = "for_you",
    n: Annotated[int, typer.Option(help="How many items a list has.")] = 10,
    fields: Fields = None,
    filters: Filters = None,
    no_rules: Annotated[bool, typer.Option("--no-rules", help="Without the rules of the shop.")] = False,
    output: Output = None,
    format_: FileFormat = None,
    as_json: AsJson = False,
) -> None:
    """Write lists of the champion to a file, for all known users or those of a file."""
    from serving.batch.options import BatchOptions, format_of, read_filters

    settings, chosen = settings_without_source(dataset), format_of(output, format_)
    log_to_file(settings)
    names = [name.strip() for name in (fields or "").split(",") if name.strip()]
    options = BatchOptions(scene, n, names, read_filters(filters) if filters is not None else {})
    options.request()
    target = output or settings.home / "lists" / f"{settings.dataset}.{chosen}"
    if target.is_dir():
        raise ConfigurationError(f"--output: got the folder {target}; allowed: the name of a file")
    summary = write(settings, users, options, not no_rules, target, chosen)
    if as_json:
        print(json.dumps(asdict(summary)))
    else:
        echo(
            f"{summary.rows} rows in {summary.lists} lists of {summary.users} users by version {summary.version} "
            f"in {summary.file}"
        )


def write(
    settings: "Settings",
    users: Path | None,
    options: "BatchOptions",
    with_rules: bool,
    output: Path,
    format_: "Format",
) -> "BatchSummary":
    """Writes the lists. Raises ReleaseError if they would not be made from the newest state."""
    from serving.batch.lists import check, write_lists
    from serving.batch.source import open_source
    from serving.batch.users import known_users, open_users

    given = open_users(users) if users else None
    n_users = given.check(options) if given else 0
    source = open_source(settings, settings.pointer, with_rules)
    if source.problems:
        raise ReleaseError(f"no lists were written: {'; '.join(source.problems)}")
    check(source, options)
    model = source.champion.predictor.model
    requests = given.requests(options) if given else known_users(model, options)
    with progress_bar() as bar:
        shown = bar.track(requests, n_users if given else len(model.users_), description="lists")
        return write_lists(source, options, shown, output, format_)


def progress_bar() -> "Progress":
    """A bar on standard error, drawn only if that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True)
