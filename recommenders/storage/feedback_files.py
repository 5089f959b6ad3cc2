"""Feedback events on disk, as they were read from the feedback store: immutable Parquet files of one data set.

    FOLDER/events-1-250.parquet      the events with the sequences 1 to 250
    FOLDER/events-251-260.parquet
    FOLDER/erased.json               the users who were erased since: their events in the files count no more

The files alone say how far the store was read. So a crash loses no event and reads none twice.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from recommenders.errors import DataError
from recommenders.storage import schema
from recommenders.storage.atomic_files import atomic_file
from recommenders.storage.feedback_position import Position

ERASED = "erased.json"
NAME = re.compile(r"events-(\d+)-(\d+)\.parquet")

COLUMNS = pa.schema(
    [
        pa.field("sequence", pa.int64(), nullable=False),
        pa.field("event_id", pa.string(), nullable=False),
        pa.field("event", pa.string(), nullable=False),
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("timestamp", schema.TIME, nullable=False),
        pa.field("request_id", pa.string()),
        pa.field("order_id", pa.string()),
        pa.field("quantity", pa.float64()),
        pa.field("unit_price", pa.float64()),
        pa.field("rating", pa.float64()),
    ]
)


class FeedbackFiles:
    """The files below a folder, which need not exist."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def paths(self) -> list[Path]:
        """The files by sequence. Raises DataError if two of them overlap."""
        ranges = sorted(
            (int(found[1]), int(found[2]), path)
            for path in self.folder.glob("events-*.parquet")
            if (found := NAME.fullmatch(path.name))
        )
        for (_, last, before), (first, _, path) in pairwise(ranges):
            if first <= last:
                raise DataError(
                    f"{path} and {before.name} have the same events; allowed: each event in one file; move one away"
                )
        return [path for _, _, path in ranges]

    def position(self) -> Position | None:
        """The last event of the files; None if there are none."""
        paths = self.paths()
        if not paths:
            return None
        last = _read(paths[-1], ["sequence", "event_id"]).to_pylist()[-1]
        return Position(last["sequence"], last["event_id"])

    def erased(self) -> dict[str, int]:
        """Hash of each erased user's id -> sequence up to which the user's events do not count. Raises DataError."""
        path = self.folder / ERASED
        try:
            return {str(user_hash): int(last) for user_hash, last in json.loads(path.read_text()).items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise DataError(f"{path} does not name erased users: {error}; restore it from a backup") from error

    def forget(self, erased: Mapping[str, int]) -> None:
        """Adds users to those who were erased, as erased() returns them. No user is ever removed. Raises DataError."""
        known = self.erased()
        both = known | {user_hash: max(last, known.get(user_hash, 0)) for user_hash, last in erased.items()}
        if both != known:
            with atomic_file(self.folder / ERASED, durable=True) as staging:
                staging.write_text(json.dumps(both, indent=2))

    def append(self, events: pa.Table) -> Path:
        """Writes events, in the order of their sequence, as a new file in one step. Raises DataError.

        Their sequences must be above that of position().
        """
        first, last = events["sequence"][0].as_py(), events["sequence"][-1].as_py()
        known = self.position()
        if known is not None and first <= known.sequence:
            raise DataError(f"{self.folder}: got event {first}; allowed: after {known.sequence}; read from there on")
        path = self.folder / f"events-{first}-{last}.parquet"
        with atomic_file(path, durable=True) as staging:
            pq.write_table(events.cast(COLUMNS), staging)
        return path

    def pages(self, columns: Sequence[str] = COLUMNS.names) -> Iterator[pa.Table]:
        """The events by sequence, file by file, with all columns or some. Raises DataError."""
        for path in self.paths():
            yield _read(path, columns)

    def read(self, columns: Sequence[str] = COLUMNS.names) -> pa.Table:
        """All events in memory, by sequence, with all columns or some. Raises DataError."""
        return pa.concat_tables([_schema(columns).empty_table(), *self.pages(columns)])


def _schema(columns: Sequence[str]) -> pa.Schema:
    return pa.schema([COLUMNS.field(name) for name in columns])


def _read(path: Path, columns: Sequence[str]) -> pa.Table:
    try:
        return pq.read_table(path, columns=list(columns), partitioning=None).cast(_schema(columns))
    except (pa.ArrowException, OSError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise DataError(
            f"{path} is not a file of feedback events: {first}; move it and all later ones away, so that their "
            "events are read again"
        ) from error
