"""A mail server that keeps what it accepts, and fails in the ways of real ones for a share of the mails."""

import email
import email.policy
import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiosmtpd.controller import Controller

# Each of these fails before the mail is accepted. A mail that is lost after `250 OK` cannot be found by any sender.
FAILURES = ("refuse the sender", "refuse the recipient", "refuse the content", "close during the content")


class Mailbox:
    """The handler of aiosmtpd. accepted: (subject, text) of the mails. failures: mails that were not accepted."""

    def __init__(self, failing: float = 0.0, seed: int = 0) -> None:
        """failing: the share of the mails that fail."""
        self.accepted: list[tuple[str, str]] = []
        self.failures = 0
        self.failing = failing
        self._rng = random.Random(seed)
        self._failure = ""

    async def handle_MAIL(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        """Decides how this mail ends."""
        self._failure = self._rng.choice(FAILURES) if self._rng.random() < self.failing else ""
        self.failures += bool(self._failure)
        if self._failure == FAILURES[0]:
            return "451 sender: try again later"
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        """Accepts or refuses the recipient."""
        if self._failure == FAILURES[1]:
            return "450 mailbox busy"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        """Keeps the mail, unless it fails."""
        if self._failure == FAILURES[2]:
            return "452 no space left"
        if self._failure == FAILURES[3]:
            server.transport.abort()
            return "451 closed"
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        self.accepted.append((str(mail["subject"]), mail.get_content()))
        return "250 OK"


@contextmanager
def mail_server(mailbox: Mailbox, port: int | None = None) -> Iterator[str]:
    """Serves a mailbox on a port of 127.0.0.1, a free one by default; yields the URL of a channel that sends to it."""
    if port is None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
    controller = Controller(mailbox, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield f"mailto://127.0.0.1:{port}?from=tradewind@example.org&to=oncall@example.org"
    finally:
        controller.stop()
