"""The asset that compares the newest window of the data with the events before it."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import dagster as dg
import pyarrow as pa

from monitoring.alerts.alert import Alert
from monitoring.drift.feed.problems import describe
from monitoring.drift.judgement import window_days
from monitoring.drift.report import DriftReport, report_url
from monitoring.drift.report import drift_report as compare
from monitoring.drift.reviews import Entry, standing, unreviewed
from monitoring.drift.windows import event_seconds
from orchestration.assets.metadata import show
from orchestration.drift_review import review_url, reviews_of
from orchestration.io_manager import Lake
from orchestration.jobs import RETRAINING, REVIEW
from orchestration.launchpad import retraining_url
from orchestration.resources import Datasets
from orchestration.settings import Settings
from recommenders import clock
from recommenders.datasets.store import TableStore
from recommenders.splitting.temporal import newest_window


@dg.asset(group_name="monitoring", kinds={"evidently"})
def drift_report(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    datasets: dg.ResourceParam[Datasets],
    lake: dg.ResourceParam[Lake],
    interactions: pa.Table,
    items: pa.Table,
    users: pa.Table,
) -> DriftReport:
    """The newest weeks against past windows of as many weeks, as a report that opens in Evidently."""
    name = context.partition_key
    days = window_days(event_seconds(interactions))
    reference, newest = newest_window(interactions, days)
    report = compare(
        reference,
        newest,
        items,
        out=settings.home / "reports" / name,
        workspace=settings.workspace,
        project=name,
        users=users,
        earlier_items=earlier_items(datasets[name].tables, days),
        days=days,
    )
    report = replace(report, data_version=lake.table_version(name).data_version)
    settings = settings.for_dataset(name)
    reviews = reviews_of(settings).update(name, report, clock.now())
    show(
        context,
        {
            "fired": report.fired,
            "summary": report.summary,
            **review_metadata(settings, report, reviews),
            **links(settings, report),
            **({"broken feed": describe(report.feed_problems)} if report.feed_problems else {}),
            "columns": dg.MetadataValue.md(as_table(report)),
            "window end": str(report.current.end),
            "window days": days,
            "drifted in the newest windows": recent_windows(report),
            "data version": report.data_version,
        },
    )
    update_alerts(context, settings, report, reviews)
    return report


def update_alerts(
    context: dg.AssetExecutionContext, settings: Settings, report: DriftReport, reviews: Sequence[Entry] = ()
) -> None:
    """Sends an alert for a cause without a review, and ends the incidents whose cause is over or reviewed.

    Of a broken feed, and of too few events, nothing is known about drift: its incident stays open. That of a broken
    feed stays open until the feed is repaired, also in a log that is too short for drift; a review ends its reminders
    only.
    """
    name, new = context.partition_key, unreviewed(report, reviews)
    if not new:
        alert = None
    elif report.feed_problems:
        done = "It starts no retraining on this data; the champion keeps serving."
        alert = Alert(f"broken feed in {name}", report.summary, "critical", "broken feed", name, done=done)
    else:
        done = "The champion keeps serving; the sensor monitoring starts a retraining, if the drift lasts."
        reviewed = "".join(f"; reviewed: {review}" for review in dict.fromkeys(standing(reviews).values()))
        alert = Alert(f"drift in {name}", f"{report.summary}{reviewed}", "warning", "drift", name, done=done)
    if alert:
        context.log.warning(f"{alert.title}: {alert.body}")
        settings.alerts.send(alert)
    if report.feed_tested and not report.feed_problems:
        settings.alerts.recover("broken feed", name)
        if report.tested and not new:
            settings.alerts.recover("drift", name)


def earlier_items(store: TableStore, days: int) -> pa.Table | None:
    """The items as they were when the newest window began, else the oldest stored ones; None if none are stored."""
    versions = store.versions()  # newest first
    if not versions:
        return None
    begin = versions[0].created - timedelta(days=days)
    return store.read("items", next((version for version in versions if version.created <= begin), versions[-1]))


def links(settings: Settings, report: DriftReport) -> dict[str, dg.MetadataValue]:
    """Links to the report; empty where there was too little data to compare."""
    if report.project_id is None or report.snapshot_id is None or report.html_path is None:
        return {}
    url = report_url(settings.urls["evidently"], report.project_id, report.snapshot_id)
    return {"report": dg.MetadataValue.url(url), "file": dg.MetadataValue.path(str(report.html_path))}


def review_metadata(
    settings: Settings, report: DriftReport, reviews: Sequence[Entry]
) -> dict[str, dg.MetadataValue[Any]]:
    """The reviews that hold, and a link to write one; each only where there is something to show."""
    shown: dict[str, dg.MetadataValue[Any]] = {}
    if written := dict.fromkeys(standing(reviews).values()):
        shown["reviews"] = dg.MetadataValue.md("\n".join(f"- {review}" for review in written))
    if new := unreviewed(report, reviews):
        # as a link: the address would be wider than the page
        shown["review it"] = dg.MetadataValue.md(f"[in the launchpad of {REVIEW}]({review_url(settings, new)})")
    if report.fired and not report.feed_problems:
        url = retraining_url(settings, settings.dataset)
        shown["retrain now"] = dg.MetadataValue.md(f"[in the launchpad of {RETRAINING}]({url})")
    return shown


def recent_windows(report: DriftReport) -> str:
    """The columns that drifted in each of the newest windows, the newest last, such as "none; category"."""
    return "; ".join(", ".join(columns) or "none" for columns in report.recent) or "not tested"


def as_table(report: DriftReport) -> str:
    """A Markdown table: faults of the feed, each tested column with its score and limit, and untested columns."""
    faults = [f"| {f.text} | {f.now:.4f} | {f.limit:.4f} | broken | |" for f in report.feed_problems]
    rows = [
        f"| {c.name} | {c.score:.4f} | {c.threshold:.4f} | {'drifted' if c.drifted else 'no drift'} | {c.cause} |"
        for c in report.columns
    ]
    untested = [f"| {why} | | | not tested | |" for why in report.not_tested]
    head = ["| column | score | limit | verdict | change |", "|---|---|---|---|---|"]
    return "\n".join([*head, *faults, *rows, *untested])
