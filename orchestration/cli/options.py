"""Options that the commands share, and the settings from these options."""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recommenders.errors import ConfigurationError

if TYPE_CHECKING:
    from orchestration.settings import Settings

Dataset = Annotated[
    str | None,
    typer.Option(
        help="Name of the data set.",
        show_default="TRADEWIND_DATASET, else the one last served here, else as configured",
    ),
]
DatasetName = Annotated[str, typer.Argument(metavar="DATASET", help="Name of the data set.")]
Source = Annotated[Path | None, typer.Option(help="File or folder with the data set's files.")]
Config = Annotated[
    Path | None,
    typer.Option(help="Training configuration.", show_default="TRADEWIND_CONFIG or configs/training.yaml"),
]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A setting of this call, as models.ease.reg=300; may be repeated."),
]
Output = Annotated[Path | None, typer.Option(help="Also write the report to this Markdown file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the results as one line of JSON, for programs.")]


def settings_of(
    dataset: str | None = None,
    source: Path | None = None,
    config: Path | None = None,
    changes: list[str] | None = None,
) -> "Settings":
    """The settings of this call, checked: data set, configuration and source exist."""
    from orchestration.launcher.platform_state import check_source
    from orchestration.settings import Settings

    check_config(config)
    settings, named_by = Settings.read_named(dataset=dataset, source=source, config=config, changes=changes or None)
    echo_dataset(settings, named_by)
    _ = settings.spec, settings.training
    check_source(settings)
    log_to_file(settings)
    return settings


def log_to_file(settings: "Settings") -> None:
    """Writes what the platform and the libraries log to a file; the terminal shows what the command prints."""
    settings.logs.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(filename=settings.logs / "tradewind.log", level=logging.WARNING)


def check_config(config: Path | None) -> None:
    """Raises ConfigurationError if the named configuration does not exist."""
    if config is not None and not config.is_file():
        raise ConfigurationError(f"--config: no such file: {config}; see configs/training.yaml for one to start from")


def settings_without_source(dataset: str | None) -> "Settings":
    """The settings of a call that reads no source; the data set exists."""
    from orchestration.settings import Settings

    settings, named_by = Settings.read_named(dataset=dataset)
    echo_dataset(settings, named_by)
    _ = settings.spec
    return settings


def echo_dataset(settings: "Settings", named_by: str) -> None:
    """Prints the name of the data set where the command does not name it."""
    if named_by != "--dataset":
        echo(f"Data set {settings.dataset}: {named_by}; use --dataset for another.")


@contextmanager
def echo_warnings(logger: str) -> Iterator[None]:
    """Prints the warnings that a package logs meanwhile."""
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: echo(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger(logger).addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger(logger).removeHandler(handler)


def print_report(found: Mapping[str, Any], page: str, output: Path | None, as_json: bool) -> None:
    """Prints a report, as Markdown or as one line of JSON; also writes the Markdown to `output`."""
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(page)
    print(json.dumps(found) if as_json else page)


def echo(text: str) -> None:
    """Prints a line for people on standard error; standard output is for results."""
    typer.echo(text, err=True)
