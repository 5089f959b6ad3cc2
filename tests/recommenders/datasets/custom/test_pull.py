"""Pulls of remote data: the same rows give the same bytes, no partial results, no password in messages."""

import gzip
import os
import socket
import sqlite3
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from recommenders.datasets.custom.entry import Entry
from recommenders.datasets.custom.pull import pull
from recommenders.datasets.custom.pull_sql import pull_queries
from recommenders.datasets.custom.spec import read_specs
from recommenders.errors import ConfigurationError, DataError

COLUMNS = {"user_id": "who", "item_id": "what", "timestamp": "at", "unit_price": "price"}
ROWS = [(n % 7, f"item {n % 11}", f"2024-01-{1 + n % 28:02} 12:00:00", n / 8) for n in range(3_000)]
TABLE = 'create table log (who integer, what text, "at" timestamp, price double precision)'
QUERY = "select * from log where what like 'item%';"


def entry(url: str, query: str = QUERY) -> Entry:
    log = {"query": query, "columns": COLUMNS}
    return Entry.model_validate({"title": "Ours", "sql": {"url": url}, "interactions": log})


def objects(url: str | list[str]) -> Entry:
    return Entry.model_validate({"title": "Ours", "interactions": {"files": url, "columns": COLUMNS}})


def rows(folder: Path, table: str = "interactions") -> list[dict[str, Any]]:
    return pq.read_table(folder / table / f"{table}.parquet").to_pylist()


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def write_sqlite(path: Path, log: list[tuple[Any, ...]]) -> None:
    path.unlink(missing_ok=True)
    database = sqlite3.connect(path)
    with database:
        database.execute(TABLE)
        database.executemany("insert into log values (?, ?, ?, ?)", log)
    database.close()


def write_duckdb(path: Path, log: list[tuple[Any, ...]]) -> None:
    path.unlink(missing_ok=True)
    with duckdb.connect(path) as database:
        database.execute(TABLE)
        database.executemany("insert into log values (?, ?, ?, ?)", log[:200])


@pytest.mark.parametrize("kind", ["sqlite", "duckdb"])
def test_the_same_rows_in_another_order_are_the_same_bytes(kind: str, tmp_path: Path) -> None:
    write = {"sqlite": write_sqlite, "duckdb": write_duckdb}[kind]
    log = ROWS if kind == "sqlite" else ROWS[:200]
    write(tmp_path / "shop.db", log)
    ours = entry(f"{kind}:///shop.db")
    pull("ours", ours, tmp_path, tmp_path / "first")
    write(tmp_path / "shop.db", log[::-1])
    pull("ours", ours, tmp_path, tmp_path / "second")
    assert contents(tmp_path / "first") == contents(tmp_path / "second")
    assert len(rows(tmp_path / "first")) == len(log)
    assert set(contents(tmp_path / "first")) == {"pulled.json", "interactions/interactions.parquet"}
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_an_unchanged_pull_is_not_replaced(tmp_path: Path) -> None:
    write_sqlite(tmp_path / "shop.db", ROWS)
    ours, folder = entry("sqlite:///shop.db"), tmp_path / "pulled"
    pull("ours", ours, tmp_path, folder)
    before = (folder / "interactions" / "interactions.parquet").stat()
    pull("ours", ours, tmp_path, folder)
    after = (folder / "interactions" / "interactions.parquet").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    write_sqlite(tmp_path / "shop.db", ROWS[1:])
    pull("ours", ours, tmp_path, folder)
    assert len(rows(folder)) == len(ROWS) - 1


