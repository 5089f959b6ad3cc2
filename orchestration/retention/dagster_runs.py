"""Lists and deletes ended runs of Dagster, with their events and logs."""

import re
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg

from orchestration.jobs import CAUSE_TAG, ENDED, PARTITION_TAG
from recommenders.storage.bundle import size_in_bytes
from recommenders.storage.retention import Stored

SUFFIXES = (".db-wal", ".db-shm", ".db-journal", ".db")  # of SQLite's files
RUN_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")  # other files have events of assets, or of no run


def ended_runs(instance: dg.DagsterInstance) -> list[Stored]:
    """The ended runs by their ids, aged from their end; the size is that of the files on this machine.

    Also files of events whose run is deleted already.
    """
    events, now = _event_bytes(instance), datetime.now(UTC)
    logs, found = Path(instance.root_directory) / "storage", []
    for record in instance.get_run_records(dg.RunsFilter(statuses=ENDED)):
        run_id = record.dagster_run.run_id
        found.append(Stored(run_id, _ended(record), events.pop(run_id, 0) + size_in_bytes(logs / run_id)))
    rest = [run_id for run_id in events if not instance.has_run(run_id)]
    return found + [Stored(run_id, now, events[run_id], unfinished=True) for run_id in rest]


def protected_runs(instance: dg.DagsterInstance) -> dict[str, str]:
    """Id of each run that must stay -> why.

    Those that made what is stored now, and the newest of each job, data set and cause: a sensor reads from it whether
    a cause has started a run before.
    """
    reasons: dict[str, str] = {}
    for record in instance.get_run_records(dg.RunsFilter(statuses=ENDED)):  # newest first
        run = record.dagster_run
        kind = run.job_name, run.tags.get(PARTITION_TAG, ""), run.tags.get(CAUSE_TAG, "")
        reasons.setdefault("/".join(kind), run.run_id)
    newest = {run_id: f"the newest of {kind.rstrip('/')}" for kind, run_id in reasons.items()}
    return newest | {run_id: f"made the stored {asset}" for run_id, asset in _makers(instance).items()}


def delete_run(instance: dg.DagsterInstance, run_id: str) -> None:
    """Deletes a run. If this process is killed meanwhile, ended_runs() names the run again."""
    instance.compute_log_manager.delete_logs(prefix=[run_id])
    if instance.has_run(run_id):
        instance.event_log_storage.delete_events(run_id)  # before the run: later no pruning would find them
        instance.delete_run(run_id)
    for suffix in SUFFIXES:  # Dagster leaves the empty file
        (_event_folder(instance) / f"{run_id}{suffix}").unlink(missing_ok=True)


def _makers(instance: dg.DagsterInstance) -> dict[str, str]:
    """Id of each run with the newest materialisation of an asset in a data set, or in none -> the asset."""
    found: dict[str, str] = {}
    for key in instance.all_asset_keys():
        log, kind = instance.event_log_storage, dg.DagsterEventType.ASSET_MATERIALIZATION
        ids = [*log.get_latest_storage_id_by_partition(key, kind).values()]
        by_partition = dg.AssetRecordsFilter(key, storage_ids=ids)
        newest = instance.fetch_materializations(key, limit=1).records
        records = [*newest, *(instance.fetch_materializations(by_partition, limit=len(ids)).records if ids else ())]
        found |= {record.run_id: key.to_user_string() for record in records if record.run_id}
    return found


def _event_bytes(instance: dg.DagsterInstance) -> Counter[str]:
    """Id of each run that has a file of events -> bytes; empty if Dagster's store is a database server."""
    found: Counter[str] = Counter()
    for path in _event_folder(instance).glob("*.db*"):
        run_id = path.name.partition(".db")[0]
        if RUN_ID.fullmatch(run_id):
            found[run_id] += path.stat().st_size
    return found


def _event_folder(instance: dg.DagsterInstance) -> Path:
    return Path(instance.root_directory) / "history" / "runs"


def _ended(record: dg.RunRecord) -> datetime:
    """When a run ended, UTC; when it was made, if it was cancelled before it started."""
    return datetime.fromtimestamp(record.end_time, UTC) if record.end_time else record.create_timestamp
