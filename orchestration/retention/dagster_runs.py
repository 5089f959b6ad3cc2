"""Lists and deletes ended runs of Dagster, with their events and logs."""

from datetime import UTC, datetime
from pathlib import Path

import dagster as dg

from orchestration.jobs import CAUSE_TAG, ENDED, PARTITION_TAG
from recommenders.storage.bundle import size_in_bytes
from recommenders.storage.retention import Stored


def ended_runs(instance: dg.DagsterInstance) -> list[Stored]:
    """The ended runs by their ids, aged from their end; the size is that of the files on this machine."""
    records = instance.get_run_records(dg.RunsFilter(statuses=ENDED))
    return [Stored(record.dagster_run.run_id, _ended(record), _size(instance, record)) for record in records]


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
    """Deletes a run. The run itself is last, so that the next pruning finds it if this process is killed."""
    instance.compute_log_manager.delete_logs(prefix=[run_id])
    instance.event_log_storage.delete_events(run_id)
    for path in _files(instance, run_id)[1:]:
        path.unlink(missing_ok=True)  # Dagster empties the file of a run, but leaves it
    instance.delete_run(run_id)


def _makers(instance: dg.DagsterInstance) -> dict[str, str]:
    """Id of each run with the newest materialisation of an asset in a data set, or in none -> the asset."""
    found: dict[str, str] = {}
    for key in instance.all_asset_keys():
        log, kind = instance.event_log_storage, dg.DagsterEventType.ASSET_MATERIALIZATION
        ids = [*log.get_latest_storage_id_by_partition(key, kind).values()]
        by_partition = dg.AssetRecordsFilter(key, storage_ids=ids)
        newest = instance.fetch_materializations(key, limit=1).records
        records = [*newest, *(instance.fetch_materializations(by_partition, limit=len(ids)).records if ids else ())]
        found |= {record.run_id: key.to_user_string() for record in records}
    return found


def _files(instance: dg.DagsterInstance, run_id: str) -> list[Path]:
    """The folder of a run's logs, and its file of events, if Dagster's store is in files."""
    root = Path(instance.root_directory)
    return [root / "storage" / run_id, *(root / "history" / "runs").glob(f"{run_id}.db*")]


def _size(instance: dg.DagsterInstance, record: dg.RunRecord) -> int:
    paths = _files(instance, record.dagster_run.run_id)
    return sum(path.stat().st_size if path.is_file() else size_in_bytes(path) for path in paths)


def _ended(record: dg.RunRecord) -> datetime:
    """When a run ended, UTC; when it was made, if it was cancelled before it started."""
    return datetime.fromtimestamp(record.end_time, UTC) if record.end_time else record.create_timestamp
