"""Disk, freshness and open incidents, read from real folders, tables and an outbox; and what a fault does."""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from prometheus_client import Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families

from monitoring.alerts.alert import Alert
from monitoring.alerts.dispatcher import AlertDispatcher
from monitoring.system.disk import WALK_SECONDS, HomeDisk, folder_sizes
from monitoring.system.exporter import Reading, registry_of
from monitoring.system.freshness import freshness
from monitoring.system.machine import processors_and_memory
from monitoring.system.open_alerts import OpenAlerts
from recommenders.datasets.reading.ingest import TABLES, Counts
from recommenders.datasets.store import Fingerprint, TableStore

DAY = datetime(2026, 3, 1, 12, 30, 0, 250_000, UTC)


def values(metrics: Any) -> dict[tuple[str, ...], float]:
    """Name of a series and values of its labels -> value."""
    return {(s.name, *s.labels.values()): s.value for metric in metrics for s in metric.samples}


def commit(lake: Path, dataset: str, staging: Path, times: list[datetime]) -> None:
    """A version of the tables of a data set, with one event at each time, in row groups of two."""
    staging.mkdir(exist_ok=True)
    n = len(times)
    log: dict[str, Any] = {"user_id": ["1"] * n, "item_id": ["2"] * n, "timestamp": times}
    log |= {"event": ["purchase"] * n, "weight": [1.0] * n}
    for name, columns in TABLES.items():
        rows = log if name == "interactions" else {}
        empty = [None] * len(rows.get("user_id", ()))
        table = pa.table({field.name: pa.array(rows.get(field.name, empty), field.type) for field in columns})
        pq.write_table(table.cast(columns), staging / f"{name}.parquet", row_group_size=2)
    TableStore(lake / dataset / "tables").commit(staging, Fingerprint(str(times), ()), Counts(n, n))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with tables of two data sets, of which one has two versions, and a report."""
    lake, staging = tmp_path / "home" / "lake", tmp_path / "staging"
    commit(lake, "shop", staging, [DAY + timedelta(days=n) for n in range(5)])
    commit(lake, "shop", staging, [DAY, DAY - timedelta(days=1)])  # the source lost its newest days
    commit(lake, "my shop", staging, [DAY - timedelta(days=n) for n in (300, 299, 9)])
    commit(lake, "empty", staging, [])
    (lake / "shop" / "drift_report").mkdir()
    report = lake / "shop" / "drift_report" / "drift.json"
    report.write_text("{}")
    os.utime(report, (1e9, 1e9))
    return tmp_path / "home"


def test_the_newest_event_of_the_newest_version_and_the_time_of_reports(home: Path) -> None:
    assert values(freshness(home / "lake")) == {
        ("tradewind_newest_event_timestamp_seconds", "shop"): DAY.timestamp(),
        ("tradewind_newest_event_timestamp_seconds", "my shop"): (DAY - timedelta(days=9)).timestamp(),
        ("tradewind_report_timestamp_seconds", "shop", "drift"): 1e9,
    }
    assert values(freshness(home / "nothing yet")) == {}


def test_the_bytes_of_a_home_are_those_of_its_files(tmp_path: Path) -> None:
    for path, size in {"lake/a/b": 1000, "lake/c": 24, "champions/x": 7, "mine/y": 5, "dataset.json": 3}.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(bytes(size))
    (tmp_path / "logs").symlink_to(tmp_path / "lake")
    sizes = folder_sizes(tmp_path)
    assert (sizes["lake"], sizes["champions"], sizes["other"]) == (1024, 7, 8)
    assert sizes["logs"] < 500  # the link, not the folder that it names


def test_the_folders_are_summed_again_after_a_while(tmp_path: Path) -> None:
    now = 50.0
    disk, key = HomeDisk(tmp_path, lambda: now), ("tradewind_home_bytes", "logs")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "a").write_bytes(bytes(10))
    assert values(disk())[key] == 10
    (tmp_path / "logs" / "a").write_bytes(bytes(30))
    now += WALK_SECONDS - 1
    assert values(disk())[key] == 10
    now += 1
    found = values(disk())
    assert found[key] == 30
    assert 0 < found["tradewind_disk_free_bytes",] <= found["tradewind_disk_size_bytes",]


@pytest.fixture
def outbox(tmp_path: Path) -> str:
    """An outbox with two open incidents of one kind, one of another, and one that is over."""
    url = f"sqlite:///{tmp_path}/outbox.db"
    alerts = AlertDispatcher(url, tmp_path / "alerts.yaml", tmp_path / "alerts.jsonl")
    (tmp_path / "alerts.yaml").write_text("channels: []\n")
    for dataset, cause, severity, subject in (
        ("shop", "failed run", "critical", "retraining_job"),
        ("shop", "failed run", "critical", "drift_job"),
        ("shop", "drift", "warning", ""),
        ("shop", "drift", "warning", ""),
        ("other", "drift", "warning", ""),
    ):
        alerts.send(Alert("title", "body", severity, cause, dataset, subject))
    alerts.deliver()
    alerts.recover("drift", "other")
    alerts.deliver()
    return url


def test_open_incidents_are_counted_by_data_set_cause_and_severity(outbox: str) -> None:
    found = values(OpenAlerts(outbox)())
    assert {key: n for key, n in found.items() if key[0] == "tradewind_incidents_open"} == {
        ("tradewind_incidents_open", "shop", "failed run", "critical"): 2,
        ("tradewind_incidents_open", "shop", "drift", "warning"): 1,
    }


def test_messages_are_counted_by_state(outbox: str) -> None:
    read = OpenAlerts(outbox)
    assert values(read())["tradewind_alert_messages", "failed"] == 0
    with sqlite3.connect(outbox.removeprefix("sqlite:///")) as connection:
        insert = (
            "INSERT INTO messages (channel, state, attempts, made_at, due_at, problem) VALUES ('mail', ?, 1, 0, 0, '')"
        )
        connection.executemany(insert, [("waiting",), ("failed",), ("failed",), ("sent",)])
    connection.close()
    found = values(read())
    assert (found["tradewind_alert_messages", "waiting"], found["tradewind_alert_messages", "failed"]) == (1, 2)
    assert ("tradewind_alert_messages", "sent") not in found


def test_a_reading_that_fails_is_shown_and_logged_once_and_stops_no_other(caplog: pytest.LogCaptureFixture) -> None:
    faults = iter(["first", "first", "second"])

    def broken() -> Iterator[Metric]:
        yield GaugeMetricFamily("tradewind_part", "Must not be shown.", 1)
        if fault := next(faults, ""):
            raise ValueError(fault)

    registry = registry_of({"broken": broken, "machine": processors_and_memory})
    for shown in (False, False, False, True):
        text = generate_latest(registry).decode()
        assert ("tradewind_part 1.0" in text) is shown
        assert f'tradewind_reading_success{{reading="broken"}} {float(shown)}' in text
        assert 'tradewind_reading_success{reading="machine"} 1.0' in text
        assert "tradewind_machine_memory_size_bytes" in text
    assert [record.getMessage() for record in caplog.records] == [
        f"the figures of broken cannot be read: ValueError('{fault}')" for fault in ("first", "second")
    ]


def test_all_readings_are_on_the_page_of_the_metrics(
    home: Path, outbox: str, documented_metrics: Callable[[str], dict[str, Any]]
) -> None:
    """Those of Dagster are compared where a Dagster runs, and those of GPUs have no value here."""
    readings: dict[str, Reading] = {
        "machine": processors_and_memory,
        "disk": HomeDisk(home),
        "freshness": lambda: freshness(home / "lake"),
        "alerts": OpenAlerts(outbox),
    }
    documented, elsewhere = documented_metrics("platform"), ("tradewind_gpu", "tradewind_runs", "tradewind_daemon")
    text = generate_latest(registry_of(readings)).decode()
    shown = {
        family.name + "_total" * (family.type == "counter"): family
        for family in text_string_to_metric_families(text)
        if family.name.startswith("tradewind_")
    }
    assert shown.keys() == {name for name in documented if not name.startswith(elsewhere)}
    for name, family in shown.items():
        assert family.type == documented[name].kind, name
        assert {frozenset(sample.labels) for sample in family.samples} == {documented[name].labels}, name
    started = text.partition("\nprocess_start_time_seconds ")[2].split("\n")[0]
    assert 0 < float(started) < time.time()
