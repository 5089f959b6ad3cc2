"""Deletes old incidents from the outbox, with their alerts and messages."""

from collections.abc import Collection

from sqlalchemy import delete, exists, select

from monitoring.alerts.outbox import Outbox
from monitoring.alerts.tables import alerts, as_time, deliveries, incidents, messages
from recommenders.storage.retention import Stored


def ended_incidents(outbox: Outbox) -> list[Stored]:
    """The incidents that are over and wait for no channel, by their numbers, aged from their end.

    Raises OutboxError.
    """
    waits = (
        select(deliveries.c.alert)
        .join(alerts, alerts.c.sequence == deliveries.c.alert)
        .outerjoin(messages, messages.c.number == deliveries.c.message)
        .where(alerts.c.incident == incidents.c.number)
        .where(messages.c.number.is_(None) | (messages.c.state == "waiting"))
    )
    chosen = select(incidents.c.number, incidents.c.resolved_at)
    chosen = chosen.where(incidents.c.resolved_at.is_not(None), ~exists(waits))
    with outbox.reading() as connection:
        return [Stored(str(row.number), as_time(row.resolved_at)) for row in connection.execute(chosen)]


def delete_incidents(outbox: Outbox, numbers: Collection[int]) -> None:
    """Deletes incidents, their alerts, and the messages that hold no other alert. Raises OutboxError."""
    of_them = select(alerts.c.sequence).where(alerts.c.incident.in_(numbers))
    empty = ~exists(select(deliveries.c.alert).where(deliveries.c.message == messages.c.number))
    with outbox.writing() as connection:
        connection.execute(delete(deliveries).where(deliveries.c.alert.in_(of_them)))
        connection.execute(delete(messages).where(empty))
        connection.execute(delete(alerts).where(alerts.c.incident.in_(numbers)))
        connection.execute(delete(incidents).where(incidents.c.number.in_(numbers)))
