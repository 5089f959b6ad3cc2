"""The check that stops an automatic retraining on a broken feed."""

import dagster as dg
import pyarrow as pa

from monitoring.alerts.alert import Alert
from monitoring.drift.feed.problems import describe, find_feed_problems
from monitoring.drift.judgement import window_days
from monitoring.drift.windows import event_seconds
from orchestration.assets.drift_report import earlier_items
from orchestration.jobs import CAUSE_TAG, PERSONS, RETRAINING
from orchestration.resources import Datasets
from orchestration.settings import Settings
from recommenders.splitting.temporal import newest_window
from serving.release.registry import Registry


def feed_is_sound(
    context: dg.AssetCheckExecutionContext,
    settings: dg.ResourceParam[Settings],
    datasets: dg.ResourceParam[Datasets],
    registry: dg.ResourceParam[Registry],
    interactions: pa.Table,
    items: pa.Table,
    users: pa.Table,
) -> dg.AssetCheckResult:
    """The newest events have no missing values, wrong units, gaps or other signs of a broken feed.

    It stops a retraining that a sensor or the schedule started. A run that a person started goes on with a warning, and
    so does the first training.
    """
    name, days = context.partition_key, window_days(event_seconds(interactions))
    reference, newest = newest_window(interactions, days)
    earlier = earlier_items(datasets[name].tables, days)
    found = describe(find_feed_problems(reference, newest, items, users, earlier, days))
    stops = is_automatic(context.run) and registry.champion(name) is not None
    if found and stops:
        done = "The retraining was stopped; the champion keeps serving."
        settings.alerts.send(Alert(f"broken feed in {name}", found, "critical", "broken feed", name, done=done))
    return dg.AssetCheckResult(
        passed=not found,
        severity=dg.AssetCheckSeverity.ERROR if stops else dg.AssetCheckSeverity.WARN,
        description=f"the feed is probably broken: {found}" if found else "no sign of a broken feed",
    )


def is_automatic(run: dg.DagsterRun) -> bool:
    """Whether a sensor or the schedule started this retraining, and no person."""
    return run.job_name == RETRAINING and run.tags.get(CAUSE_TAG, PERSONS[0]) not in PERSONS
