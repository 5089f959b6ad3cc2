"""Connections to the feedback store, by its URL: one place that knows which databases it may be."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, inspect, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from recommenders.errors import ConfigurationError, DataError
from recommenders.storage.feedback_tables import events

ALLOWED = ("sqlite", "postgresql")
BUSY_SECONDS = 10  # that a reader of SQLite waits for a writer


def store_url(url: str) -> URL:
    """The parsed URL. Raises ConfigurationError if it is neither sqlite:///FILE nor postgresql://..."""
    parsed = make_url(url)
    if parsed.get_backend_name() not in ALLOWED:
        raise ConfigurationError(
            f"feedback_url: got {parsed.get_backend_name()}://...; allowed: sqlite:///FILE or postgresql://...; "
            "set TRADEWIND_FEEDBACK_URL"
        )
    return parsed


def postgresql_engine(url: URL) -> Engine:
    """The engine of a PostgreSQL. Raises ConfigurationError if its driver is not installed."""
    try:
        return create_engine(url.set(drivername="postgresql+psycopg2"), pool_pre_ping=True)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"feedback_url: postgresql needs a driver: {error}; pip install -e '.[postgres]'"
        ) from error


def cause(error: Exception) -> str:
    """The driver's message in one line, without the statement and its values."""
    return " ".join(str(getattr(error, "orig", error)).split())


@contextmanager
def read_only(url: URL, dataset: str) -> Iterator[Connection | None]:
    """A connection that cannot write; None if there is no store, or no table in it yet.

    dataset: named by errors. Raises DataError if the store cannot be read, also by what the caller does meanwhile.
    """
    path = Path(url.database or "")
    if url.get_backend_name() == "sqlite" and not path.is_file():
        yield None
        return
    try:
        engine = _reading_engine(url, path)
        try:
            with engine.connect().execution_options(postgresql_readonly=True) as connection:
                yield connection if inspect(connection).has_table(events.name) else None
        finally:
            engine.dispose()
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise DataError(
            f"{dataset}: the feedback store cannot be read: {cause(error)}; repair it, or check TRADEWIND_FEEDBACK_URL"
        ) from error


def _reading_engine(url: URL, path: Path) -> Engine:
    if url.get_backend_name() == "postgresql":
        return postgresql_engine(url)

    def connect() -> sqlite3.Connection:
        # rw creates no file. A reader of a WAL must be able to write its index, so the mode ro is not possible
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=BUSY_SECONDS)
        connection.execute("PRAGMA query_only = on")
        return connection

    return create_engine("sqlite://", creator=connect, poolclass=NullPool)
