"""The outbox: alerts are stored here before they are sent, so that none is lost when a process is killed.

A call that writes returns after the commit is on disk. Processes may share an outbox; they take turns.
"""

import weakref
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, or_, select, update
from sqlalchemy.exc import SQLAlchemyError

from monitoring.alerts.alert import Alert, Cause, Message, Notice
from monitoring.alerts.tables import (
    LOCK,
    alerts,
    as_time,
    deliveries,
    engine_of,
    incidents,
    messages,
    metadata,
    micros,
)
from recommenders.errors import TradewindError
from recommenders.storage.feedback_engine import cause
from recommenders.storage.shared_database import writing

ALERT_COLUMNS = ("title", "body", "severity", "cause", "dataset", "subject", "done", "id")


class OutboxError(TradewindError):
    """An outbox that cannot be read or written."""


class Outbox:
    """The stored alerts, and the messages that are made of them."""

    def __init__(self, url: str) -> None:
        """url: sqlite:///FILE or postgresql://... Creates the tables. Raises ConfigurationError and OutboxError."""
        self._engine = engine_of(url)
        weakref.finalize(self, self._engine.dispose)  # who drops the outbox leaves no connection open
        with self.writing() as connection:
            metadata.create_all(connection)

    def append(self, alert: Alert) -> bool:
        """Stores an alert; False if one with its id is stored already. Raises OutboxError."""
        with self.writing() as connection:
            if connection.scalar(select(alerts.c.sequence).where(alerts.c.id == alert.id)) is not None:
                return False
            _insert(connection, alert, "alert")
            return True

    def recover(self, key: str, at: datetime) -> bool:
        """Stores that the cause of an incident is over; False if no incident with this key is open."""
        with self.writing() as connection:
            last = select(alerts).where(alerts.c.key == key).order_by(alerts.c.sequence.desc()).limit(1)
            row = connection.execute(last).first()
            if row is None or row.kind == "resolved":
                return False
            values = {name: getattr(row, name) for name in ("title", "severity", "cause", "dataset", "subject")}
            _insert(connection, Alert(**values, body="", at=at), "resolved")
            return True

    def subjects(self, cause: Cause, dataset: str) -> list[str]:
        """The subjects of the stored alerts of a cause on a data set."""
        chosen = select(alerts.c.subject).where(alerts.c.cause == cause, alerts.c.dataset == dataset).distinct()
        with self.reading() as connection:
            return list(connection.scalars(chosen))

    def lease(self, now: datetime, lease: timedelta, channels: Collection[str]) -> Message | None:
        """The oldest message that is due on these channels, for this process alone until the lease is over.

        A message whose process was killed is due again after its lease. None if there is no such message.
        """
        due = (
            select(messages)
            .where(messages.c.state == "waiting", messages.c.due_at <= micros(now), messages.c.channel.in_(channels))
            .where(or_(messages.c.leased_until.is_(None), messages.c.leased_until <= micros(now)))
            .order_by(messages.c.due_at, messages.c.number)
            .limit(1)
        )
        with self.writing() as connection:
            row = connection.execute(due).first()
            if row is None:
                return None
            values = {"leased_until": micros(now + lease), "attempts": row.attempts + 1}
            connection.execute(update(messages).where(messages.c.number == row.number).values(values))
            return Message(row.number, row.channel, row.attempts + 1, _notices(connection, row.number))

    def mark_sent(self, message: Message, now: datetime) -> None:
        """Stores that a channel accepted a message."""
        values = {"state": "sent", "sent_at": micros(now), "leased_until": None, "problem": ""}
        with self.writing() as connection:
            connection.execute(update(messages).where(messages.c.number == message.number).values(values))

    def mark_failed(self, message: Message, problem: str, due: datetime | None) -> None:
        """Stores that a channel did not accept a message, and when it is sent again; None: never."""
        values: dict[str, Any] = {"problem": problem, "leased_until": None}
        values |= {"state": "failed"} if due is None else {"due_at": micros(due)}
        # not if another process has leased the message meanwhile
        mine = (messages.c.number == message.number) & (messages.c.attempts == message.attempts)
        with self.writing() as connection:
            connection.execute(update(messages).where(mine, messages.c.state == "waiting").values(values))

    def retry_failed(self, now: datetime) -> int:
        """Messages whose attempts were used up are due again, with all attempts; returns their number."""
        values = {"state": "waiting", "attempts": 0, "due_at": micros(now)}
        with self.writing() as connection:
            return connection.execute(update(messages).where(messages.c.state == "failed").values(values)).rowcount

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction in which no other process writes. Raises OutboxError."""
        try:
            with writing(self._engine, LOCK) as connection:
                yield connection
        except SQLAlchemyError as error:
            raise OutboxError(f"the outbox of alerts cannot be written: {cause(error)}; check the disk") from error

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that reads. Raises OutboxError."""
        try:
            with self._engine.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise OutboxError(f"the outbox of alerts cannot be read: {cause(error)}; check the disk") from error


def alert_of(row: Row[Any]) -> Alert:
    """The alert in a row of the table."""
    return Alert(**{name: getattr(row, name) for name in ALERT_COLUMNS}, at=as_time(row.at))


def _insert(connection: Connection, alert: Alert, kind: str) -> None:
    values = {name: getattr(alert, name) for name in ALERT_COLUMNS} | {"key": alert.key, "at": micros(alert.at)}
    # PostgreSQL stores no NUL
    clean = {name: value.replace("\0", "\ufffd") if isinstance(value, str) else value for name, value in values.items()}
    connection.execute(alerts.insert().values(clean | {"kind": kind, "state": "new", "reason": ""}))


def _notices(connection: Connection, message: int) -> tuple[Notice, ...]:
    """The notices of a message, in the order in which their alerts were stored."""
    chosen = (
        select(alerts, incidents.c.n_alerts, incidents.c.opened_at)
        .join(deliveries, deliveries.c.alert == alerts.c.sequence)
        .join(incidents, incidents.c.number == alerts.c.incident)
        .where(deliveries.c.message == message)
        .order_by(alerts.c.sequence)
    )
    return tuple(
        Notice(alert_of(row), row.kind, row.n_alerts, as_time(row.opened_at)) for row in connection.execute(chosen)
    )
