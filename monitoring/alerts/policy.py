"""What is sent, and when: pure functions of alerts, open incidents, the clock and the configuration."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from monitoring.alerts.alert import Alert, Kind, Severity, rank
from monitoring.alerts.configuration import AlertConfig, QuietHours, RetryConfig

HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Incident:
    """An open incident. queued_at: the time of its last alert that was not a repetition."""

    severity: Severity
    queued_at: datetime
    n_alerts: int


class Decision(NamedTuple):
    """kind: of the notice that is sent; None: the alert repeats one, and is only counted. reason: in words."""

    kind: Kind | None
    reason: str


class Waiting(NamedTuple):
    """An alert that waits for a channel. sequence: its place in the outbox."""

    sequence: int
    severity: Severity
    at: datetime


def decide(alert: Alert, incident: Incident | None, reminder: timedelta) -> Decision:
    """Whether an alert is new, a reminder, or a repetition. incident: the open one with its key, if there is one."""
    if incident is None:
        return Decision("alert", "new")
    if rank(alert.severity) > rank(incident.severity):
        return Decision("alert", f"more severe than before: {alert.severity}, not {incident.severity}")
    if alert.at - incident.queued_at >= reminder:
        return Decision("reminder", f"goes on since the last notice of {incident.queued_at:%Y-%m-%d %H:%M} UTC")
    return Decision(None, f"repeats the alert of {incident.queued_at:%Y-%m-%d %H:%M} UTC")


def is_quiet(now: datetime, hours: QuietHours | None) -> bool:
    """Whether now is in the quiet hours: from begin, until before end."""
    if hours is None:
        return False
    clock = now.astimezone(hours.zone).time()
    if hours.begin < hours.end:
        return hours.begin <= clock < hours.end
    return clock >= hours.begin or clock < hours.end


def messages_to_make(
    waiting: Sequence[Waiting], n_made: int, now: datetime, config: AlertConfig
) -> list[list[Waiting]]:
    """The messages that a channel gets now, each a list of alerts; the other alerts wait.

    n_made: messages made for the channel within the last hour. Quiet hours and the limit hold all but critical alerts.
    At the limit, the last message has all alerts that are left.
    """
    room = len(waiting) if config.per_hour is None else max(0, config.per_hour - n_made)
    held = is_quiet(now, config.quiet_hours) or room == 0
    free = [one for one in waiting if one.severity == "critical" or not held]
    if not free or now - min(one.at for one in free) < timedelta(seconds=config.group_seconds):
        return []
    if config.group_seconds:
        return [free]
    alone = free if len(free) <= room else free[: max(0, room - 1)]
    rest = free[len(alone) :]
    return [[one] for one in alone] + ([rest] if rest else [])


def retry_wait(attempts: int, config: RetryConfig, draw: float) -> timedelta | None:
    """The wait after so many failed attempts; None after the last one. draw: random, in [0, 1).

    Waits are shortened by up to a half at random, so that the messages of an outage do not all come back at once.
    """
    if attempts >= config.attempts:
        return None
    doubled = config.first_seconds * 2.0 ** min(attempts - 1, 60)
    return timedelta(seconds=min(doubled, config.longest_seconds) * (1 - draw / 2))
