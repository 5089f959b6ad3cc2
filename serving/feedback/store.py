"""The feedback store: events in SQLite or, by URL, in PostgreSQL. Each event id is stored once.

An append returns after the commit is on disk. Several processes may append; they take turns, so an event with a higher
`sequence` was never visible before one with a lower one.
"""

import weakref
from collections.abc import Sequence
from dataclasses import asdict, fields
from operator import attrgetter
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Connection, Engine, Row, Select, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from recommenders.storage.erased_users import Erasure, id_hash
from recommenders.storage.feedback_engine import cause, postgresql_engine, store_url
from recommenders.storage.feedback_position import Position
from recommenders.storage.feedback_tables import answers, erased_events, erased_users, events
from recommenders.storage.shared_database import sqlite_engine, writing
from serving.feedback import erasure
from serving.feedback.events import FeedbackError, StoredEvent
from serving.feedback.stored_answer import StoredAnswer

MIGRATIONS = Path(__file__).parent / "migrations"
LOCK = 0x74726164  # of the advisory lock in PostgreSQL, any number of ours
ANSWER_COLUMNS = tuple(field.name for field in fields(StoredAnswer))
answer_values = attrgetter(*ANSWER_COLUMNS)
JSON_COLUMNS = ("recent", "items")
CACHED_STATEMENTS = 16  # of a connection to SQLite: each number of events is a statement of its own, of up to 1 MB


