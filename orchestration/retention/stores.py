"""Every store of the platform that is pruned: what it holds, what must stay, and how a thing is deleted."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg

from monitoring.alerts.pruning import delete_incidents, ended_incidents
from monitoring.drift.report import DriftReport
from monitoring.drift.snapshots import delete_snapshot, stored_snapshots
from orchestration.io_manager import Lake
from orchestration.retention import dagster_runs, log_files
from orchestration.retention.configuration import RetentionConfig
from orchestration.settings import Settings
from recommenders.datasets.store import TableStore
from recommenders.errors import DataError
from recommenders.storage.retention import Limit, Stored
from serving.release import bento, pruning
from serving.release.registry import Registry


@dataclass(frozen=True)
class Store:
    """One store. dataset: whose things it holds; "": it is of the whole platform.

    found: lists its things. protected: name -> why it must stay. delete: deletes things by their names.
    """

    what: str
    dataset: str
    limit: Limit
    found: Callable[[], Sequence[Stored]]
    protected: Callable[[], Mapping[str, str]]
    delete: Callable[[Sequence[str]], None]


def stores_of_dataset(settings: Settings, registry: Registry, limits: RetentionConfig) -> list[Store]:
    """The stores of the settings' data set. A caller that deletes holds the lock of its runs."""
    name = settings.dataset
    models, workspace, tables = settings.lake / name, settings.workspace, settings.tables
    return [
        Store(
            "versions",
            name,
            Limit(newest=limits.versions),
            lambda: pruning.stored_versions(registry, name),
            lambda: pruning.protected_versions(registry, name),
            _each(lambda number: pruning.prune_version(registry, name, int(number))),
        ),
        Store(
            "training runs",
            name,
            Limit(days=limits.training_runs_days),
            lambda: registry.stored_runs(name),
            lambda: pruning.protected_runs(registry, name, models),
            _each(registry.delete_run),
        ),
        Store(
            "Bentos",
            name,
            Limit(newest=limits.bentos),
            lambda: bento.stored_bentos(settings, name),
            lambda: bento.protected_bentos(settings, name, pruning.protected_versions(registry, name)),
            _each(lambda version: bento.delete_bento(settings, name, version)),
        ),
        Store(
            "snapshots",
            name,
            Limit(newest=limits.snapshots),
            lambda: stored_snapshots(workspace, name),
            lambda: _protected_snapshots(settings),
            _each(lambda snapshot: delete_snapshot(workspace, name, snapshot)),
        ),
        Store(
            "tables",
            name,
            Limit(days=limits.tables_days),
            lambda: _stored_tables(tables),
            lambda: _protected_tables(settings),
            lambda numbers: tables.prune([int(number) for number in numbers]),
        ),
    ]


def stores_of_platform(settings: Settings, instance: dg.DagsterInstance, limits: RetentionConfig) -> list[Store]:
    """The stores that all data sets share."""
    log_bytes = limits.log_megabytes and limits.log_megabytes * 10**6
    return [
        Store(
            "runs",
            "",
            Limit(days=limits.runs_days),
            lambda: dagster_runs.ended_runs(instance),
            lambda: dagster_runs.protected_runs(instance),
            _each(lambda run_id: dagster_runs.delete_run(instance, run_id)),
        ),
        Store(
            "alerts",
            "",
            Limit(days=limits.alerts_days),
            lambda: ended_incidents(settings.alerts.outbox),
            dict,
            lambda numbers: delete_incidents(settings.alerts.outbox, [int(number) for number in numbers]),
        ),
        Store(
            "logs",
            "",
            Limit(max_bytes=log_bytes),
            lambda: log_files.log_files(settings.logs),
            dict,
            _each(lambda name: log_files.begin_anew(settings.logs / name)),
        ),
    ]


def _each(delete: Callable[[str], None]) -> Callable[[Sequence[str]], None]:
    """Deletes things one after another."""

    def delete_all(names: Sequence[str]) -> None:
        for name in names:
            delete(name)

    return delete_all


def _last_report(settings: Settings) -> DriftReport | None:
    """The newest drift report; None if there is none, or one of an earlier release."""
    try:
        found: DriftReport = Lake(root=str(settings.lake)).read(settings.dataset, "drift_report", DriftReport)
    except (OSError, DataError):
        return None
    return found


def _protected_snapshots(settings: Settings) -> dict[str, str]:
    """The snapshot of the newest drift report, to which the asset links."""
    report = _last_report(settings)
    return {report.snapshot_id: "of the newest drift report"} if report and report.snapshot_id else {}


def _stored_tables(tables: TableStore) -> list[Stored]:
    """The versions of the tables by their numbers, aged from the time at which a newer one replaced them."""
    versions = tables.versions()  # newest first
    replaced = [datetime.now(UTC), *(version.created for version in versions)]
    return [
        Stored(
            str(version.number), at, sum(file.stat().st_size for file in tables.all_files(version) if file.is_file())
        )
        for version, at in zip(versions, replaced, strict=False)
    ]


def _protected_tables(settings: Settings) -> dict[str, str]:
    """The newest version, the one that it restores, and the one with which the drift report compares it."""
    versions = settings.tables.versions()
    if not versions:
        return {}
    newest = versions[0]
    reasons = {str(newest.number): "the newest"}
    if newest.restored_from is not None:
        reasons[str(newest.restored_from)] = "restored"
    if (report := _last_report(settings)) and report.current.start and report.current.end:
        week = timedelta(days=7)  # a window has whole weeks
        begin = newest.created - math.ceil((report.current.end - report.current.start) / week) * week
        if before := [version for version in versions if version.created <= begin]:
            reasons.setdefault(str(before[0].number), "the drift report compares the newest with it")
    return reasons
