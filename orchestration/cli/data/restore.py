"""`tradewind data restore`: an earlier version of the tables."""

from typing import Annotated

import typer

from orchestration.cli.options import DatasetName, echo, settings_without_source
from recommenders.errors import ConfigurationError


def restore(
    name: DatasetName,
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
