"""Causes for the sensors to act on, made as the platform makes them; and what the platform did about them.

Each function opens its own stores, so it is called in a process of its own.
"""

import json
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

import dagster as dg
import pyarrow.parquet as pq
from sqlalchemy import select

from monitoring.alerts.alert import Alert
from monitoring.alerts.tables import alerts
from monitoring.drift.report import DriftReport, Window
from monitoring.online.falls import QualityFall
from orchestration.assets.json_outputs import QualityMonitor
from orchestration.io_manager import Lake, form_of
from orchestration.jobs import CAUSE_TAG, PARTITION_TAG, RETRAINING
from orchestration.launcher.dagster_internals import origin
from orchestration.run_process import PID_TAG
from orchestration.settings import Settings
from serving.release.gate import GateRecord
from serving.release.registry import Registry
from serving.settings import PROJECT

WEEK = timedelta(days=7)


@dataclass(frozen=True)
class Expected:
    """What a cause has to lead to. run: the cause of its one retraining, "" for none. alerts: their ids.

    champion: the version that serves at the end, 0 if the cause does not change it.
    """

    run: str = ""
    alerts: tuple[str, ...] = ()
    champion: int = 0


@dataclass(frozen=True)
class Outcome:
    """What one cause led to. runs, ended, right: retrainings, those that ended, and those with the right cause.

    lost, doubled: alerts that did not arrive, and that arrived twice. champion: whether the right version serves.
    """

    name: str
    kills: int
    wanted: int
    runs: int
    right: int
    ended: int
    alerts: int
    lost: int
    doubled: int
    champion: bool


def publish_versions(settings: Settings, n: int) -> None:
    """Registers the champion's bundle n times more, and makes each the champion, so that there are earlier ones."""
    registry, name = Registry(settings), settings.dataset
    first = registry.champion(name)
    assert first is not None
    bundle = registry.download_bundle(first, settings.home / "bundle")
    for _ in range(n):
        version = registry.publish(name, bundle, first.run_id, first.tags)
        registry.promote(name, version.number, GateRecord(promote=True))


def new_data(settings: Settings, number: int) -> Expected:
    """One order line less in the source."""
    assert settings.source is not None
    path = settings.source / "order_lines.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)
    return Expected("new data")


def drift(settings: Settings, number: int) -> Expected:
    """A drift report with a column that drifted in two of three windows; each report has a window of its own."""
    report_drift(settings, (("category",), (), ("category",)), number)
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization("drift_report", partition=settings.dataset))
    return Expected("drift")


def report_drift(settings: Settings, recent: tuple[tuple[str, ...], ...], number: int) -> None:
    """Stores a report about three weeks after the champion's training."""
    champion = Registry(settings).champion(settings.dataset)
    assert champion is not None
    assert champion.trained_until is not None
    end = champion.trained_until + 3 * WEEK + timedelta(hours=number)
    window = Window(end - WEEK, end, 900)
    more: dict[str, Any] = {"recent": recent, "data_version": f"data {number}"}
    report = DriftReport(True, True, (), window, window, (), "prices moved", **more)
    report.save(Lake(root=str(settings.lake)).path(settings.dataset, "drift_report", DriftReport))


def bad_champion(settings: Settings, number: int) -> Expected:
    """The oldest version serves again, and its lists are worse than those before."""
    registry, name = Registry(settings), settings.dataset
    settings.alerts.recover_all("rollback", name)  # each rollback has an incident of its own
    before = registry.pointer(name)
    assert before is not None
    oldest = min(version.number for version in registry.versions(name) if version.number != before.version)
    registry.promote(name, oldest, GateRecord(promote=True))
    report_drift(settings, ((), (), ()), number)
    monitor = QualityMonitor(name, oldest, QualityFall(True, "the quality fell"), QualityFall(False, "no fall"))
    form_of(QualityMonitor).save(monitor, Lake(root=str(settings.lake)).path(name, "quality_monitor", QualityMonitor))
    now = registry.pointer(name)
    assert now is not None
    return Expected("", (f"rollback {name} {oldest} {now.promoted_at}",), before.version)


def failed_run(settings: Settings, number: int, lost: bool = False) -> Expected:
    """A run that failed; or one that has lost its process. Each belongs to a data set of its own: one incident."""

    @dg.job(name="other_job")
    def job() -> None: ...

    tags = {PARTITION_TAG: f"shop{number}"} | ({PID_TAG: "1@0.00"} if lost else {})
    place = origin("retraining_job", PROJECT / "workspace.yaml")
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags=tags, remote_job_origin=place)
        if not lost:
            instance.report_run_failed(run)
    return Expected(alerts=(f"failed run {run.run_id}",))


def lost_run(settings: Settings, number: int) -> Expected:
    """A started run whose process is gone."""
    return failed_run(settings, number, lost=True)


def stored_alert(settings: Settings, number: int) -> Expected:
    """An alert that another process stored before it was killed."""
    alert = Alert("prices moved", "", "critical", "drift", f"shop{number}", id=f"alert {number}")
    settings.alerts.outbox.append(alert)
    return Expected(alerts=(alert.id,))


def retrainings(settings: Settings) -> dict[str, dict[str, str]]:
    """Id of each retraining -> its cause and its status."""
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        runs = instance.get_runs(dg.RunsFilter(job_name=RETRAINING))
    return {run.run_id: {"cause": run.tags.get(CAUSE_TAG, ""), "status": run.status.value} for run in runs}


def arrivals(settings: Settings) -> Counter[str]:
    """Id of an alert -> how often it is in the log, notices of the end of an incident apart."""
    if not settings.alerts.log_file.exists():
        return Counter()
    lines = map(json.loads, settings.alerts.log_file.read_text().splitlines())
    return Counter(line["id"] for line in lines if line["kind"] == "alert")


def unsent(settings: Settings) -> int:
    """Alerts of the outbox that are neither sent nor part of an incident that was sent already."""
    with settings.alerts.outbox.reading() as connection:
        stored = connection.execute(select(alerts.c.id, alerts.c.kind, alerts.c.state)).all()
    found = arrivals(settings)
    return sum(row.kind == "alert" and row.state != "suppressed" and not found[row.id] for row in stored)


def outcome(
    settings: Settings, name: str, expected: Expected, before: dict[str, dict[str, str]], kills: int
) -> dict[str, Any]:
    """The Outcome of a cause. before: the retrainings before it."""
    new = [run for run_id, run in retrainings(settings).items() if run_id not in before]
    failed = [i for i, run in retrainings(settings).items() if i not in before and run["status"] == "FAILURE"]
    found = arrivals(settings)
    ids = (*expected.alerts, *(f"failed run {run_id}" for run_id in failed))
    champion = Registry(settings).pointer(settings.dataset)
    right = not expected.champion or (champion is not None and champion.version == expected.champion)
    return asdict(
        Outcome(
            name,
            kills,
            int(bool(expected.run)),
            len(new),
            sum(run["cause"] == expected.run for run in new),
            sum(run["status"] in ("SUCCESS", "FAILURE") for run in new),
            len(ids),
            sum(not found[one] for one in ids),
            sum(max(found[one] - 1, 0) for one in ids),
            right,
        )
    )
