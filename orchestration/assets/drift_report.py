"""Is the newest window still like what came before it?"""

from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from monitoring.alerts import Alert, recent, send
from monitoring.drift import DriftReport, report_url
from monitoring.drift import drift_report as compare
from orchestration.metadata import show
from orchestration.settings import Settings
from recommenders.datasets.items import items_as_of
from recommenders.datasets.splits import newest_window


@dg.asset(group_name="monitoring", kinds={"evidently"})
def drift_report(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    raw_dataset: dict[str, Any],
    interactions: pa.Table,
    items: pa.Table,
    users: pa.Table,
) -> DriftReport:
    """Evidently's comparison of the newest window with all that came before it, the models' training window."""
    name = context.partition_key
    learned, newest = newest_window(interactions, settings.of(name).spec.protocol.test_days)
    report = compare(
        learned,
        newest,
        items_as_of(items, pc.max(interactions["timestamp"]).as_py()),
        out=settings.home / "reports" / name,
        workspace=settings.workspace,
        project=name,
        users=users,
    )
    show(
        context,
        {
            "fired": report.fired,
            "summary": report.summary,
            "columns": dg.MetadataValue.md(as_table(report)),
            "window end": str(report.current.end),
            "data version": raw_dataset["version"],
            **links(settings, report),
        },
    )
    if report.fired:
        key = f"drift/{name}/{raw_dataset['version']}"
        alert = Alert(f"drift in {name}", report.summary, severity="warning", key=key, dataset=name)
        context.log.warning(f"{alert.title}: {alert.body}")
        if all(earlier.key != key for earlier in recent(settings.alerts)):  # once for the same data
            send(alert, settings.alerts)
    return report


def links(settings: Settings, report: DriftReport) -> dict[str, dg.MetadataValue]:
    """Where to open the report; nothing where there was too little to compare."""
    if report.project_id is None or report.snapshot_id is None or report.html_path is None:
        return {}
    url = report_url(settings.urls["evidently"], report.project_id, report.snapshot_id)
    return {"report": dg.MetadataValue.url(url), "file": dg.MetadataValue.path(str(report.html_path))}


def as_table(report: DriftReport) -> str:
    """Each judged column with its score and limit."""
    rows = [
        f"| {c.name} | {c.score:.4f} | {c.threshold:.4f} | {'drifted' if c.drifted else 'as before'} |"
        for c in report.columns
    ]
    unjudged = [f"| {why} | | | not judged |" for why in report.not_judged]
    return "\n".join(["| column | score | limit | verdict |", "|---|---|---|---|", *rows, *unjudged])