class FeedbackStore:
    """The events of one data set. Threads and processes may share it."""

    def __init__(self, url: str, dataset: str) -> None:
        """url: sqlite:///FILE or postgresql://... Creates or migrates the tables. Raises FeedbackError."""
        self._dataset = dataset
        try:
            self._engine = _engine(url)
            weakref.finalize(self, self._engine.dispose)  # who drops the store leaves no connection open
            with writing(self._engine, LOCK) as connection:
                _migrate(connection)
        except (SQLAlchemyError, OSError) as error:
            raise FeedbackError(f"the feedback store cannot be opened: {cause(error)}") from error
        insert = postgresql.insert if self._engine.dialect.name == "postgresql" else sqlite.insert
        self._insert = insert(events).on_conflict_do_nothing().returning(events.c.event_id)
        self._insert_answer = insert(answers).on_conflict_do_nothing()

    def append(self, batch: Sequence[StoredEvent]) -> set[str]:
        """Stores the events whose ids are new, all or none, and returns these ids. Raises FeedbackError.

        Events of an erased user from before the erasure are not stored.
        """
        if not batch:
            return set()
        try:
            with writing(self._engine, LOCK) as connection:
                batch = erasure.events_to_store(connection, self._dataset, batch)
                if not batch:
                    return set()
                stored = connection.execute(self._insert, [{"dataset": self._dataset, **asdict(one)} for one in batch])
                return set(stored.scalars())
        except SQLAlchemyError as error:
            raise FeedbackError(f"events cannot be stored: {cause(error)}") from error

    def after(self, sequence: int, kinds: Sequence[str], limit: int) -> list[tuple[int, StoredEvent]]:
        """At most `limit` events of some kinds after a sequence, in order, each with its sequence."""
        chosen = (
            select(events)
            .where(events.c.dataset == self._dataset, events.c.sequence > sequence, events.c.event.in_(kinds))
            .order_by(events.c.sequence)
            .limit(limit)
        )
        return [(row.sequence, StoredEvent(*tuple(row)[2:])) for row in self._read(chosen)]

    def append_answers(self, batch: Sequence[StoredAnswer]) -> int:
        """Stores the answers whose request ids are new, all or none, and returns their number. Raises FeedbackError.

        Answers of an erased user that a worker made before it knew of the erasure are not stored.
        """
        try:
            with writing(self._engine, LOCK) as connection:
                batch = erasure.answers_to_store(connection, self._dataset, batch)
                if not batch:
                    return 0
                rows = [self._answer_row(one) for one in batch]
                if connection.dialect.name == "postgresql":  # its driver counts no rows of many
                    ids = connection.execute(self._insert_answer.returning(answers.c.request_id), rows)
                    return len(ids.scalars().all())
                return connection.execute(self._insert_answer, rows).rowcount
        except SQLAlchemyError as error:
            raise FeedbackError(f"answers cannot be stored: {cause(error)}") from error

    def answer(self, request_id: str) -> StoredAnswer | None:
        """The answer with this request id, if it is stored. Raises FeedbackError."""
        chosen = select(answers).where(answers.c.dataset == self._dataset, answers.c.request_id == request_id)
        for row in self._read(chosen):
            values = {name: row._mapping[name] for name in ANSWER_COLUMNS}
            return StoredAnswer(**values | {name: orjson.loads(values[name]) for name in JSON_COLUMNS})
        return None

    def events_of(self, request_id: str) -> list[StoredEvent]:
        """The events that name this request id, in order of arrival. Raises FeedbackError."""
        named = select(events).where(events.c.dataset == self._dataset, events.c.request_id == request_id)
        return [StoredEvent(*tuple(row)[2:]) for row in self._read(named.order_by(events.c.sequence))]

    def delete_answers(self, before: int) -> None:
        """Deletes the answers from before a time, in microseconds since 1970, UTC. Raises FeedbackError."""
        try:
            with writing(self._engine, LOCK) as connection:
                old = (answers.c.dataset == self._dataset) & (answers.c.answered_at < before)
                connection.execute(delete(answers).where(old))
        except SQLAlchemyError as error:
            raise FeedbackError(f"old answers cannot be deleted: {cause(error)}") from error

    def erase(self, user_id: str) -> tuple[int, dict[str, int]]:
        """Deletes all events and answers of a user; the time, and the number of deleted rows of each table.

        The time is in microseconds since 1970, UTC. All or nothing is deleted. Raises FeedbackError.
        """
        try:
            with writing(self._engine, LOCK) as connection:
                return erasure.erase(connection, self._dataset, user_id)
        except SQLAlchemyError as error:
            raise FeedbackError(f"a user cannot be erased: {cause(error)}") from error

    def erasures(self, sequence: int) -> list[tuple[int, Erasure]]:
        """The erasures after a sequence of their own, in order, each with its sequence. Raises FeedbackError."""
        chosen = select(erased_users).where(erased_users.c.dataset == self._dataset, erased_users.c.sequence > sequence)
        rows = self._read(chosen.order_by(erased_users.c.sequence))
        return [(row.sequence, Erasure(row.user_hash, row.erased_at, row.last_event)) for row in rows]

    def has(self, position: Position) -> bool:
        """Whether the event of a position is or was here, under its sequence. Raises FeedbackError."""
        event_id, was_here = position.event_id, id_hash(position.event_id)
        here = select(events.c.event_id).where(
            events.c.dataset == self._dataset, events.c.sequence == position.sequence
        )
        erased = select(erased_events.c.event_hash).where(
            erased_events.c.dataset == self._dataset, erased_events.c.sequence == position.sequence
        )
        found = [row[0] for chosen in (here, erased) for row in self._read(chosen)]
        return found in ([event_id], [was_here])

    def counts(self) -> dict[str, int]:
        """Kind of event -> number of stored events."""
        with self._engine.connect() as connection:
            counted = select(events.c.event, func.count()).where(events.c.dataset == self._dataset)
            return {str(kind): int(n) for kind, n in connection.execute(counted.group_by(events.c.event))}

    def _read(self, chosen: Select[Any]) -> Sequence[Row[Any]]:
        try:
            with self._engine.connect() as connection:
                return connection.execute(chosen).all()
        except SQLAlchemyError as error:
            raise FeedbackError(f"the feedback store cannot be read: {cause(error)}") from error

    def _answer_row(self, answer: StoredAnswer) -> dict[str, Any]:
        row: dict[str, Any] = dict(zip(ANSWER_COLUMNS, answer_values(answer), strict=True))
        row["dataset"] = self._dataset
        row["user_id"] = answer.user_id.replace("\0", "\ufffd")  # PostgreSQL stores no NUL; `request` has its escape
        for name in JSON_COLUMNS:
            row[name] = orjson.dumps(row[name]).decode()
        return row

    def close(self) -> None:
        """Closes the connections."""
        self._engine.dispose()


def _engine(url: str) -> Engine:
    parsed = store_url(url)
    if parsed.get_backend_name() == "postgresql":
        return postgresql_engine(parsed)
    # secure_delete: from the first row on, else copies of rows that moved to another page would outlast an erasure
    return sqlite_engine(parsed, ["secure_delete=ON"], cached_statements=CACHED_STATEMENTS)


def _migrate(connection: Connection) -> None:
    from alembic import command  # only when the store is opened
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
