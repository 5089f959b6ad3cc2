"""Applies the policy to the outbox: stored alerts become messages to channels, all in one transaction."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, CursorResult, Row, delete, func, select, update

from monitoring.alerts.alert import Alert, rank
from monitoring.alerts.configuration import LOG, AlertConfig
from monitoring.alerts.outbox import Outbox, alert_of
from monitoring.alerts.policy import HOUR, Incident, Waiting, decide, messages_to_make
from monitoring.alerts.tables import alerts, as_time, deliveries, incidents, messages, micros


def plan(outbox: Outbox, config: AlertConfig, now: datetime) -> None:
    """Decides on the alerts that are new, and makes the messages that are due. Raises OutboxError."""
    with outbox.writing() as connection:
        new = select(alerts).where(alerts.c.state == "new").order_by(alerts.c.sequence)
        for row in connection.execute(new).all():
            if row.kind == "resolved":
                _end_incident(connection, row)
            else:
                _add_to_incident(connection, row, config)
        for channel in config.minimums():
            _make_messages(connection, channel, config, now)


def _add_to_incident(connection: Connection, row: Row[Any], config: AlertConfig) -> None:
    """Opens an incident, or counts the alert in the open one; queues the alert unless it is a repetition."""
    alert, open_ = alert_of(row), _open_incident(connection, row.key)
    known = Incident(open_.severity, as_time(open_.queued_at), open_.n_alerts) if open_ is not None else None
    kind, reason = decide(alert, known, config.reminder)
    if open_ is None:
        number = _open(connection, alert)
    else:
        number = open_.number
        higher = max(open_.severity, alert.severity, key=rank)
        counted = {"n_alerts": open_.n_alerts + 1, "last_at": max(open_.last_at, row.at)}
        if kind:
            counted |= {"queued_at": row.at, "severity": higher}
        connection.execute(update(incidents).where(incidents.c.number == number).values(counted))
    state = {"kind": kind or "alert", "state": "queued" if kind else "suppressed", "reason": reason}
    connection.execute(update(alerts).where(alerts.c.sequence == row.sequence).values(**state, incident=number))
    if kind:
        wanting = [name for name, least in config.minimums().items() if rank(alert.severity) >= rank(least)]
        _deliver_to(connection, row.sequence, wanting)


def _end_incident(connection: Connection, row: Row[Any]) -> None:
    """Ends the open incident. The channels that got, or will get, its alerts get a notice of the end.

    An alert that is in no message yet is not sent any more: its cause was over before it was due. The log has it.
    """
    open_ = _open_incident(connection, row.key)
    if open_ is None:  # ended before, by a recovery that another process stored at the same time
        values = {"state": "suppressed", "reason": "no incident is open"}
        connection.execute(update(alerts).where(alerts.c.sequence == row.sequence).values(values))
        return
    connection.execute(update(incidents).where(incidents.c.number == open_.number).values(resolved_at=row.at))
    values = {"state": "queued", "reason": "the cause is over", "incident": open_.number, "severity": open_.severity}
    connection.execute(update(alerts).where(alerts.c.sequence == row.sequence).values(values))
    of_incident = select(alerts.c.sequence).where(alerts.c.incident == open_.number)
    in_no_message = deliveries.c.alert.in_(of_incident) & deliveries.c.message.is_(None)
    connection.execute(delete(deliveries).where(in_no_message, deliveries.c.channel != LOG))
    informed = select(deliveries.c.channel).where(deliveries.c.alert.in_(of_incident)).distinct()
    _deliver_to(connection, row.sequence, connection.scalars(informed).all())


def _make_messages(connection: Connection, channel: str, config: AlertConfig, now: datetime) -> None:
    """Makes the messages that a channel gets now."""
    made = select(func.count()).where(messages.c.channel == channel, messages.c.made_at > micros(now - HOUR))
    n_made = connection.scalar(made) or 0
    waiting = _waiting(connection, channel)
    # the log disturbs no person: it gets all at once
    groups = [waiting] if channel == LOG else messages_to_make(waiting, n_made, now, config)
    for group in filter(None, groups):
        values = {"channel": channel, "state": "waiting", "attempts": 0, "problem": ""}
        times = {"made_at": micros(now), "due_at": micros(now)}
        number = _number(connection.execute(messages.insert().values(values | times)))
        chosen = deliveries.c.alert.in_([one.sequence for one in group]) & (deliveries.c.channel == channel)
        connection.execute(update(deliveries).where(chosen).values(message=number))


def _waiting(connection: Connection, channel: str) -> list[Waiting]:
    """The alerts that wait for a channel. A notice of an end waits until the alert before it was sent."""
    chosen = (
        select(alerts)
        .join(deliveries, deliveries.c.alert == alerts.c.sequence)
        .where(deliveries.c.channel == channel, deliveries.c.message.is_(None))
        .order_by(alerts.c.sequence)
    )
    found = []
    for row in connection.execute(chosen).all():
        if row.kind == "resolved":
            states = _earlier_states(connection, row, channel)
            if "waiting" in states:
                continue
            if "sent" not in states:  # the channel got no alert that this would end
                mine = (deliveries.c.alert == row.sequence) & (deliveries.c.channel == channel)
                connection.execute(delete(deliveries).where(mine))
                continue
        found.append(Waiting(row.sequence, row.severity, as_time(row.at)))
    return found


def _earlier_states(connection: Connection, row: Row[Any], channel: str) -> set[str]:
    """The states of the messages to a channel with earlier alerts of the same incident; waiting without a message."""
    chosen = (
        select(func.coalesce(messages.c.state, "waiting"))
        .select_from(deliveries)
        .join(alerts, alerts.c.sequence == deliveries.c.alert)
        .outerjoin(messages, messages.c.number == deliveries.c.message)
        .where(alerts.c.incident == row.incident, alerts.c.sequence < row.sequence, deliveries.c.channel == channel)
    )
    return set(connection.scalars(chosen))


def _open_incident(connection: Connection, key: str) -> Row[Any] | None:
    return connection.execute(
        select(incidents).where(incidents.c.key == key, incidents.c.resolved_at.is_(None))
    ).first()


def _open(connection: Connection, alert: Alert) -> int:
    at = micros(alert.at)
    times = {"opened_at": at, "queued_at": at, "last_at": at}
    values = {"key": alert.key, "severity": alert.severity, "n_alerts": 1}
    return _number(connection.execute(incidents.insert().values(values | times)))


def _number(inserted: CursorResult[Any]) -> int:
    key = inserted.inserted_primary_key
    assert key is not None  # one row was inserted
    return int(key[0])


def _deliver_to(connection: Connection, sequence: int, channels: Iterable[str]) -> None:
    if rows := [{"alert": sequence, "channel": channel} for channel in channels]:
        connection.execute(deliveries.insert(), rows)
