"""What an alert is: something went wrong on a data set, for one cause."""

import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, get_args

from recommenders import clock

Severity = Literal["info", "warning", "critical"]
Cause = Literal[
    "drift", "broken feed", "prediction drift", "quality fall", "rollback", "failed run"
]  # each has a section in docs/alerts.md
Kind = Literal["alert", "reminder", "resolved"]

SEVERITIES: tuple[Severity, ...] = get_args(Severity)  # lowest first
CAUSES: tuple[Cause, ...] = get_args(Cause)


@dataclass(frozen=True)
class Alert:
    """One alert. Alerts with the same key are about the same incident.

    subject: the part of the data set that it is about, such as the job of a failed run. done: what the platform has
    done about it already. id: an id that is stored already is not stored again, so a caller that may be started twice
    for one event gives the event's id. at: UTC.
    """

    title: str
    body: str
    severity: Severity
    cause: Cause
    dataset: str
    subject: str = ""
    done: str = ""
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    at: datetime = field(default_factory=clock.now)

    @property
    def key(self) -> str:
        """The key of its incident."""
        return key_of(self.cause, self.dataset, self.subject)


@dataclass(frozen=True)
class Notice:
    """An alert as a channel gets it: new, a reminder of an open incident, or the end of one.

    n_alerts and opened_at are those of the incident.
    """

    alert: Alert
    kind: Kind
    n_alerts: int
    opened_at: datetime


@dataclass(frozen=True)
class Message:
    """What is sent to a channel at once. number: its id in the outbox. attempts: the present one included."""

    number: int
    channel: str
    attempts: int
    notices: tuple[Notice, ...]


def key_of(cause: Cause, dataset: str, subject: str = "") -> str:
    """The key of an incident: cause, data set and, if there is one, subject."""
    return "/".join(part for part in (cause, dataset, subject) if part)


def rank(severity: Severity) -> int:
    """0 for the lowest severity, and 1 more for each higher one."""
    return SEVERITIES.index(severity)
