"""`tradewind prune`: deletes what is over the limits of what is kept."""

import json
from typing import Annotated

import typer

from orchestration.cli.options import AsJson, log_to_file


def prune(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would be deleted.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete old versions, reports, runs, alerts and logs of all data sets, as configs/retention.yaml states."""
    import dagster as dg

    from orchestration.retention import pruning
    from orchestration.settings import Settings

    settings = Settings.read()
    log_to_file(settings)
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        reports = pruning.prune(settings, instance, dry_run)
    if as_json:
        print(json.dumps([report.to_json() for report in reports]))
    else:
        print("\n".join(pruning.lines(reports, dry_run)))
    if any(report.problem for report in reports):
        raise typer.Exit(1)