def test_a_database_is_read_as_a_source_like_any_other(tmp_path: Path) -> None:
    write_sqlite(tmp_path / "shop.db", [*ROWS[:3], (None, "item 1", "2024-01-01", 1), (1, "item 1", "never", 1)])
    (tmp_path / "datasets.yaml").write_text(
        "ours:\n  title: Ours\n  sql: {url: 'sqlite:///shop.db'}\n  interactions:\n"
        "    query: select * from log\n    columns: {user_id: who, item_id: what, timestamp: at, unit_price: price}\n"
    )
    spec = read_specs(tmp_path / "datasets.yaml")["ours"]
    spec.make(tmp_path / "pulled", 1.0, 0)
    tables = spec.read(tmp_path / "pulled")
    assert (tables.counts.read, tables.counts.kept, tables.counts.quarantined) == (5, 3, 2)
    reported = [(row["file"], row["reason"]) for row in tables.quarantine.to_pylist()]
    assert sorted(reported) == [
        ("interactions.parquet", "at is not a time like 2024-05-31 14:05:00"),
        ("interactions.parquet", "who is empty"),
    ]
    assert '"what":"item 1"' in str(tables.quarantine["raw"][0])
    with pytest.raises(DataError, match="is empty; the files are pulled when a run starts"):
        spec.locate(tmp_path / "elsewhere")


def test_a_failed_pull_keeps_the_old_folder(tmp_path: Path) -> None:
    write_sqlite(tmp_path / "shop.db", ROWS)
    folder = tmp_path / "pulled"
    pull("ours", entry("sqlite:///shop.db"), tmp_path, folder)
    before = contents(folder)
    with pytest.raises(DataError, match=r"ours: interactions\.query: database error: no such table: lgo; fix it"):
        pull("ours", entry("sqlite:///shop.db", "select * from lgo"), tmp_path, folder)
    assert contents(folder) == before
    assert {path.name for path in tmp_path.iterdir()} == {"shop.db", "pulled"}


def test_a_folder_of_another_origin_is_not_replaced(tmp_path: Path) -> None:
    write_sqlite(tmp_path / "shop.db", ROWS)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious").write_text("x")
    with pytest.raises(DataError, match="was not made by this project"):
        pull("ours", entry("sqlite:///shop.db"), tmp_path, tmp_path / "mine")
    assert contents(tmp_path / "mine") == {"precious": b"x"}


def test_a_database_file_is_only_read(tmp_path: Path) -> None:
    for kind in ("sqlite", "duckdb"):
        with pytest.raises(DataError, match=r"sql\.url: no such file: .*none\.db; paths are relative to the YAML file"):
            pull("ours", entry(f"{kind}:///none.db"), tmp_path, tmp_path / "pulled")
    assert not list(tmp_path.iterdir())
    write_sqlite(tmp_path / "shop.db", ROWS)
    with pytest.raises(DataError, match="readonly database"):
        pull("ours", entry("sqlite:///shop.db", "delete from log returning *"), tmp_path, tmp_path / "pulled")
    write_duckdb(tmp_path / "shop.duckdb", ROWS)
    with pytest.raises(DataError, match=r"interactions\.query: DuckDB error: Catalog Error: Table with name lgo"):
        pull("ours", entry("duckdb:///shop.duckdb", "select * from lgo"), tmp_path, tmp_path / "pulled")
    (tmp_path / "shop.duckdb").write_bytes(b"no database" * 1000)
    with pytest.raises(DataError, match=r"sql\.url: DuckDB error: "):
        pull("ours", entry("duckdb:///shop.duckdb"), tmp_path, tmp_path / "pulled")


def test_values_are_written_as_text(tmp_path: Path) -> None:
    query = "select 1 as a, 1.5 as b, null as c, 'x' as d, x'6869' as e, 12345678901234 as f"
    write_sqlite(tmp_path / "shop.db", [])
    pull("ours", entry("sqlite:///shop.db", query), tmp_path, tmp_path / "pulled")
    assert rows(tmp_path / "pulled") == [{"a": "1", "b": "1.5", "c": None, "d": "x", "e": "hi", "f": "12345678901234"}]


