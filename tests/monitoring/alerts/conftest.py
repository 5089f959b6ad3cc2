"""An outbox with a clock that a test sets, and a channel that keeps what it accepts."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from monitoring.alerts.alert import Alert, Message
from monitoring.alerts.channels import ChannelError, LogChannel
from monitoring.alerts.configuration import AlertConfig
from monitoring.alerts.dispatcher import Round, deliver
from monitoring.alerts.message_text import MessageText, message_text
from monitoring.alerts.outbox import Outbox

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
CHANNEL = {"name": "mail", "url": "mailto://example.org", "minimum": "warning"}


class Keeper:
    """Keeps the texts of the messages that it accepts; refuses while `refuses` is set."""

    def __init__(self) -> None:
        self.texts: list[MessageText] = []
        self.refuses = ""

    def send(self, message: Message, runbooks: str) -> None:
        if self.refuses:
            raise ChannelError(self.refuses)
        self.texts.append(message_text(message, runbooks))

    @property
    def titles(self) -> list[str]:
        return [text.title for text in self.texts]


class Platform:
    """The alerts of a platform: an outbox, a channel `mail` for warnings and above, and the time."""

    def __init__(self, url: str, folder: Path, **config: Any) -> None:
        self.outbox, self.now, self.mail = Outbox(url), NOON, Keeper()
        self.log_file = folder / "logs" / "alerts.jsonl"
        self.channels = {"log": LogChannel(self.log_file), "mail": self.mail}
        self.config = AlertConfig.model_validate({"channels": [CHANNEL], "group_seconds": 0} | config)

    def wait(self, **time: float) -> None:
        self.now += timedelta(**time)

    def alert(self, title: str = "drift in toy", severity: Any = "warning", dataset: str = "toy", **more: Any) -> Alert:
        alert = Alert(title, "prices moved", severity, "drift", dataset, **{"at": self.now, **more})
        self.outbox.append(alert)
        return alert

    def round(self) -> Round:
        return deliver(self.outbox, self.config, self.channels, lambda: self.now)


@pytest.fixture
def make_platform(tmp_path: Path) -> Callable[..., Platform]:
    """A function that makes a platform: url of the outbox, by default SQLite, and keys of the configuration."""
    sqlite = f"sqlite:///{tmp_path / 'outbox.db'}"
    return lambda url=sqlite, **config: Platform(url, tmp_path, **config)


@pytest.fixture
def platform(make_platform: Callable[..., Platform]) -> Platform:
    """One whose alerts are messages of their own at once, without a limit."""
    return make_platform(per_hour=None)
