"""Is the newest window still like what came before it?"""

from datetime import timedelta
from typing import Any

import dagster as dg
import pyarrow as pa

from monitoring.alerts import Alert, Severity, recent, send
from monitoring.drift.feed import describe
from monitoring.drift.report import DriftReport, report_url
from monitoring.drift.report import drift_report as compare
from orchestration.assets.metadata import show
from orchestration.settings import Settings
from recommenders.datasets.store import TableStore
from recommenders.splitting.temporal import newest_window


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
    days = settings.of(name).spec.protocol.test_days
    learned, newest = newest_window(interactions, days)
    report = compare(
        learned,
        newest,
        items,
        out=settings.home / "reports" / name,
        workspace=settings.workspace,
        project=name,
        users=users,
        earlier_items=earlier_items(settings.of(name).tables, days),
    )
    show(
        context,
        {
            "fired": report.fired,
            "summary": report.summary,
            **({"broken feed": describe(report.faults)} if report.faults else {}),
            "columns": dg.MetadataValue.md(as_table(report)),
            "window end": str(report.current.end),
            "data version": raw_dataset["version"],
            **links(settings, report),
        },
    )
    if report.fired:
        alert_once(context, settings, report, raw_dataset["version"])
    return report


def alert_once(context: dg.AssetExecutionContext, settings: Settings, report: DriftReport, data_version: str) -> None:
    """An alert for drift or for a broken feed, once for the same data."""
    name, what = context.partition_key, "broken feed" if report.faults else "drift"
    key = f"{what.replace(' ', '-')}/{name}/{data_version}"
    severity: Severity = "critical" if report.faults else "warning"
    alert = Alert(f"{what} in {name}", report.summary, severity, key, name)
    context.log.warning(f"{alert.title}: {alert.body}")
    if all(earlier.key != key for earlier in recent(settings.alerts)):
        send(alert, settings.alerts)


def earlier_items(store: TableStore, days: int) -> pa.Table | None:
    """The catalogue as it was when the newest window began, else the oldest one kept; None if nothing is kept."""
    versions = store.versions()  # newest first
    if not versions:
        return None
    begin = versions[0].created - timedelta(days=days)
    return store.read("items", next((version for version in versions if version.created <= begin), versions[-1]))


def links(settings: Settings, report: DriftReport) -> dict[str, dg.MetadataValue]:
    """Where to open the report; nothing where there was too little to compare."""
    if report.project_id is None or report.snapshot_id is None or report.html_path is None:
        return {}
    url = report_url(settings.urls["evidently"], report.project_id, report.snapshot_id)
    return {"report": dg.MetadataValue.url(url), "file": dg.MetadataValue.path(str(report.html_path))}


def as_table(report: DriftReport) -> str:
    """What is broken in the feed, then each judged column with its score and limit."""
    faults = [f"| {f.text} | {f.now:.4f} | {f.limit:.4f} | broken |" for f in report.faults]
    rows = [
        f"| {c.name} | {c.score:.4f} | {c.threshold:.4f} | {'drifted' if c.drifted else 'as before'} |"
        for c in report.columns
    ]
    unjudged = [f"| {why} | | | not judged |" for why in report.not_judged]
    return "\n".join(["| column | score | limit | verdict |", "|---|---|---|---|", *faults, *rows, *unjudged])
