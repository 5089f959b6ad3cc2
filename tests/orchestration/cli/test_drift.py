"""`tradewind drift`, and the job `review_drift`: a person reviews the newest report."""

import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from monitoring.alerts.alert import Alert
from monitoring.alerts.listing import open_incidents
from monitoring.drift.judgement import METHOD, ColumnDrift
from monitoring.drift.report import DriftReport, Window
from orchestration.definitions import definitions
from orchestration.drift_review import STEP, reviews_of
from orchestration.io_manager import Lake
from orchestration.jobs import REVIEW
from orchestration.settings import Settings

NAME = "online_retail"
END = datetime(2011, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path: Path, make_settings: Callable[..., Settings]) -> Settings:
    """Of a home where category and new items drifted, and an alert was sent."""
    settings = make_settings(tmp_path / "home", dataset=NAME)
    columns = tuple(ColumnDrift(name, 5.0, 4.0, METHOD, True, "") for name in ("category", "new items"))
    window = Window(END - timedelta(days=7), END, 900)
    report = DriftReport(True, True, columns, window, window, (), "category changed most")
    report.save(Lake(root=str(settings.lake)).path(NAME, "drift_report", DriftReport))
    settings.alerts.send(Alert(f"drift in {NAME}", "", "warning", "drift", NAME))
    return settings


def test_the_command_shows_stores_and_lists_reviews(
    settings: Settings, tmp_path: Path, run_here: Callable[..., "subprocess.CompletedProcess[str]"]
) -> None:
    def tradewind(*words: str, home: Path = settings.home) -> "subprocess.CompletedProcess[str]":
        return run_here("drift", *words, "--dataset", NAME, home=home)

    def review(columns: str, verdict: str = "expected", why: str = "spring sale") -> "subprocess.CompletedProcess[str]":
        return tradewind("review", "--columns", columns, "--verdict", verdict, "--by", "Ann", "--why", why)

    lines = tradewind("show").stdout.splitlines()
    assert lines[0] == f"{NAME}, window that ends at 2011-03-01 12:00 UTC: category changed most"
    assert [line.split(maxsplit=1) for line in lines[1:2]] == [["category", "not reviewed"]]
    assert tradewind("list").stdout == f"{NAME} has no reviews yet\n"
    assert review("category", "acknowledged").stderr.startswith("Stored: category: acknowledged by Ann, 20")
    assert [one.key for one in open_incidents(settings.alerts.outbox)] == [f"drift/{NAME}"]
    assert review("category, new items").returncode == 0
    assert open_incidents(settings.alerts.outbox) == []
    assert json.loads(tradewind("show", "--json").stdout)["causes"] == dict.fromkeys(
        ("category", "new items"), "expected"
    )
    newest, oldest = json.loads(tradewind("list", "--json").stdout)
    assert (newest["columns"], newest["why"], oldest["columns"]) == (
        ["category", "new items"],
        "spring sale",
        ["category"],
    )
    assert tradewind("list").stdout.count("by Ann") == 2
    wrong = review("planet")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert "columns: got planet; allowed: category, new items" in wrong.stderr
    missing = tradewind("show", home=tmp_path / "other")
    assert missing.returncode == 2
    assert f"{NAME} has no drift report yet; materialise drift_report in Dagster" in missing.stderr


def test_the_job_stores_a_review_and_shows_it_at_the_asset(settings: Settings) -> None:
    job = definitions(settings).resolve_job_def(REVIEW)

    def run(*columns: str) -> bool:
        given = {"columns": list(columns), "verdict": "acknowledged", "by": "Ann", "why": "sale"}
        config = {"ops": {STEP: {"config": given}}}
        return job.execute_in_process(config, instance=instance, raise_on_error=False).success

    with dg.DagsterInstance.ephemeral() as instance:
        assert run("new items", "category")
        (event,) = instance.fetch_observations(dg.AssetKey("drift_report"), limit=9).records
        seen = event.asset_observation
        assert seen is not None
        assert seen.partition == NAME
        assert str(seen.metadata["review"].value).startswith("new items, category: acknowledged by Ann, 20")
        assert open_incidents(settings.alerts.outbox) == []
        assert not run("planet")
    assert len(reviews_of(settings).entries()) == 1
