"""Copies rows of a database to Parquet files: in batches by SQLAlchemy, or by DuckDB if it is a DuckDB file.

Values are written as text and rows are sorted, so the same rows give the same bytes in whatever order they are read.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import URL, Connection, create_engine, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from recommenders.datasets.custom.entry import DATABASES
from recommenders.datasets.custom.secrets import Secrets
from recommenders.datasets.reading.lines import text_literal
from recommenders.errors import ConfigurationError, DataError

BATCH = 20_000  # rows in memory at once
CONNECT_TIMEOUT = 10  # seconds
MEMORY = "1GB"  # memory limit of the sort; beyond it, it writes to disk
DRIVERS = {"postgresql": "psycopg2", "mysql": "pymysql", "mariadb": "pymysql"}
EXTRAS = {"postgresql": "postgres", "mysql": "mysql", "mariadb": "mysql"}


def pull_queries(dataset: str, url: str, queries: Mapping[str, str], base: Path, staging: Path) -> None:
    """Writes the rows of each query as staging/NAME/NAME.parquet, from one snapshot if the database supports it.

    base: the folder that a relative path of a database file starts from. Raises ConfigurationError or DataError in one
    line.
    """
    secrets = Secrets(dataset)
    target = _target(dataset, url, base, secrets)
    for name in queries:
        (staging / name).mkdir(parents=True, exist_ok=True)
    files = {name: staging / name / f"{name}.parquet" for name in queries}
    if target.get_backend_name() == "duckdb":
        _pull_duckdb(dataset, Path(target.database or ""), queries, files)
        return
    with _connected(dataset, target, secrets) as connection:
        for name, query in queries.items():
            whole = files[name].with_suffix(".raw")
            with _database_errors(dataset, f"{name}.query", secrets):
                _stream(connection, _without_semicolon(query), whole, f"{dataset}: {name}.query")
            with duckdb.connect() as engine:
                _sorted_copy(engine, f"from read_parquet({text_literal(str(whole))})", files[name])
            whole.unlink()


def _target(dataset: str, text: str, base: Path, secrets: Secrets) -> URL:
    """The URL to connect to; its parts are filled separately, so a password may have any character."""
    try:
        url = make_url(secrets.fill(text) if text.startswith("${") else text)
    except ArgumentError:
        raise ConfigurationError(
            f"{dataset}: sql.url is not a URL; allowed: such as sqlite:///shop.db; fix it"
        ) from None
    backend = url.get_backend_name()
    if backend not in DATABASES:
        raise ConfigurationError(f"{dataset}: sql.url: got {backend}://; allowed: {', '.join(DATABASES)}; fix it")
    url = url.set(
        username=secrets.fill(url.username or "") or None,
        password=secrets.fill(url.password or "") or None,
        host=secrets.fill(url.host or "") or None,
        database=secrets.fill(url.database or "") or None,
    )
    secrets.hide(url.password)
    if backend in ("sqlite", "duckdb"):
        return _file_url(dataset, url, base)
    return url if "+" in url.drivername else url.set(drivername=f"{backend}+{DRIVERS[backend]}")


def _file_url(dataset: str, url: URL, base: Path) -> URL:
    path = base / Path(url.database or "").expanduser()
    if not path.is_file():
        raise DataError(f"{dataset}: sql.url: no such file: {path}; paths are relative to the YAML file")
    if url.get_backend_name() == "duckdb":
        return url.set(database=str(path))
    # By default SQLite creates a missing file and waits for a write lock; a URI can set read-only mode.
    return url.set(database=f"file:{quote(str(path))}", query={"mode": "ro", "uri": "true"})


@contextmanager
def _connected(dataset: str, url: URL, secrets: Secrets) -> Iterator[Connection]:
    """A read-only connection; on PostgreSQL and MySQL all queries see one snapshot."""
    backend = url.get_backend_name()
    remote = backend != "sqlite"
    options: dict[str, Any] = {"yield_per": BATCH, "no_parameters": True}
    options |= {"isolation_level": "REPEATABLE READ"} if remote else {}
    options |= {"postgresql_readonly": True} if backend == "postgresql" else {}
    try:
        engine = create_engine(
            url,
            poolclass=NullPool,
            connect_args={"connect_timeout": CONNECT_TIMEOUT} if remote else {"timeout": CONNECT_TIMEOUT},
        )
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        extra = EXTRAS.get(backend)
        fix = f"pip install -e '.[{extra}]'" if extra else "install its driver"
        raise ConfigurationError(f"{dataset}: {backend} needs a driver: {secrets.scrub(error)}; {fix}") from None
    with _database_errors(dataset, "sql.url", secrets):
        connection = engine.connect().execution_options(**options)
    try:
        yield connection
    finally:
        connection.close()
        engine.dispose()


@contextmanager
def _database_errors(dataset: str, place: str, secrets: Secrets) -> Iterator[None]:
    """Turns a database error into a DataError of one line; drops the cause, which may contain the password."""
    try:
        yield
    except SQLAlchemyError as error:
        reason = secrets.scrub(getattr(error, "orig", None) or error)
        raise DataError(
            f"{dataset}: {place}: database error: {reason}; fix it, or check that the database runs"
        ) from None


def _without_semicolon(query: str) -> str:
    return query.strip().rstrip(";")


def _stream(connection: Connection, query: str, path: Path, place: str) -> None:
    result = connection.exec_driver_sql(query)
    if not result.returns_rows:
        raise ConfigurationError(f"{place} returns no rows; allowed: a select; fix it")
    names = list(result.keys())
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise DataError(f"{place} returns {', '.join(twice)} twice; name each column with AS")
    columns = pa.schema([(name, pa.string()) for name in names])
    with pq.ParquetWriter(path, columns) as writer:
        for rows in result.partitions(BATCH):
            values = [pa.array(map(_as_text, column), pa.string()) for column in zip(*rows, strict=True)]
            writer.write_batch(pa.record_batch(values, schema=columns))


def _as_text(value: Any) -> str | None:
    """A value as text, as in a text file; times with a zone are converted to UTC."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return (value.astimezone(UTC) if value.tzinfo else value).isoformat(" ")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, bytes | memoryview):
        return bytes(value).decode("utf-8", errors="backslashreplace")
    return json.dumps(value, sort_keys=True, default=str) if isinstance(value, dict | list) else str(value)


def _sorted_copy(engine: duckdb.DuckDBPyConnection, source: str, path: Path) -> None:
    """Writes all rows of a source as text, sorted by all columns; with one thread, so that row groups are the same."""
    spill = path.with_suffix(".spill")
    settings: Sequence[tuple[str, str]] = (
        *(("TimeZone", "UTC"), ("threads", "1"), ("memory_limit", MEMORY), ("temp_directory", str(spill))),
        ("autoinstall_known_extensions", "false"),
    )
    for setting, value in settings:
        engine.execute(f"set {setting} = {text_literal(value)}")
    rows = f"select columns(*)::varchar {source} order by all"
    engine.execute(f"copy ({rows}) to {text_literal(str(path))} (format parquet)")


def _pull_duckdb(dataset: str, database: Path, queries: Mapping[str, str], files: Mapping[str, Path]) -> None:
    place = "sql.url"
    try:
        with duckdb.connect(database, read_only=True) as engine:
            for name, query in queries.items():
                place = f"{name}.query"
                _sorted_copy(engine, f"from (\n{_without_semicolon(query)}\n)", files[name])
    except duckdb.Error as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{dataset}: {place}: DuckDB error: {reason}; fix it, or end other writers") from None
