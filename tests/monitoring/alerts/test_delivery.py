"""Each alert arrives once, whatever fails; what does not arrive stays visible."""

import importlib
import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from measuring.service.mail_server import Mailbox, mail_server

from monitoring.alerts.alert import Alert
from monitoring.alerts.channels import AppriseChannel
from monitoring.alerts.configuration import ChannelConfig
from monitoring.alerts.dispatcher import AlertDispatcher, deliver
from monitoring.alerts.listing import channel_states, recent_alerts


def test_every_alert_arrives_once_through_a_server_that_fails(
    make_platform: Callable[..., Any], pick_port: Callable[[], int]
) -> None:
    mailbox, platform = Mailbox(failing=0.5, seed=3), make_platform(per_hour=None)
    datasets = [f"shop{n}" for n in range(6)]
    for dataset in datasets:
        platform.alert(title=f"drift in {dataset}", dataset=dataset)
    with mail_server(mailbox, pick_port()) as url:
        platform.channels["mail"] = AppriseChannel(ChannelConfig(name="mail", url=url))
        for _ in range(8):
            platform.round()
            platform.wait(hours=1)
    assert mailbox.failures > 1
    assert Counter(title for title, _ in mailbox.accepted) == {f"[warning] drift in {one}": 1 for one in datasets}


@pytest.mark.slow
def test_a_killed_sender_loses_no_alert_and_doubles_at_most_one() -> None:
    lost, doubled = importlib.import_module("alerts").kills(quick=True)
    assert (lost["ours"], doubled["ours"]) == (0, 1)
    assert lost["note"].startswith("6 kills")
    assert lost["note"].endswith("; 1 arrived twice")  # killed after the server had accepted it


def test_a_message_is_tried_with_longer_waits_and_stays_as_failed(
    make_platform: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    platform = make_platform(retry={"attempts": 3, "first_seconds": 60, "longest_seconds": 600})
    platform.mail.refuses = "no such mailbox"
    platform.alert()
    assert platform.round().failed == 1
    assert platform.round().failed == 0  # not due yet
    for seconds in (60, 120):
        platform.wait(seconds=seconds)
        assert platform.round().failed == 1
    state = channel_states(platform.outbox, ["mail"])[0]
    assert (state.waiting, state.failed, state.problem, state.next_attempt) == (0, 1, "no such mailbox", None)
    assert caplog.records[-1].levelno == logging.CRITICAL
    assert "failed, attempt 3: no such mailbox" in caplog.text
    platform.wait(days=1)
    platform.mail.refuses = ""
    assert platform.round().sent == 0
    assert platform.outbox.retry_failed(platform.now) == 1
    assert platform.round().sent == 1
    assert platform.mail.titles == ["[warning] drift in toy"]


def test_one_channel_that_fails_holds_up_no_other(platform: Any) -> None:
    platform.mail.refuses = "no answer"
    platform.alert()
    assert (platform.round().sent, platform.log_file.exists()) == (1, True)


def test_a_group_is_one_message_with_the_most_severe_first(make_platform: Callable[..., Any]) -> None:
    platform = make_platform(group_seconds=30)
    for n in range(120):
        platform.alert(f"drift in shop{n}", "critical" if n == 119 else "warning", f"shop{n}")
    platform.wait(seconds=30)
    platform.round()
    (text,) = platform.mail.texts
    assert text.title.startswith("[critical] 120 alerts: drift in shop119; drift in shop0; ")
    assert len(text.title) < 250
    assert text.severity == "critical"
    assert text.body.startswith("[critical] drift in shop119\nprices moved\nWhat to do: ")
    assert text.body.count("What to do: ") == 10
    assert "\n\nand 20 more: tradewind alerts list\n\n" in text.body


def test_a_configuration_that_is_not_valid_stops_neither_the_caller_nor_the_alert(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "alerts.yaml"
    file.write_text("chanels: []")
    alerts = AlertDispatcher(f"sqlite:///{tmp_path / 'outbox.db'}", file, tmp_path / "alerts.jsonl")
    alerts.send(Alert("prices moved", "", "warning", "drift", "toy"))
    assert "alerts are stored but not sent: " in caplog.text
    assert [alert.state for alert in recent_alerts(alerts.outbox, 9)] == ["new"]
    file.write_text("")
    assert alerts.deliver().sent == 1


def test_a_round_ends_with_its_time(platform: Any) -> None:
    platform.alert()
    done = deliver(platform.outbox, platform.config, platform.channels, lambda: platform.now, max_seconds=0)
    assert (done.sent, done.failed) == (0, 0)
    assert platform.round().sent == 2