@pytest.mark.parametrize(
    ("url", "reported"),
    [
        ("mysql://reader:hush@127.0.0.1/shop", r"mysql needs a driver: .*pymysql.*; pip install -e '\.\[mysql\]'"),
        ("mariadb://reader:hush@127.0.0.1/shop", r"mariadb needs a driver: .*pymysql.*; pip install -e '\.\[mysql\]'"),
        ("postgresql+nodriver://reader:hush@127.0.0.1/shop", r"postgresql needs a driver: .*; pip .*\[postgres\]"),
        ("${CUSTOM_URL}", r"\$\{CUSTOM_URL\} is not set; export CUSTOM_URL=\.\.\. and run the command again"),
        ("postgresql://reader:${CUSTOM_PASSWORD}@127.0.0.1/shop", r"\$\{CUSTOM_PASSWORD\} is not set"),
    ],
)
def test_a_missing_driver_or_variable_is_an_error_with_the_fix(
    url: str, reported: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pymysql", None)  # as if it were not installed
    with pytest.raises(ConfigurationError, match=reported) as caught:
        pull("ours", entry(url), tmp_path, tmp_path / "pulled")
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "reported"), [("no url", "sql.url is not a URL"), ("oracle://x:hush@y/z", "got oracle://; allowed: sqlite")]
)
def test_a_url_from_the_environment_is_checked_too(
    url: str, reported: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUSTOM_URL", url)
    with pytest.raises(ConfigurationError, match=reported) as caught:
        pull("ours", entry("${CUSTOM_URL}"), tmp_path, tmp_path / "pulled")
    assert "hush" not in str(caught.value)


# -- object stores


def test_objects_are_copied_byte_for_byte_under_their_names(tmp_path: Path) -> None:
    store = tmp_path / "bucket"
    for day in ("2024-01", "2024-02", "2025-01"):
        (store / day).mkdir(parents=True)
        text = f"who,what,at,price\n1,a,{day}-05,2\n"
        (store / day / "log.csv.gz").write_bytes(gzip.compress(text.encode()))
        (store / day / "notes.txt").write_text("not asked for")
    folder = tmp_path / "pulled"
    pull("ours", objects(f"file://{store}/2024-*/*.csv.gz"), tmp_path, folder)
    assert set(contents(folder)) == {
        *("pulled.json", "interactions/2024-01/log.csv.gz", "interactions/2024-02/log.csv.gz"),
    }
    assert contents(folder / "interactions")["2024-01/log.csv.gz"] == (store / "2024-01" / "log.csv.gz").read_bytes()
    pull("ours", objects(f"file://{store}/2025-01/log.csv.gz"), tmp_path, folder)
    assert set(contents(folder)) == {"pulled.json", "interactions/log.csv.gz"}


def test_an_object_of_the_same_size_and_time_is_not_copied_again(tmp_path: Path) -> None:
    store, folder = tmp_path / "bucket", tmp_path / "pulled"
    store.mkdir()
    for name in ("a.csv", "b.csv", "new.csv"):
        (store / name).write_text("old")
        os.utime(store / name, None if name == "new.csv" else (1_700_000_000, 1_700_000_000))
    pull("ours", objects(f"file://{store}/*.csv"), tmp_path, folder)
    kept = (store / "new.csv").stat().st_mtime_ns
    for name in ("a.csv", "b.csv", "new.csv"):
        (store / name).write_text("NEW")
    os.utime(store / "a.csv", (1_700_000_000, 1_700_000_000))
    os.utime(store / "new.csv", ns=(kept, kept))  # too new to be trusted
    pull("ours", objects(f"file://{store}/*.csv"), tmp_path, folder)
    assert [(folder / "interactions" / name).read_text() for name in ("a.csv", "b.csv", "new.csv")] == [
        *("old", "NEW", "NEW"),
    ]


def test_two_objects_of_one_name_are_an_error(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "log.csv").write_text(folder)
    urls = [f"file://{tmp_path}/{folder}/log.csv" for folder in ("a", "b")]
    with pytest.raises(
        DataError, match=r"interactions\.files: two objects have the name log\.csv; use one URL with \*"
    ):
        pull("ours", objects(urls), tmp_path, tmp_path / "pulled")


@pytest.mark.parametrize("name", ["none.csv", "none-*.csv", "no/where/*.csv", "."])
def test_a_url_that_matches_nothing_is_an_error(name: str, tmp_path: Path) -> None:
    (tmp_path / "bucket").mkdir()
    with pytest.raises(DataError, match=r"ours: interactions\.files: file:///.*; fix the URL"):
        pull("ours", objects(f"file://{tmp_path}/bucket/{name}"), tmp_path, tmp_path / "pulled")
    assert not (tmp_path / "pulled").exists()


@pytest.mark.slow
def test_a_store_that_does_not_answer_is_an_error_without_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:  # bound, not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("CUSTOM_KEY", "hush-hush")
        for name, value in {"AWS_EC2_METADATA_DISABLED": "true", "AWS_MAX_ATTEMPTS": "1"}.items():
            monkeypatch.setenv(name, value)
        url = f"s3://me:${{CUSTOM_KEY}}@bucket/log.csv?endpoint_override={host}&scheme=http&region=eu-central-1"
        with pytest.raises(DataError, match=r"cannot be read: .*; fix the URL or the access") as caught:
            pull("ours", objects(url), tmp_path, tmp_path / "pulled")
    assert "hush" not in str(caught.value)


# -- PostgreSQL


@pytest.mark.slow
def test_postgresql_is_read_in_batches_and_never_written(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psycopg2

    monkeypatch.setenv("CUSTOM_PASSWORD", "p@ss/w:rd")
    port = int(postgres.rsplit(":", 1)[1].split("/")[0])
    with psycopg2.connect(host="127.0.0.1", port=port, user="reader", password="p@ss/w:rd", dbname="postgres") as made:
        made.cursor().execute("create table log (who int, what text, at timestamptz, price numeric(9, 2))")
        made.cursor().execute(
            "insert into log select n % 7, 'item ' || n % 11, timestamptz '2024-03-31 12:00+02' + n * interval '1 min',"
            " n / 8.0 from generate_series(1, 50000) n"
        )
    made.close()
    pull("ours", entry(postgres), tmp_path, tmp_path / "first")
    with psycopg2.connect(host="127.0.0.1", port=port, user="reader", password="p@ss/w:rd", dbname="postgres") as made:
        made.cursor().execute("update log set who = who where who > 3")  # moves rows, changes none
        made.cursor().execute("alter role reader set timezone = 'Asia/Tokyo'")
    made.close()
    pull("ours", entry(postgres), tmp_path, tmp_path / "second")
    found = rows(tmp_path / "first")
    assert contents(tmp_path / "first") == contents(tmp_path / "second")
    assert len(found) == 50_000
    assert sum(Decimal(row["price"]) for row in found) == sum(
        round(Decimal(n) / 8 + Decimal("1e-9"), 2) for n in range(1, 50_001)
    )
    assert min(row["at"] for row in found) == "2024-03-31 10:01:00+00:00"
    with pytest.raises(DataError, match=r"interactions\.query: database error: .*"):
        pull("ours", entry(postgres, "delete from log returning *"), tmp_path, tmp_path / "third")
    monkeypatch.setenv("CUSTOM_PASSWORD", "wr@ng/w:rd")
    with pytest.raises(DataError, match=r"sql\.url: database error: .*password authentication failed") as caught:
        pull("ours", entry(postgres), tmp_path, tmp_path / "third")
    assert "wr@ng" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_repeated_column_of_a_query_is_an_error(tmp_path: Path) -> None:
    write_sqlite(tmp_path / "shop.db", ROWS)
    with pytest.raises(DataError, match=r"interactions\.query returns who twice; name each column with AS"):
        pull_queries("ours", "sqlite:///shop.db", {"interactions": "select who, who from log"}, tmp_path, tmp_path)
