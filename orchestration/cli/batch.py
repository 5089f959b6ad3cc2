"""`tradewind batch`: lists for all known users."""

import json
from pathlib import Path
from typing import Annotated

import typer

from orchestration.cli.options import AsJson, Dataset, echo, settings_of
from recommenders.errors import ConfigurationError


def batch(
    dataset: Dataset = None,
    output: Annotated[Path | None, typer.Option(help="Write the lists here: .parquet or .csv.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write the champion's lists for all known users."""
    from orchestration.cli.exports import write_lists
    from orchestration.launcher.platform_state import live_pointer
    from orchestration.launcher.runs import materialise

    settings = settings_of(dataset)
    if output is not None and output.suffix not in (".parquet", ".csv"):
        raise ConfigurationError(f"--output: got {output.name}; allowed: a name that ends in .parquet or .csv")
    pointer = live_pointer(settings)
    materialise(settings, ["batch_recommendations"])
    path, rows = write_lists(settings, output)
    if as_json:
        print(json.dumps({"dataset": settings.dataset, "version": pointer.version, "rows": rows, "file": str(path)}))
    else:
        echo(f"{rows} rows by version {pointer.version} in {path}")
