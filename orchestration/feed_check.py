"""The check that stops an automatic retraining on a broken feed."""

import dagster as dg
import pyarrow as pa

from monitoring.alerts.alert import Alert
from monitoring.drift.feed.problems import describe, find_feed_problems
from monitoring.drift.judgement import window_days
from monitoring.drift.reviews import FEED, standing
from monitoring.drift.windows import event_seconds
from orchestration.assets.drift_report import earlier_items
from orchestration.drift_review import reviews_of
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
    so does the first training. A review ends the reminders of its alert, and nothing else.
    """
    name, days = context.partition_key, window_days(event_seconds(interactions))
    reference, newest = newest_window(interactions, days)
    earlier = earlier_items(datasets[name].tables, days)
    problems = find_feed_problems(reference, newest, items, users, earlier, days)
    found = describe(problems)
    stops = is_automatic(context.run) and registry.champion(name) is not None
    reviewed = standing(reviews_of(datasets[name].settings).entries())
    if stops and any(FEED + problem.column not in reviewed for problem in problems):
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
