"""Simulated shifts are reported, stored, and shown by a running Evidently."""

import json
import math
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest

from monitoring.drift.columns import VOLUMES
from monitoring.drift.page import COUNT_TITLE, LINES_TITLE
from monitoring.drift.report import DriftReport, drift_report, report_url
from recommenders.errors import DataError

# Evidently 0.7.23 uses what numpy 2 and litestar 2.23 deprecate; warned once, at its import.
pytestmark = [
    pytest.mark.filterwarnings("ignore:numpy.core is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Call to deprecated function 'Dependency':DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Use of deprecated class 'DependencyKwarg':DeprecationWarning"),
]

SHIFTS = {
    "category": {"category": 2.0},
    "log_unit_price": {"price": 1.5},
    "log_quantity": {"quantity": 2.0},
    "popularity": {"popularity": 1.3},
    "region": {"region": 3.0},
    "rating": {"rating": 3.0},
}


@pytest.fixture(scope="module")
def past(market):
    return market.window(1, 0, 203, rating=4.0)


@pytest.fixture
def compare(market, past, tmp_path):
    def run(current, **options):
        reference = options.pop("reference", None) or past
        places = tmp_path / "out", tmp_path / "workspace", "toy"
        return drift_report(reference, current, market.items, *places, users=market.users, **options)

    return run


@pytest.mark.parametrize("column", SHIFTS)
def test_a_simulated_shift_is_reported(market, compare, column):
    report = compare(market.window(1, 203, 7, **{"rating": 4.0, **SHIFTS[column]}))
    assert report.fired
    assert report.columns[0].name == column
    assert report.columns[0].drifted
    assert report.summary.startswith(f"{column.removeprefix('log_')} changed most: ")
    assert report.recent == ((), (), tuple(sorted(c.name for c in report.columns if c.drifted)))
    if column not in ("popularity", "category"):  # popular items have their own categories and prices
        assert [c.name for c in report.columns if c.drifted] == [column]


def test_no_drift(market, compare, tmp_path):
    report = compare(market.window(1, 203, 7, rating=4.0))
    assert (report.tested, report.fired, report.feed_problems) == (True, False, ())
    assert report.summary.startswith("no drift; closest to its limit: ")
    assert report.not_tested == ("segment (not in this source)",)
    assert not {"item_id", "hour"} & {column.name for column in report.columns}
    assert report.html_path == tmp_path / "out" / "drift.html"


def test_a_broken_feed_is_first_in_the_summary_and_saved(market, compare, tmp_path):
    report = compare(market.window(1, 203, 7))  # the training window has ratings
    assert report.fired
    assert [problem.column for problem in report.feed_problems] == ["rating"]
    assert re.match(
        r"the feed is probably broken: rating has a value in 0% .*; drift: no drift; closest to its", report.summary
    )
    assert re.fullmatch(r"rating \(\d{5} known before, \d\d? now\)", report.not_tested[-1])
    report.save(tmp_path / "saved")
    assert DriftReport.load(tmp_path / "saved").feed_problems == report.feed_problems


def test_a_report_reads_no_earlier_snapshot(market, compare, tmp_path):
    """So it takes as long with a thousand of them, and one that a crash cut off does not stop it."""
    first = compare(market.window(1, 203, 7))
    folder = tmp_path / "workspace" / first.project_id / "snapshots"
    (folder / f"{first.snapshot_id}.json").write_text("{")
    second = compare(market.window(1, 203, 7))
    assert second.project_id == first.project_id
    assert {file.stem for file in folder.iterdir()} == {first.snapshot_id, second.snapshot_id}


