"""The project's tables as DuckDB views of Parquet files."""

from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from recommenders.datasets.reading.lines import path_literal
from recommenders.errors import DataError
from recommenders.storage import schema

SQL_TYPES = {
    pa.string(): "varchar",
    pa.int64(): "bigint",
    pa.float32(): "float",
    pa.float64(): "double",
    schema.TIME: "timestamptz",
}


def show(connection: duckdb.DuckDBPyConnection, name: str, files: Sequence[Path], wanted: pa.Schema) -> None:
    """Creates the view `name` of Parquet files, with exactly the schema's columns; the rows are not read.

    Missing columns are null where the schema allows nulls, because files omit what a source does not provide. Raises
    DataError if a required column is missing, or if there are no files.
    """
    if not files:
        raise DataError(f"{name}: no Parquet files are given; pass at least one file")
    source = f"read_parquet([{', '.join(path_literal(path) for path in files)}], union_by_name = true)"
    got = [row[0] for row in connection.execute(f"describe from {source}").fetchall()]
    lacking = [f.name for f in wanted if f.name not in got and not f.nullable]
    if lacking:
        raise DataError(f"{name}: column {lacking[0]!r} is missing; got {', '.join(got)}")
    columns = [f"{f.name if f.name in got else 'null'}::{SQL_TYPES[f.type]} as {f.name}" for f in wanted]
    connection.execute(f"create or replace temp view {name} as select {', '.join(columns)} from {source}")
