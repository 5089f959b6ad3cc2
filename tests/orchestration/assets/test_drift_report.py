"""The drift report on a broken feed, and its alerts."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest

from monitoring.alerts.listing import open_incidents, recent_alerts
from monitoring.drift.causes import Part
from monitoring.drift.feed.problems import FeedProblem
from monitoring.drift.judgement import METHOD, ColumnDrift
from monitoring.drift.report import DriftReport, Window
from monitoring.drift.reviews import Entry, Review, Verdict, unreviewed
from orchestration.assets.drift_report import (
    as_table,
    drift_report,
    earlier_items,
    recent_windows,
    review_metadata,
    update_alerts,
)
from orchestration.io_manager import TableVersion
from orchestration.resources import Datasets
from orchestration.settings import Settings
from recommenders.storage.schema import INTERACTIONS, ITEMS, USERS, conform

# Evidently 0.7.23 uses a module that numpy 2 deprecates; numpy warns once, at its import.
pytestmark = pytest.mark.filterwarnings("ignore:numpy.core is deprecated:DeprecationWarning")


def events(days: int = 365, broken_days: int = 28, n: int = 9000) -> pa.Table:
    """A year of purchases. In the last days the item ids have leading zeros and the prices are missing."""
    rng = np.random.default_rng(0)
    day, item = np.sort(rng.uniform(0, days, n)), rng.integers(1, 90, n)
    broken = day > day[-1] - broken_days
    table = {
        "user_id": [f"u{user}" for user in rng.integers(0, 60, n)],
        "item_id": [f"{i:08d}" if late else str(i) for i, late in zip(item, broken, strict=True)],
        "timestamp": [datetime(2025, 1, 1, tzinfo=UTC) + timedelta(days=float(d)) for d in day],
        "event": ["purchase"] * n,
        "weight": [1.0] * n,
        "unit_price": [
            None if late else float(price) for price, late in zip(rng.lognormal(2, 1, n), broken, strict=True)
        ],
    }
    return conform(pa.table(table), INTERACTIONS, "events")


def test_a_broken_feed_sends_one_alert_with_its_faults(tmp_path: Path, make_settings: Callable[..., Settings]) -> None:
    settings = make_settings(tmp_path / "home", dataset="online_retail")
    tables = {"items": ITEMS.empty_table(), "users": USERS.empty_table(), "interactions": events()}
    lake = SimpleNamespace(table_version=lambda dataset: TableVersion(1, "abc"))
    for _ in range(2):
        context = dg.build_asset_context(partition_key="online_retail")
        report = drift_report(context, settings=settings, datasets=Datasets(settings), lake=lake, **tables)
        assert report.data_version == "abc"
        assert {problem.column for problem in report.feed_problems} == {"item_id", "unit_price"}
        metadata = context.get_output_metadata("result")
        assert metadata["window days"] == 28  # a thousand events need six weeks, but the log has 13 such windows
    (alert,) = recent_alerts(settings.alerts.outbox, 9)
    assert (alert.severity, alert.title) == ("critical", "broken feed in online_retail")
    (incident,) = open_incidents(settings.alerts.outbox)
    assert (incident.key, incident.n_alerts) == ("broken feed/online_retail", 2)
    summary = str(metadata["broken feed"])
    assert summary.startswith("item_id has a new format in 100% of the newest ids, 0% before (example: '00")
    assert "unit_price has a value in 0% of the newest events, 100% before" in summary
    assert summary in settings.alerts.log_file.read_text()
    assert f"| {report.feed_problems[0].text} | 1.0000 |" in metadata["columns"].value


def test_an_incident_is_over_when_a_report_that_could_find_its_cause_does_not(
    tmp_path: Path, make_settings: Callable[..., Settings]
) -> None:
    settings = make_settings(tmp_path / "home", dataset="online_retail")
    window = Window(None, None, 0)
    prices = FeedProblem("unit_price", 1.0, 0.0, 0.9, "unit_price has a value in 0% of the newest events")

    def open_after(
        fired: bool, tested: bool = True, problems: tuple[FeedProblem, ...] = (), feed_tested: bool = True
    ) -> list[str]:
        column = ColumnDrift("category", 5.0, 4.0, METHOD, fired, "")
        columns = (column,) * tested
        report = DriftReport(fired, tested, columns, window, window, (), "summary", problems, feed_tested=feed_tested)
        update_alerts(dg.build_asset_context(partition_key="online_retail"), settings, report)
        return [incident.key.partition("/")[0] for incident in open_incidents(settings.alerts.outbox)]

    assert open_after(fired=False) == []
    assert open_after(fired=True) == ["drift"]
    assert open_after(fired=True, problems=(prices,)) == ["drift", "broken feed"]
    assert open_after(fired=False, tested=False, feed_tested=False) == ["drift", "broken feed"]
    assert open_after(fired=True) == ["drift"]
    assert open_after(fired=True, problems=(prices,)) == ["drift", "broken feed"]
    assert open_after(fired=False, tested=False) == ["drift"]  # the log is too short for drift
    assert open_after(fired=False) == []
    kinds = [(alert.kind, alert.key.partition("/")[0]) for alert in recent_alerts(settings.alerts.outbox, 9)]
    assert kinds[:2] == [("resolved", "drift"), ("resolved", "broken feed")]


def test_a_review_ends_the_alert_of_its_columns_and_only_the_reminders_of_a_broken_feed(
    tmp_path: Path, make_settings: Callable[..., Settings]
) -> None:
    settings, end = make_settings(tmp_path / "home", dataset="online_retail"), datetime(2025, 5, 4, tzinfo=UTC)
    window = Window(end - timedelta(days=7), end, 900)
    prices = FeedProblem("unit_price", 1.0, 0.0, 0.9, "unit_price has a value in 0% of the newest events")
    reviews: list[Entry] = []

    def alerts_after(*drifted: str, problems: tuple[FeedProblem, ...] = ()) -> list[tuple[str, int]]:
        columns = tuple(ColumnDrift(name, 5.0, 4.0, METHOD, True, "") for name in drifted)
        report = DriftReport(True, True, columns, window, window, (), "it changed", problems, feed_tested=True)
        update_alerts(dg.build_asset_context(partition_key="online_retail"), settings, report, reviews)
        metadata = review_metadata(settings, report, reviews)
        assert ("review it" in metadata) == bool(unreviewed(report, reviews))
        assert ("reviews" in metadata) == bool(reviews)
        if reviews:
            assert "- category, feed unit_price: expected by Ann, 2025-05-04 00:00 UTC: sale" in str(metadata)
        return [(one.key.partition("/")[0], one.n_alerts) for one in open_incidents(settings.alerts.outbox)]

    assert alerts_after("category") == [("drift", 1)]
    reviews.append(
        Review("online_retail", ("category", "feed unit_price"), Verdict.expected, "Ann", "sale", end, window_end=end)
    )
    assert alerts_after("category") == []
    assert alerts_after("category", "region") == [("drift", 1)]
    newest = recent_alerts(settings.alerts.outbox, 1)[0]
    assert "it changed; reviewed: category, feed unit_price: expected by Ann" in settings.alerts.log_file.read_text()
    assert newest.kind == "alert"
    done = "drift", 1
    mass = replace(prices, column="mass")
    assert alerts_after(problems=(prices,)) == [done]
    assert alerts_after(problems=(prices, mass)) == [done, ("broken feed", 1)]
    assert alerts_after(problems=(prices,)) == [done, ("broken feed", 1)]


def test_the_table_has_the_cause_of_each_change_and_the_columns_not_tested() -> None:
    part, days = Part("segment", "shops", 0.7, 0.2), Window(None, None, 0)
    category = ColumnDrift("category", 8, 4, METHOD, True, "'pens' 10.0% -> 20.0%", "pens", 0.9, (part,))
    rating = ColumnDrift("rating", 1, 4, METHOD, False, "mean 4.00 -> 4.01")
    recent = ((), ("category",), ("category", "region"))
    report = DriftReport(True, True, (category, rating), days, days, ("segment (none)",), "", recent=recent)
    assert as_table(report).splitlines()[2:] == [
        "| category | 8.0000 | 4.0000 | drifted | 'pens' 10.0% -> 20.0%, 90% of the change; "
        "segment 'shops' makes 70% of it (20% of the events) |",
        "| rating | 1.0000 | 4.0000 | no drift | mean 4.00 -> 4.01 |",
        "| segment (none) | | | not tested | |",
    ]
    assert recent_windows(report) == "none; category; category, region"
    assert recent_windows(DriftReport(False, False, (), days, days, (), "")) == "not tested"


def test_earlier_items_are_those_at_the_begin_of_the_window() -> None:
    def version(number: int, day: int) -> SimpleNamespace:
        return SimpleNamespace(number=number, created=datetime(2026, 1, day, tzinfo=UTC))

    class Store:
        def __init__(self, *stored: SimpleNamespace) -> None:
            self.stored = list(stored)

        def versions(self) -> list[SimpleNamespace]:
            return self.stored

        def read(self, name: str, wanted: SimpleNamespace) -> str:
            return f"{name} {wanted.number}"

    stored = [version(4, 30), version(3, 20), version(2, 10), version(1, 5)]
    assert earlier_items(Store(*stored), 10) == "items 3"
    assert earlier_items(Store(*stored), 11) == "items 2"
    assert earlier_items(Store(*stored), 99) == "items 1"
    assert earlier_items(Store(), 10) is None