def test_the_page_has_our_scores_and_verdicts(market, compare, tmp_path):
    """Evidently's own methods would flag other columns. A second report in the process has its own scores."""
    compare(market.window(1, 203, 7, rating=4.0))
    report = compare(market.window(1, 203, 7, price=1.2, rating=4.0))
    stored = next((tmp_path / "workspace" / report.project_id / "snapshots").glob(f"{report.snapshot_id}*"))
    snapshot = json.loads(stored.read_text())
    drawn = {
        result["display_name"].removeprefix("Value drift for "): result["value"]
        for result in snapshot["metric_results"].values()
        if result["display_name"].startswith("Value drift for ")
    }
    shown = [column for column in report.columns if column.name not in VOLUMES]
    assert set(drawn) == {column.name for column in shown}
    assert len(shown) == len(report.columns) - len(VOLUMES)
    for column in shown:
        assert math.isclose(drawn[column.name], column.score, rel_tol=1e-9)
    page = report.html_path.read_text()
    assert "Dataset Drift is detected" in page  # one column of many is enough
    assert re.search(r"Drift is detected for [\d.]+% of columns \(1 out of 9\)", page)
    assert "Mean value of" not in page  # the columns of the panels are not on the page


def test_one_project_per_dataset(market, compare):
    first, second = compare(market.window(1, 203, 7)), compare(market.window(2, 203, 7))
    assert first.project_id == second.project_id
    assert first.snapshot_id != second.snapshot_id


def test_the_same_events_give_the_same_verdict(market, compare):
    current = market.window(1, 203, 7)
    assert compare(current).columns == compare(current).columns


def test_a_short_log_is_not_tested_but_a_broken_feed_is_found(market, compare, tmp_path):
    current, reference = market.window(1, 203, 7), market.window(1, 143, 60, rating=4.0)
    report = compare(current, reference=reference)
    assert (report.fired, report.tested, report.columns, report.recent) == (True, False, (), ())
    assert report.feed_tested
    assert [problem.column for problem in report.feed_problems] == ["rating"]
    assert report.summary.endswith("drift: not tested: every column (9 windows of 7 days; 13 are needed)")
    assert report.reference.rows == reference.num_rows
    assert not (tmp_path / "workspace").exists()


def test_the_reference_is_eight_windows_that_end_two_windows_before_the_newest(market, compare):
    report = compare(market.window(1, 203, 7, rating=4.0), days=7)
    assert report.reference.end == report.current.end - timedelta(days=21)
    assert report.reference.start == report.reference.end - timedelta(days=56)
    assert 6000 < report.reference.rows < 9000


def test_too_few_rows_are_not_tested(market, compare, tmp_path):
    for current in (market.window(1, 203, 7).slice(0, 199), market.window(1, 203, 7).slice(0, 0)):
        report = compare(current)
        assert (report.fired, report.tested, report.feed_tested, report.columns) == (False, False, False, ())
        assert re.fullmatch(
            rf"not tested: \d+ events before the newest window, {current.num_rows} in it; 200 .+",
            report.summary,
        )
        report.save(tmp_path / "saved")
        assert DriftReport.load(tmp_path / "saved") == report
    assert not (tmp_path / "workspace").exists()


