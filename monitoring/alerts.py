"""Alerts: each is written as one line to a file and to the logger tradewind.alerts."""

import json
import logging
from collections import deque
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from recommenders.errors import DataError

Severity = Literal["info", "warning", "critical"]
LEVELS: dict[Severity, int] = {"info": logging.INFO, "warning": logging.WARNING, "critical": logging.CRITICAL}
LOG = logging.getLogger("tradewind.alerts")


@dataclass(frozen=True)
class Alert:
    """One alert. Alerts with the same cause have the same key; at is UTC."""

    title: str
    body: str
    severity: Severity
    key: str
    dataset: str
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


def send(alert: Alert, log_file: Path) -> None:
    """Appends the alert to the file as one JSON line, in a single write, and logs it."""
    line = json.dumps({**asdict(alert), "at": alert.at.astimezone(UTC).isoformat()}, ensure_ascii=False) + "\n"
    log_file.parent.mkdir(parents=True, exist_ok=True)
    with log_file.open("ab", buffering=0) as file:
        file.write(line.encode())
    LOG.log(LEVELS[alert.severity], "%s: %s (%s)", alert.dataset, alert.title, alert.body)


def recent(log_file: Path, n: int = 20) -> list[Alert]:
    """The newest n alerts, newest first; an empty list without the file. Raises DataError at an invalid line."""
    if not log_file.exists():
        return []
    with log_file.open(encoding="utf-8") as file:
        lines = deque(enumerate(file, start=1), maxlen=n)
    alerts = []
    for number, line in reversed(lines):
        try:
            content = json.loads(line)
            alerts.append(Alert(**{**content, "at": datetime.fromisoformat(content["at"])}))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{log_file} line {number} is not an alert: {error!r}; remove the line") from error
    return alerts
