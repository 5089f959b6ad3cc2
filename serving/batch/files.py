"""Files of lists: one row for each user and item, written in groups of rows, and replaced in one step."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from recommenders.storage.atomic_files import atomic_file, sha256
from serving.batch.options import COLUMNS, Format
from serving.steering.catalogue.attributes import Kind
from serving.steering.catalogue.tables import TYPES
from serving.web.predict_request import as_text

GROUP = 2**16  # rows in memory at once: a row group of Parquet
METADATA = b"tradewind"  # key of the file's metadata in Parquet


def schema_of(fields: Mapping[str, Kind], rules: pa.DataType) -> pa.Schema:
    """The columns of a file of lists. fields: attributes of items with their kinds."""
    columns = {
        "user_id": pa.string(),
        "rank": pa.int32(),
        "item_id": pa.string(),
        "score": pa.float64(),
        "strategy": pa.string(),
        "rules": rules,
    }
    return pa.schema({**columns, **{name: TYPES[kind] for name, kind in fields.items()}})


class Rows:
    """The rows of lists on their way to a file."""

    def __init__(self, schema: pa.Schema, write: Callable[[pa.RecordBatch], object]) -> None:
        self._schema, self._write = schema, write
        self._columns: dict[str, list[Any]] = {name: [] for name in schema.names}
        self._fields = schema.names[len(COLUMNS) :]
        self._joined = pa.types.is_string(schema.field("rules").type)

    def add(self, user_id: str, strategy: str, items: Sequence[Mapping[str, Any]]) -> None:
        """Adds the rows of a list. items: as they are answered."""
        columns, n_items = self._columns, len(items)
        columns["user_id"] += [user_id] * n_items
        columns["strategy"] += [strategy] * n_items
        columns["item_id"] += [as_text(item["item_id"]) for item in items]
        for name in ("rank", "score"):
            columns[name] += [item[name] for item in items]
        rules = [item.get("rules", []) for item in items]
        columns["rules"] += [" ".join(names) or None for names in rules] if self._joined else rules
        for name in self._fields:
            columns[name] += [item["fields"][name] for item in items]
        if len(columns["user_id"]) >= GROUP:
            self.flush()

    def flush(self) -> None:
        """Writes the rows that are in memory."""
        if self._columns["user_id"]:
            self._write(pa.RecordBatch.from_pydict(self._columns, self._schema))
            self._columns = {name: [] for name in self._schema.names}


@contextmanager
def parquet_file(output: Path, fields: Mapping[str, Kind], made_from: Mapping[str, Any]) -> Iterator[Rows]:
    """A Parquet file of lists, which replaces `output` when the block ends, but not if the block raises."""
    schema = schema_of(fields, pa.list_(pa.string())).with_metadata({METADATA: json.dumps(made_from)})
    with atomic_file(output) as staging, pq.ParquetWriter(staging, schema) as writer:
        rows = Rows(schema, writer.write_batch)
        yield rows
        rows.flush()


@contextmanager
def csv_file(output: Path, fields: Mapping[str, Kind], made_from: Mapping[str, Any]) -> Iterator[Rows]:
    """The same as CSV. What the lists were made from is in a second file beside it, with the hash of the first."""
    schema = schema_of(fields, pa.string())
    with atomic_file(output) as staging:
        with pa_csv.CSVWriter(staging, schema) as writer:
            rows = Rows(schema, writer.write_batch)
            yield rows
            rows.flush()
        with atomic_file(note_file(output)) as note:
            note.write_text(json.dumps({**made_from, "sha256": sha256(staging)}))


def note_file(output: Path) -> Path:
    """The file beside a CSV file of lists that says what they were made from."""
    return output.with_name(f"{output.name}.json")


WRITERS: dict[Format, Callable[..., AbstractContextManager[Rows]]] = {"parquet": parquet_file, "csv": csv_file}
