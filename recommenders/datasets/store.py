"""All versions of a data set's clean tables on disk, as Delta tables, which other engines can read too.

    FOLDER/interactions/   the log; its Delta history is that of the data set, and refers to the other tables' versions
    FOLDER/items/ FOLDER/users/ FOLDER/quarantine/

The three other tables are committed before the log, so a version is complete or does not exist. DuckDB reads the
Parquet files that a version lists (docs/decisions/0009-versions-are-delta-tables.md).
"""

import json
import time
import uuid
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Schema
from deltalake.exceptions import DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, create_table_with_add_actions

from recommenders import clock
from recommenders.datasets.reading.ingest import TABLES, Counts
from recommenders.errors import DataError
from recommenders.storage import schema
from recommenders.storage.atomic_files import atomic_file
from recommenders.storage.feedback_position import Position

LOG = "interactions"
PRUNED = "pruned.json"  # beside the tables: the numbers of the versions whose files are deleted
VACUUM_HOURS = 24  # younger files stay: another process may be about to commit them
METADATA_KEY = "tradewind"  # key of this project's metadata in a commit of the log
KEEP_LOGS = PostCommitHookProperties(cleanup_expired_logs=False)  # by default Delta deletes commits older than 30 days


@dataclass(frozen=True)
class SourceFile:
    """One file of a source."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Fingerprint:
    """The files of a source, and their version: a hash that changes when any byte of a file changes."""

    version: str
    files: tuple[SourceFile, ...]


@dataclass(frozen=True)
class SourcePart:
    """What a version with feedback has from the source: the version of the files, and the time of their newest event.

    until: microseconds since 1970, UTC. position: how far the feedback was read; None if there was none.
    """

    version: str
    until: int
    position: Position | None = None


@dataclass(frozen=True)
class Version:
    """One version of a data set.

    `data_version` is the fingerprint of the files it was read from; if feedback was added, it changes with that too.
    """

    number: int
    created: datetime
    data_version: str
    counts: Counts
    tables: Mapping[str, int]  # table -> its Delta version
    files: tuple[SourceFile, ...] = ()
    restored_from: int | None = None  # the version that was restored; it stays until release()
    source: SourcePart | None = None  # None: the data set did not learn from feedback

    @property
    def source_version(self) -> str:
        """The fingerprint of the files alone."""
        return self.source.version if self.source else self.data_version


class TableStore:
    """The versions of one data set's tables below a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if odd := {"%", "?"} & set(str(folder)):
            raise DataError(
                f"tables cannot be stored in {folder}: Delta reads {' and '.join(odd)} as special characters; rename it"
            )

    def versions(self) -> list[Version]:
        """All versions that have their files, newest first; empty if nothing was committed yet."""
        try:
            history = self._delta(LOG).history()
        except TableNotFoundError:
            return []
        pruned = self._pruned()
        found = (_to_version(entry) for entry in history if METADATA_KEY in entry)
        return [version for version in found if version.number not in pruned]

    def current(self) -> Version | None:
        """The newest version; None if there is none."""
        return next(iter(self.versions()), None)

    def version(self, number: int) -> Version:
        """The version with that number. Raises DataError if there is none."""
        found = {version.number: version for version in self.versions()}
        if number not in found:
            allowed = ", ".join(map(str, sorted(found))) or "none yet"
            raise DataError(f"no version {number} of the tables in {self.folder}; there are {allowed}")
        return found[number]

    def commit(self, staging: Path, found: Fingerprint, counts: Counts, source: SourcePart | None = None) -> Version:
        """Commits the Parquet files that ingest() wrote into `staging` as the newest version.

        source: the part that is from the source, if the data set learns from feedback.
        """
        others = {name: self._add(name, staging, {}) for name in TABLES if name != LOG}
        files = [asdict(file) for file in found.files]
        metadata = {
            "data_version": found.version,
            "counts": asdict(counts),
            "tables": others,
            "files": files,
            **_made_at(),
        }
        return self.version(self._add(LOG, staging, metadata | _source_metadata(source)))

    def restore(self, number: int) -> Version:
        """Makes an earlier version the newest until release(); nothing is deleted.

        Raises DataError if there is no such version, or if it is already the newest.
        """
        if (current := self.current()) is not None and current.number == number:
            raise DataError(f"version {number} is the newest already; choose an earlier one of {self.folder}")
        return self._restore(self.version(number), restored_from=number)

    def release(self) -> None:
        """Ends a restore(): the next ingest of the source may make a new version again."""
        current = self.current()
        if current is not None and current.restored_from is not None:
            self._restore(self.version(current.restored_from), restored_from=None)

    def _restore(self, wanted: Version, restored_from: int | None) -> Version:
        metadata = {
            "data_version": wanted.data_version,
            "counts": asdict(wanted.counts),
            "tables": {name: number for name, number in wanted.tables.items() if name != LOG},
            "files": [asdict(file) for file in wanted.files],
            "restored_from": restored_from,
            **_made_at(),
            **_source_metadata(wanted.source),
        }
        self._delta(LOG).restore(
            wanted.number, commit_properties=_properties(metadata), post_commithook_properties=KEEP_LOGS
        )
        return self.version(self._delta(LOG).version())

    def prune(self, numbers: Collection[int]) -> None:
        """Deletes versions, and the files that no other version has. The newest one must not be among them.

        They are listed until all files are deleted, so a killed call is completed by another one with these numbers.
        """
        kept = [version for version in self.versions() if version.number not in numbers]
        for name in TABLES:
            self._delta(name).vacuum(
                VACUUM_HOURS,
                dry_run=False,
                enforce_retention_duration=False,
                post_commithook_properties=KEEP_LOGS,
                full=True,  # Delta forgets the names of files that were replaced more than a week before a checkpoint
                keep_versions=sorted({version.tables[name] for version in kept}),
            )
        with atomic_file(self.folder / PRUNED, durable=True) as staging:
            staging.write_text(json.dumps(sorted(self._pruned() | set(numbers))))

    def _pruned(self) -> set[int]:
        path = self.folder / PRUNED
        return set(json.loads(path.read_text())) if path.is_file() else set()

    def files(self, name: str, version: Version | None = None) -> list[Path]:
        """The Parquet files of a table. Raises DataError if there is no version yet."""
        wanted = version or self.current()
        if wanted is None:
            raise DataError(f"there are no tables in {self.folder} yet; materialise them first")
        return [
            Path(unquote(uri.removeprefix("file://"))) for uri in self._delta(name, wanted.tables[name]).file_uris()
        ]

    def all_files(self, version: Version) -> list[Path]:
        """The Parquet files of all tables of a version. Other versions may have some of them, too."""
        return [file for name in TABLES for file in self.files(name, version)]

    def read(self, name: str, version: Version | None = None) -> pa.Table:
        """A table in memory, conforming to its schema; the log is in time order."""
        table = schema.conform(pq.read_table(self.files(name, version)), TABLES[name], name)
        return in_time_order(table) if name == LOG else table

    def _delta(self, name: str, version: int | None = None) -> DeltaTable:
        return DeltaTable(self.folder / name, version=version)

    def _add(self, name: str, staging: Path, metadata: dict[str, Any]) -> int:
        """Moves a staged file into the table and commits it as the whole table; returns the Delta version."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"part-{uuid.uuid4().hex}.parquet"
        (staging / f"{name}.parquet").rename(path)
        stats = json.dumps({"numRecords": pq.read_metadata(path).num_rows})
        action = AddAction(path.name, path.stat().st_size, {}, int(time.time() * 1000), True, stats)
        columns, properties = Schema.from_arrow(TABLES[name]), _properties(metadata)
        try:
            self._delta(name).create_write_transaction(
                [action],
                mode="overwrite",
                schema=columns,
                commit_properties=properties,
                post_commithook_properties=KEEP_LOGS,
            )
        except TableNotFoundError:
            create_table_with_add_actions(
                str(folder),
                columns,
                [action],
                configuration={"delta.enableExpiredLogCleanup": "false"},
                commit_properties=properties,
                post_commithook_properties=KEEP_LOGS,
            )
        except DeltaError as error:
            first = str(error).splitlines()[0]
            raise DataError(f"{folder} is not a usable Delta table: {first}; move it away, ingest again") from error
        return self._delta(name).version()


def in_time_order(interactions: pa.Table) -> pa.Table:
    """The log sorted by time, user and item, then the other columns, so that equal logs are equal tables."""
    first = ["timestamp", "user_id", "item_id"]
    order = [*first, *(name for name in schema.INTERACTIONS.names if name not in first)]
    return interactions.sort_by([(name, "ascending") for name in order])


def _properties(metadata: dict[str, Any]) -> CommitProperties:
    return CommitProperties(custom_metadata={METADATA_KEY: json.dumps(metadata)} if metadata else None)


def _made_at() -> dict[str, str]:
    return {"made_at": clock.now().isoformat()}


def _source_metadata(source: SourcePart | None) -> dict[str, Any]:
    return {"source": asdict(source)} if source else {}


def _to_version(entry: dict[str, Any]) -> Version:
    metadata = json.loads(entry[METADATA_KEY])
    number = int(entry["version"])
    source = metadata.get("source")
    return Version(
        number,
        _created(entry, metadata),
        metadata["data_version"],
        Counts(**metadata["counts"]),
        {LOG: number, **metadata["tables"]},
        tuple(SourceFile(**file) for file in metadata["files"]),
        metadata.get("restored_from"),
        source and SourcePart(**{**source, "position": source["position"] and Position(*source["position"])}),
    )


def _created(entry: dict[str, Any], metadata: dict[str, Any]) -> datetime:
    """When a version was made; for those of earlier releases, when it was written."""
    stored = metadata.get("made_at")
    return datetime.fromisoformat(stored) if stored else datetime.fromtimestamp(entry["timestamp"] / 1000, UTC)
