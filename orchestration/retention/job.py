"""The job that prunes all stores. It belongs to no data set."""

import dagster as dg

from orchestration.jobs import PRUNING
from orchestration.retention.pruning import lines, prune
from orchestration.settings import Settings


@dg.op
def pruning(context: dg.OpExecutionContext, settings: dg.ResourceParam[Settings]) -> None:
    """Prunes; what goes and what stays is in the log of the run. It fails at its end if a store has a problem."""
    reports = prune(settings, context.instance)
    for line in lines(reports, dry_run=False):
        context.log.info(line)
    deleted = {"deleted": sum(len(report.pruned) for report in reports)}
    context.add_output_metadata({**deleted, "megabytes": round(sum(report.bytes for report in reports) / 1e6, 1)})
    if problems := [f"{report.what} {report.dataset}: {report.problem}" for report in reports if report.problem]:
        raise dg.Failure(f"not everything was pruned: {'; '.join(problems)}")


@dg.job(name=PRUNING, description="Deletes what is over the limits in configs/retention.yaml, of all data sets.")
def pruning_job() -> None:
    """One step."""
    pruning()
