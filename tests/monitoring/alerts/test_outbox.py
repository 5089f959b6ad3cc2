"""One incident, one alert: repetitions are counted, its end is one notice, and two senders never send one message."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from monitoring.alerts.alert import Alert
from monitoring.alerts.listing import channel_states, open_incidents, recent_alerts
from monitoring.alerts.outbox import Outbox, OutboxError
from monitoring.alerts.planning import plan
from recommenders.errors import ConfigurationError

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
LEASE = timedelta(minutes=5)


def test_a_lasting_incident_is_one_alert_a_reminder_and_one_end(platform: Any) -> None:
    for _ in range(30):  # hourly
        platform.alert()
        platform.round()
        platform.wait(hours=1)
    (incident,) = open_incidents(platform.outbox)
    assert (incident.n_alerts, incident.opened_at) == (30, NOON)
    assert incident.last_at == NOON + timedelta(hours=29)
    for _ in range(3):
        platform.outbox.recover("drift/toy", platform.now)
        platform.round()
    assert platform.mail.titles == [
        "[warning] drift in toy",
        "[warning, reminder] drift in toy",
        "[resolved] drift in toy",
    ]
    assert "21 alerts since 2026-03-04 12:00 UTC" in platform.mail.texts[1].body
    over = platform.mail.texts[2].body
    assert "Over at 2026-03-05 18:00 UTC; it began at 2026-03-04 12:00 UTC, with 30 alerts." in over
    assert open_incidents(platform.outbox) == []
    platform.alert()  # a new incident
    platform.round()
    assert platform.mail.titles[3:] == ["[warning] drift in toy"]
    states = [alert.state for alert in recent_alerts(platform.outbox, 99, repetitions=True)]
    assert (states.count("suppressed"), states.count("queued")) == (28, 4)


def test_a_worse_alert_of_an_open_incident_is_sent(platform: Any) -> None:
    for severity in ("warning", "critical", "critical", "warning"):
        platform.alert(severity=severity)
    platform.round()
    assert platform.mail.titles == ["[warning] drift in toy", "[critical] drift in toy"]
    assert open_incidents(platform.outbox)[0].severity == "critical"


def test_a_channel_gets_no_end_of_what_it_did_not_get(make_platform: Callable[..., Any]) -> None:
    platform = make_platform(per_hour=None, group_seconds=60)
    platform.alert(severity="info")  # below the minimum
    platform.outbox.recover("drift/toy", platform.now)
    platform.wait(hours=1)
    platform.round()
    platform.alert()
    platform.round()
    platform.wait(seconds=59)  # over before it is sent
    platform.outbox.recover("drift/toy", platform.now)
    platform.round()
    platform.wait(hours=1)
    platform.round()
    assert platform.mail.titles == []
    kinds = [json.loads(line)["kind"] for line in platform.log_file.read_text().splitlines()]
    assert kinds == ["alert", "resolved"] * 2  # the log has all of it


def test_an_end_waits_until_its_alert_is_sent(platform: Any) -> None:
    platform.mail.refuses = "no answer"
    platform.alert()
    platform.round()
    platform.outbox.recover("drift/toy", platform.now)
    for _ in range(3):
        platform.wait(seconds=5)
        platform.mail.refuses = ""
        platform.round()  # the alert is not due yet
    assert platform.mail.titles == []
    platform.wait(hours=1)
    platform.round()
    assert platform.mail.titles == ["[warning] drift in toy", "[resolved] drift in toy"]


def test_a_cause_that_was_never_reported_is_not_over(platform: Any) -> None:
    assert not platform.outbox.recover("drift/toy", NOON)
    platform.alert()
    assert not platform.outbox.recover("drift/other", NOON)
    assert platform.outbox.recover("drift/toy", NOON)  # also before a round has seen the alert
    assert not platform.outbox.recover("drift/toy", NOON)


def test_an_id_is_stored_once(platform: Any) -> None:
    for _ in range(2):
        platform.alert(id="run 1")
    assert not platform.outbox.append(Alert("", "", "info", "drift", "toy", id="run 1"))
    platform.round()
    assert open_incidents(platform.outbox)[0].n_alerts == 1


def test_two_senders_never_have_one_message(platform: Any) -> None:
    for dataset in ("a", "b"):
        platform.alert(dataset=dataset)
    plan(platform.outbox, platform.config, NOON)
    other = Outbox(str(platform.outbox._engine.url))
    one, two = (box.lease(NOON, LEASE, ["mail"]) for box in (platform.outbox, other))
    assert one
    assert two
    assert one.number != two.number
    assert other.lease(NOON + LEASE - timedelta(seconds=1), LEASE, ["mail"]) is None
    again = other.lease(NOON + LEASE, LEASE, ["mail"])  # the first sender was killed
    assert again
    assert (again.number, again.attempts, again.notices) == (one.number, 2, one.notices)
    platform.outbox.mark_failed(one, "too late", None)  # it was not killed, only slow
    assert channel_states(other, ["mail"])[0].failed == 0
    platform.outbox.mark_sent(one, NOON)
    other.mark_failed(again, "late, too", None)
    assert channel_states(other, ["mail"])[0].sent == 1


def test_messages_of_a_channel_that_was_removed_wait(platform: Any) -> None:
    platform.mail.refuses = "no answer"
    platform.alert()
    platform.round()
    platform.wait(hours=9)
    before = platform.config
    platform.config = platform.config.model_copy(update={"channels": ()})
    mail = platform.channels.pop("mail")
    assert platform.round().failed == 0
    (log, removed) = channel_states(platform.outbox, ["log"])
    assert (log.name, removed.name, removed.waiting) == ("log", "mail", 1)
    platform.config, platform.channels["mail"], platform.mail.refuses = before, mail, ""
    platform.round()
    assert platform.mail.titles == ["[warning] drift in toy"]


def test_an_outbox_that_is_no_database_is_an_error_with_the_cause(tmp_path: Path) -> None:
    (tmp_path / "outbox.db").write_bytes(b"no database" * 100)
    with pytest.raises(OutboxError, match=r"^the outbox of alerts cannot be written: file is not a database"):
        Outbox(f"sqlite:///{tmp_path / 'outbox.db'}")


@pytest.mark.parametrize("url", ["mysql://reader:secret@host/alerts", "sqlite://", "no url"])
def test_a_url_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="allowed: sqlite:///FILE or postgresql://") as error:
        Outbox(url)
    assert "secret" not in str(error.value)


@pytest.mark.slow
def test_postgresql_holds_an_outbox_as_well(postgres: str, make_platform: Callable[..., Any]) -> None:
    platform = make_platform(postgres.replace("${CUSTOM_PASSWORD}", "p%40ss%2Fw%3Ard"), per_hour=None)
    for _ in range(2):
        platform.alert(title="price of \0 rose")
        platform.round()
    platform.outbox.recover("drift/toy", platform.now)
    platform.round()
    assert platform.mail.titles == ["[warning] price of \ufffd rose", "[resolved] price of \ufffd rose"]
    assert recent_alerts(platform.outbox, 9)[0].kind == "resolved"
    assert [state.sent for state in channel_states(platform.outbox, ["log", "mail"])] == [2, 2]
