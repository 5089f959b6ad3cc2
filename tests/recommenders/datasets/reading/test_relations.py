"""Views of Parquet files in a schema."""

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recommenders.datasets.reading.relations import show
from recommenders.errors import DataError
from recommenders.storage import schema


def test_a_view_has_the_columns_of_the_schema_and_the_rows_of_all_files(tmp_path: Path) -> None:
    folder = tmp_path / "it's"
    folder.mkdir()
    pq.write_table(pa.table({"user_id": ["u1"], "other": [1]}), folder / "first.parquet")
    pq.write_table(pa.table({"segment": ["cafe"], "user_id": ["u2"]}), folder / "second.parquet")
    with duckdb.connect() as connection:
        show(connection, "users", [folder / "first.parquet", folder / "second.parquet"], schema.USERS)
        found = connection.execute("from users order by user_id").to_arrow_table()
    assert found.column_names == schema.USERS.names
    assert found.select(["user_id", "segment"]).to_pydict() == {"user_id": ["u1", "u2"], "segment": [None, "cafe"]}


def test_errors_name_what_is_missing(tmp_path: Path) -> None:
    pq.write_table(pa.table({"segment": ["cafe"]}), tmp_path / "users.parquet")
    with duckdb.connect() as connection:
        with pytest.raises(DataError, match="users: column 'user_id' is missing; got segment"):
            show(connection, "users", [tmp_path / "users.parquet"], schema.USERS)
        with pytest.raises(DataError, match="users: no Parquet files are given; pass at least one file"):
            show(connection, "users", [], schema.USERS)
