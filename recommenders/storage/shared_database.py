"""A database that several processes write, one at a time: SQLite, or PostgreSQL with an advisory lock.

A transaction that writes is on disk when it ends.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, text

BUSY_SECONDS = 10  # that an SQLite writer waits for another one


def sqlite_engine(url: URL, pragmas: Sequence[str] = (), **connect_args: Any) -> Engine:
    """The engine of an SQLite file, whose folder is made. pragmas: more of them, such as "secure_delete=ON"."""
    if url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS, **connect_args})

    def configure(connection: Any, _: object) -> None:
        connection.isolation_level = None  # the driver would begin transactions too late; see the event "begin"
        try:
            for pragma in ("journal_mode=WAL", "synchronous=FULL", *pragmas):  # FULL: a commit is on disk
                connection.execute(f"PRAGMA {pragma}")
        except Exception:  # the file is no database: SQLAlchemy forgets the connection without closing it
            connection.close()
            raise

    event.listen(engine, "connect", configure)
    event.listen(engine, "begin", _begin)
    return engine


@contextmanager
def writing(engine: Engine, lock: int) -> Iterator[Connection]:
    """A transaction in which no other process writes. lock: of the advisory lock in PostgreSQL, any number."""
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": lock})
        yield connection


def _begin(connection: Connection) -> None:
    # IMMEDIATE waits for other writers; a transaction that begins to write later would fail instead
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("writes") else "BEGIN")
