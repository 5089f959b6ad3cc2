"""Where messages are sent: the log, and the services that Apprise knows."""

import json
import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlsplit

from monitoring.alerts.alert import Message, Severity
from monitoring.alerts.configuration import LOG, AlertConfig, ChannelConfig
from monitoring.alerts.message_text import MessageText, message_text, runbook
from recommenders.datasets.custom.secrets import Secrets
from recommenders.errors import ConfigurationError, TradewindError

LEVELS: dict[Severity, int] = {"info": logging.INFO, "warning": logging.WARNING, "critical": logging.CRITICAL}
SHORTEST_SECRET = 6  # characters of a part of a URL that no message may contain
logger = logging.getLogger("tradewind.alerts")


class ChannelError(TradewindError):
    """A message that a channel did not accept."""


class Channel(Protocol):
    """Where messages are sent."""

    def send(self, message: Message, runbooks: str) -> None:
        """Returns when the message is accepted. Raises ChannelError and ConfigurationError, without secrets."""


class LogChannel:
    """A line of JSON in a file, and a line in the logger tradewind.alerts, for each alert."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def send(self, message: Message, runbooks: str) -> None:
        """Appends the lines in a single write. Raises ChannelError."""
        lines = []
        for notice in message.notices:
            alert, more = notice.alert, {"kind": notice.kind, "runbook": runbook(notice, runbooks)}
            at = alert.at.astimezone(UTC).isoformat()
            lines.append(json.dumps({**asdict(alert), "key": alert.key, **more, "at": at}, ensure_ascii=False) + "\n")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("ab", buffering=0) as file:
                file.write("".join(lines).encode())
        except OSError as error:
            raise ChannelError(f"{self._file} cannot be written: {error.strerror}") from error
        for notice in message.notices:
            level = logging.INFO if notice.kind == "resolved" else LEVELS[notice.alert.severity]
            title = f"{notice.kind}: {notice.alert.title}" if notice.kind != "alert" else notice.alert.title
            logger.log(level, "%s: %s (%s)", notice.alert.dataset, title, notice.alert.body)


class AppriseChannel:
    """One recipient at a service that Apprise knows."""

    def __init__(self, config: ChannelConfig) -> None:
        self._config = config

    def send(self, message: Message, runbooks: str) -> None:
        """Sends a message once, without Apprise's own retries. Raises ChannelError and ConfigurationError."""
        self.send_text(message_text(message, runbooks))

    def send_text(self, text: MessageText) -> None:
        """Sends a text. Raises ChannelError and ConfigurationError."""
        from apprise import NotifyFormat, NotifyType

        kinds = {None: NotifyType.SUCCESS, "info": NotifyType.INFO, "warning": NotifyType.WARNING}
        kind = kinds.get(text.severity, NotifyType.FAILURE)
        service, secrets = self._service()
        with _reasons() as reasons:
            try:
                accepted = service.notify(
                    body=text.body, title=text.title, notify_type=kind, body_format=NotifyFormat.TEXT
                )
            except Exception as error:  # a plugin may raise anything; the message stays in the outbox
                accepted = False
                reasons.append(f"{type(error).__name__}: {error}")
        if not accepted:
            raise ChannelError(secrets.scrub("; ".join(reasons) or "the service did not accept it"))

    def address(self) -> str:
        """The service and its host, without secrets. Raises ConfigurationError."""
        parts = urlsplit(str(self._service()[0].url(privacy=True)))  # a path may be a secret, too
        return f"{parts.scheme}://{parts.netloc}"

    def _service(self) -> tuple[Any, Secrets]:
        """Apprise's object for the URL, new for each message: an old one waits between two messages."""
        from apprise import Apprise

        where = f"channel {self._config.name}"
        secrets = Secrets(where)
        url = secrets.fill(self._config.url)
        with _reasons():  # they quote the URL
            service: Any = Apprise.instantiate(url)
        if service is None:
            raise ConfigurationError(
                f"{where}: got a URL that Apprise cannot use; allowed: the URLs in docs/alerts.md; correct the URL"
            )
        if len(service) > 1:
            raise ConfigurationError(
                f"{where}: got a URL with {len(service)} recipients or retries; allowed: one recipient, without retry=,"
                " because a message that one of them refuses would come twice to the others; write a channel for each"
            )
        _hide_parts(secrets, url, str(service.url(privacy=True)))
        return service, secrets


def _hide_parts(secrets: Secrets, url: str, shown: str) -> None:
    """Hides the parts of a URL in messages, except the host and the values that Apprise itself shows.

    The path is hidden in any case: the path of a webhook is often its secret.
    """
    parts = urlsplit(url)
    host, texts = urlsplit(shown).netloc, re.split("[/:@]", f"{parts.netloc}/{parts.path}")
    texts = [text for text in texts if text not in host] + [v for _, v in parse_qsl(parts.query) if v not in shown]
    for text in texts:
        if len(text) >= SHORTEST_SECRET:
            secrets.hide(text)


def channels_of(config: AlertConfig, log_file: Path) -> dict[str, Channel]:
    """The channels by name, the log first."""
    return {LOG: LogChannel(log_file), **{one.name: AppriseChannel(one) for one in config.channels}}


@contextmanager
def _reasons() -> Iterator[list[str]]:
    """The warnings that Apprise logs in this thread meanwhile; they reach no other log, since they may quote a URL."""
    found: list[str] = []
    thread, source = threading.get_ident(), logging.getLogger("apprise")

    def emit(record: logging.LogRecord) -> None:
        text = record.getMessage()
        # Apprise logs the answer of a mail server as a detail only
        if record.thread == thread and (record.levelno >= logging.WARNING or text.startswith("Socket Exception: ")):
            found.append(" ".join(text.split()))

    handler = logging.Handler()
    handler.emit = emit  # type: ignore[method-assign]
    source.propagate = False
    source.setLevel(logging.DEBUG)
    source.addHandler(handler)
    try:
        yield found
    finally:
        source.removeHandler(handler)
