"""The tables of the outbox, and connections to it: SQLite or PostgreSQL. Times are microseconds since 1970, UTC."""

from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    Column,
    Engine,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    create_engine,
    make_url,
)
from sqlalchemy.exc import ArgumentError

from recommenders.errors import ConfigurationError
from recommenders.storage.shared_database import sqlite_engine

LOCK = 0x616C6572  # of the advisory lock in PostgreSQL, any number of ours

ALLOWED = "allowed: sqlite:///FILE or postgresql://...; correct TRADEWIND_OUTBOX_URL"

metadata = MetaData()

alerts = Table(
    "alerts",
    metadata,
    Column("sequence", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),  # alert, reminder, resolved
    Column("key", Text, nullable=False),
    *(Column(name, Text, nullable=False) for name in ("title", "body", "severity", "cause", "dataset", "subject")),
    Column("done", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("state", Text, nullable=False),  # new, queued, suppressed
    Column("reason", Text, nullable=False),  # of the state
    Column("incident", ForeignKey("incidents.number")),
    Index("alerts_by_key", "key", "sequence"),
    Index("alerts_by_state", "state", "sequence"),
)

incidents = Table(
    "incidents",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("key", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("opened_at", BigInteger, nullable=False),
    Column("queued_at", BigInteger, nullable=False),
    Column("last_at", BigInteger, nullable=False),
    Column("n_alerts", Integer, nullable=False),
    Column("resolved_at", BigInteger),
    Index("incidents_by_key", "key", "resolved_at"),
)

messages = Table(
    "messages",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("channel", Text, nullable=False),
    Column("state", Text, nullable=False),  # waiting, sent, failed
    Column("attempts", Integer, nullable=False),
    Column("made_at", BigInteger, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("leased_until", BigInteger),
    Column("sent_at", BigInteger),
    Column("problem", Text, nullable=False),  # of the last attempt
    Index("messages_by_state", "state", "due_at"),
)

deliveries = Table(
    "deliveries",  # which alert goes to which channel; message: NULL until it is in one
    metadata,
    Column("alert", ForeignKey("alerts.sequence"), primary_key=True),
    Column("channel", Text, primary_key=True),
    Column("message", ForeignKey("messages.number"), index=True),
)


def engine_of(url: str) -> Engine:
    """The engine of an outbox. Raises ConfigurationError if the URL cannot be used."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ConfigurationError(f"outbox_url: got no URL; {ALLOWED}") from None
    backend = parsed.get_backend_name()
    if backend == "postgresql":
        try:
            return create_engine(parsed.set(drivername="postgresql+psycopg2"), pool_pre_ping=True)
        except ModuleNotFoundError as error:
            fix = "pip install -e '.[postgres]'"
            raise ConfigurationError(f"outbox_url: postgresql needs a driver: {error}; {fix}") from error
    if backend != "sqlite" or not parsed.database:
        raise ConfigurationError(f"outbox_url: got {backend}://...; {ALLOWED}")
    return sqlite_engine(parsed)


def micros(at: datetime) -> int:
    """A time as the tables have it."""
    return round(at.timestamp() * 1e6)


def as_time(value: int) -> datetime:
    """A time of the tables."""
    return datetime.fromtimestamp(value / 1e6, UTC)