def test_load_returns_what_was_saved(market, compare, tmp_path):
    report = compare(market.window(1, 203, 7, price=1.5))
    folder = tmp_path / "saved"
    report.save(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["drift.html", "drift.json"]
    loaded = DriftReport.load(folder)
    assert loaded == replace(report, html_path=folder / "drift.html")
    assert loaded.save(folder) == folder / "drift.json"
    assert DriftReport.load(folder) == loaded


@pytest.mark.parametrize("content", [None, "{", "{}", '{"columns": [{"nme": 1}]}'])
def test_an_invalid_report_raises(tmp_path, content):
    if content is not None:
        (tmp_path / "drift.json").write_text(content)
    with pytest.raises(DataError, match=r"drift\.json is not a drift report: .+; run the drift check again$"):
        DriftReport.load(tmp_path)


def test_a_source_with_neither_prices_nor_categories(market, compare):
    def bare(table: pa.Table) -> pa.Table:
        empty = pa.nulls(table.num_rows, pa.float64())
        for name in ("unit_price", "quantity"):
            table = table.set_column(table.column_names.index(name), name, empty)
        return table

    report = compare(bare(market.window(1, 203, 7)), reference=bare(market.window(1, 0, 203)))
    assert [column.name for column in report.columns if column.name.startswith("log")] == []
    assert "log_unit_price (not in this source)" in report.not_tested
    assert report.tested


def test_the_page_loads_nothing_from_other_hosts(market, compare):
    page = compare(market.window(1, 203, 7)).html_path.read_text()
    tag = r"""<(?:script|link|img|iframe)\b[^>]*?(?:src|href)\s*=\s*["']?((?:https?:)?//[^"'\s>]+)"""
    assert re.findall(tag, page) == []
    assert "@import" not in page.split("<script")[0]


def test_evidently_is_not_imported_with_the_module():
    code = "import os, sys, monitoring.drift.report; print('evidently' in sys.modules, os.environ['DO_NOT_TRACK'])"
    bare = {name: value for name, value in os.environ.items() if name != "DO_NOT_TRACK"}
    run = subprocess.run([sys.executable, "-c", code], env=bare, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "true"]


@pytest.mark.slow
def test_evidently_s_own_pages_show_the_report(market, compare, tmp_path, free_port):
    before = compare(market.window(1, 203, 7))
    base = f"http://127.0.0.1:{free_port}"

    def get(url: str) -> str:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.read().decode()

    command = [sys.executable, "-m", "evidently.cli", "ui", "--host", "127.0.0.1", "--port", str(free_port)]
    with (tmp_path / "ui.log").open("wb") as log:
        ui = subprocess.Popen(
            [*command, "--workspace", str(tmp_path / "workspace")],
            stdout=log,
            stderr=log,
            env={**os.environ, "DO_NOT_TRACK": "true"},
        )
    try:
        wait_for(f"{base}/api/version")
        after = compare(market.window(2, 203, 7, price=1.5))  # while the UI runs
        projects = json.loads(get(f"{base}/api/projects"))
        assert [project["name"] for project in projects] == ["toy"]
        for report in (before, after):
            page = get(report_url(base, report.project_id, report.snapshot_id))
            assert '<div id="root">' in page
            assert not re.findall(r'(?:src|href)="(?:https?:)?//', page)
            # The page is the same for all reports; its content comes from here:
            data = get(f"{base}/api/projects/{report.project_id}/{report.snapshot_id}/data")
            assert "log_unit_price" in data
        dashboard = json.loads(get(f"{base}/api/v2/dashboards/{after.project_id}"))
        drawn = points(base, dashboard, after.project_id)
        assert drawn[COUNT_TITLE] == [[0.0, 1.0]]
        expected = {c.name: c.score / c.threshold for c in after.columns}
        assert sorted(values[1] for values in drawn[LINES_TITLE]) == pytest.approx(sorted(expected.values()))
        assert all(len(values) == 2 for values in drawn[LINES_TITLE])  # one line per column, not per window
        with pytest.raises(urllib.error.HTTPError):
            get(f"{base}/api/projects/{after.project_id}/{after.project_id}/data")
    finally:
        ui.terminate()
        ui.wait(15)


def points(base: str, dashboard: dict, project: str) -> dict[str, list[list[float]]]:
    """The values of a dashboard's panels, requested in the same way as by the page."""
    drawn = {}
    for panel in dashboard["panels"]:
        asked = [
            {"metric": value["metric"], "metric_labels": value["metric_labels"], "tags": [], "metadata": {}}
            for value in panel["values"]
        ]
        request = urllib.request.Request(
            f"{base}/api/v2/snapshots/{project}/data_series_batch",
            json.dumps({"series_filter": asked}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            drawn[panel["title"]] = [series["values"] for series in json.load(answer)["series"]]
    return drawn


def wait_for(url: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def test_report_url():
    assert report_url("http://127.0.0.1:5004/", "p", "s") == "http://127.0.0.1:5004/projects/p/reports/s"


@pytest.mark.parametrize(("share", "is_broken"), [(0.03, False), (0.1, True)])
def test_a_few_prices_in_cents_are_a_fault_of_the_feed_and_no_drift(market, compare, share, is_broken):
    """Also as long as the window has fewer of them than a broken feed: else its end would start a retraining."""
    current = market.window(1, 203, 7, rating=4.0)
    price = current["unit_price"].to_numpy()
    cents = np.where(np.random.default_rng(0).random(len(price)) < share, 100 * price, price)
    column = current.schema.get_field_index("unit_price")
    report = compare(current.set_column(column, "unit_price", pa.array(cents)))
    assert bool(report.feed_problems) == is_broken
    assert not next(found for found in report.columns if found.name == "log_unit_price").drifted
