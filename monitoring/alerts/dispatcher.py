"""The alerts of the platform: a caller sends one or ends one by one call; a round sends what is due.

An alert is on disk before a call returns. Each step of a round is stored before the next one begins, so a killed
process loses no alert. A kill between the acceptance of a message and the mark in the outbox sends this one message
again when its lease is over.
"""

import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path

from monitoring.alerts.alert import Alert, Cause, Message, key_of
from monitoring.alerts.channels import AppriseChannel, Channel, ChannelError, channels_of
from monitoring.alerts.configuration import AlertConfig
from monitoring.alerts.message_text import MessageText
from monitoring.alerts.outbox import Outbox
from monitoring.alerts.planning import plan
from monitoring.alerts.policy import retry_wait
from recommenders.clock import now
from recommenders.errors import ConfigurationError, TradewindError, UnknownNameError

LEASE = timedelta(minutes=5)  # longer than a service may take for one message
ROUND_SECONDS = 40.0  # Dagster ends a tick of a sensor after 60
CALL_SECONDS = 5.0  # that a call of a run may take for a round of its own
TEST_TEXT = MessageText(
    "[test] alerts of Tradewind", "This is a test by `tradewind alerts test`: alerts arrive here.", "info"
)
logger = logging.getLogger("tradewind.alerts")


@dataclass(frozen=True)
class ChannelTest:
    """The result of a test message. address: the service, without secrets. problem: None if it was accepted."""

    channel: str
    address: str
    problem: str | None


@dataclass(frozen=True)
class Round:
    """The numbers of messages that were sent, and that a channel did not accept."""

    sent: int
    failed: int


class AlertDispatcher:
    """The outbox, its configuration and its channels. Any process of the platform may have one."""

    def __init__(self, outbox_url: str, config_file: Path, log_file: Path, clock: Callable[[], datetime] = now) -> None:
        """Opens nothing. clock: the time, UTC."""
        self._outbox_url, self.config_file, self.log_file, self.clock = outbox_url, config_file, log_file, clock

    @cached_property
    def outbox(self) -> Outbox:
        """The outbox, opened at its first use. Raises ConfigurationError and OutboxError."""
        return Outbox(self._outbox_url)

    def send(self, alert: Alert) -> None:
        """Stores an alert, then sends what is due. Raises OutboxError only if the alert is not stored."""
        self.outbox.append(alert)
        self._deliver_now()

    def recover(self, cause: Cause, dataset: str, subject: str = "") -> None:
        """Ends the open incident of a cause, if there is one. Raises OutboxError only if this is not stored."""
        if self.outbox.recover(key_of(cause, dataset, subject), self.clock()):
            self._deliver_now()

    def recover_all(self, cause: Cause, dataset: str) -> None:
        """Ends the open incidents of a cause, whatever their subjects. Raises OutboxError only if one is not stored."""
        for subject in self.outbox.subjects(cause, dataset):
            self.recover(cause, dataset, subject)

    def deliver(self, max_seconds: float = ROUND_SECONDS) -> Round:
        """One round: makes messages, and sends those that are due, until max_seconds are over.

        Raises ConfigurationError if the configuration is not valid: the alerts wait. Raises OutboxError.
        """
        config = AlertConfig.load(self.config_file)
        channels = channels_of(config, self.log_file)
        return deliver(self.outbox, config, channels, self.clock, max_seconds)

    def test(self, name: str | None = None) -> list[ChannelTest]:
        """Sends a test message to one channel, or to all but the log, past the outbox and the policy.

        Raises ConfigurationError if the file is not valid or has no channel of this name.
        """
        config, results = AlertConfig.load(self.config_file), list[ChannelTest]()
        names = [channel.name for channel in config.channels]
        if name is not None and name not in names:
            raise UnknownNameError("channel", name, names)
        for one in config.channels:
            if name in (None, one.name):
                channel, address, problem = AppriseChannel(one), "", None
                try:
                    address = channel.address()
                    channel.send_text(TEST_TEXT)
                except (ChannelError, ConfigurationError) as error:
                    problem = str(error)
                results.append(ChannelTest(one.name, address, problem))
        return results

    def _deliver_now(self) -> None:
        """A round that never stops the caller: the alert is stored, and the next round sends it."""
        try:
            self.deliver(CALL_SECONDS)
        except TradewindError as error:
            logger.error("alerts are stored but not sent: %s", error)


def deliver(
    outbox: Outbox,
    config: AlertConfig,
    channels: Mapping[str, Channel],
    clock: Callable[[], datetime] = now,
    max_seconds: float = ROUND_SECONDS,
) -> Round:
    """One round on an outbox. Raises OutboxError."""
    began, sent, failed = time.monotonic(), 0, 0
    planned_at = -1  # messages sent before the last plan
    while time.monotonic() - began < max_seconds:
        message = outbox.lease(clock(), LEASE, channels)
        if message is None:
            if planned_at == sent:
                break
            planned_at = sent
            plan(outbox, config, clock())  # again after messages were sent: the end of an incident waits for its alert
        elif _send(outbox, message, channels[message.channel], config, clock):
            sent += 1
        else:
            failed += 1
    return Round(sent, failed)


def _send(
    outbox: Outbox, message: Message, channel: Channel, config: AlertConfig, clock: Callable[[], datetime]
) -> bool:
    """Sends a leased message and stores the result; whether the channel accepted it."""
    try:
        channel.send(message, config.runbooks)
    except (ChannelError, ConfigurationError) as error:
        wait = retry_wait(message.attempts, config.retry, random.random())
        outbox.mark_failed(message, str(error), None if wait is None else clock() + wait)
        what = f"message {message.number} to {message.channel} failed, attempt {message.attempts}: {error}"
        logger.log(logging.CRITICAL if wait is None else logging.WARNING, "%s", what)
        return False
    outbox.mark_sent(message, clock())
    return True
