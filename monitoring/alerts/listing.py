"""What the outbox holds, for people: open incidents, the newest alerts, and the state of each channel."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select

from monitoring.alerts.alert import Kind
from monitoring.alerts.outbox import Outbox
from monitoring.alerts.tables import alerts, as_time, deliveries, incidents, messages


@dataclass(frozen=True)
class OpenIncident:
    """An incident whose cause is not over. last_at: of its newest alert."""

    key: str
    severity: str
    title: str
    n_alerts: int
    opened_at: datetime
    last_at: datetime


@dataclass(frozen=True)
class StoredAlert:
    """An alert of the outbox. state: new, queued or suppressed. reason: of the state."""

    at: datetime
    kind: Kind
    severity: str
    title: str
    key: str
    state: str
    reason: str


@dataclass(frozen=True)
class ChannelState:
    """A channel. held: alerts that are in no message yet. waiting, sent, failed: messages. problem: of the last try."""

    name: str
    held: int
    waiting: int
    sent: int
    failed: int
    problem: str
    next_attempt: datetime | None


def open_incidents(outbox: Outbox) -> list[OpenIncident]:
    """The open incidents, oldest first. Raises OutboxError."""
    newest = select(func.max(alerts.c.sequence)).group_by(alerts.c.incident)
    chosen = (
        select(incidents, alerts.c.title)
        .join(alerts, alerts.c.incident == incidents.c.number)
        .where(incidents.c.resolved_at.is_(None), alerts.c.sequence.in_(newest))
        .order_by(incidents.c.number)
    )
    with outbox.reading() as connection:
        return [
            OpenIncident(row.key, row.severity, row.title, row.n_alerts, as_time(row.opened_at), as_time(row.last_at))
            for row in connection.execute(chosen)
        ]


def recent_alerts(outbox: Outbox, n: int, repetitions: bool = False) -> list[StoredAlert]:
    """The newest n alerts, newest first. repetitions: also those that were only counted. Raises OutboxError."""
    chosen = select(alerts).order_by(alerts.c.sequence.desc()).limit(n)
    if not repetitions:
        chosen = chosen.where(alerts.c.state != "suppressed")
    with outbox.reading() as connection:
        return [
            StoredAlert(as_time(row.at), row.kind, row.severity, row.title, row.key, row.state, row.reason)
            for row in connection.execute(chosen)
        ]


def channel_states(outbox: Outbox, names: list[str]) -> list[ChannelState]:
    """The state of each named channel, and of others for which something waits. Raises OutboxError."""
    counted = select(messages.c.channel, messages.c.state, func.count()).group_by(messages.c.channel, messages.c.state)
    held = (
        select(deliveries.c.channel, func.count()).where(deliveries.c.message.is_(None)).group_by(deliveries.c.channel)
    )
    troubled = (
        select(messages.c.channel, messages.c.problem, messages.c.due_at, messages.c.state)
        .where(messages.c.state != "sent", messages.c.problem != "")
        .order_by(messages.c.number)
    )
    with outbox.reading() as connection:
        counts = {(channel, state): n for channel, state, n in connection.execute(counted)}
        holds = {row.channel: int(row[1]) for row in connection.execute(held)}
        problems = {row.channel: row for row in connection.execute(troubled)}
    others = sorted(({channel for channel, state in counts if state != "sent"} | set(holds)) - set(names))
    return [
        ChannelState(
            name,
            holds.get(name, 0),
            counts.get((name, "waiting"), 0),
            counts.get((name, "sent"), 0),
            counts.get((name, "failed"), 0),
            problems[name].problem if name in problems else "",
            as_time(problems[name].due_at) if name in problems and problems[name].state == "waiting" else None,
        )
        for name in [*names, *others]
    ]
