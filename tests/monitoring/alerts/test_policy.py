"""What is sent, and when, as pure functions."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.alerts.alert import Alert, Severity
from monitoring.alerts.configuration import AlertConfig, QuietHours, RetryConfig
from monitoring.alerts.policy import Incident, Waiting, decide, is_quiet, messages_to_make, retry_wait

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
DAY = timedelta(days=1)
NIGHT = {"begin": "22:00", "end": "07:00"}


def alert(severity: Severity = "warning", hours: float = 0) -> Alert:
    return Alert("drift in toy", "", severity, "drift", "toy", at=NOON + timedelta(hours=hours))


def waiting(*severities: Severity, seconds_ago: float = 0) -> list[Waiting]:
    at = NOON - timedelta(seconds=seconds_ago)
    return [Waiting(number, severity, at) for number, severity in enumerate(severities)]


@pytest.mark.parametrize(
    ("severity", "hours", "kind", "reason"),
    [
        ("warning", 1, None, "repeats the alert of 2026-03-04 12:00 UTC"),
        ("info", 1, None, "repeats"),
        ("critical", 1, "alert", "more severe than before: critical, not warning"),
        ("warning", 23.9, None, "repeats"),
        ("warning", 24, "reminder", "goes on since the last notice of 2026-03-04 12:00 UTC"),
        ("info", 24, "reminder", "goes on"),
    ],
)
def test_an_alert_of_an_open_incident_is_sent_if_it_is_worse_or_a_reminder_is_due(
    severity: Severity, hours: float, kind: str | None, reason: str
) -> None:
    found = decide(alert(severity, hours), Incident("warning", NOON, 1), DAY)
    assert found.kind == kind
    assert found.reason.startswith(reason)


def test_an_alert_without_an_open_incident_is_new() -> None:
    assert decide(alert("info"), None, DAY) == ("alert", "new")


@pytest.mark.parametrize(("clock", "quiet"), [("21:59", False), ("22:00", True), ("06:59", True), ("07:00", False)])
def test_quiet_hours_may_include_midnight(clock: str, quiet: bool) -> None:
    now = datetime.fromisoformat(f"2026-03-04T{clock}+00:00")
    assert is_quiet(now, QuietHours.model_validate(NIGHT)) is quiet
    day = QuietHours.model_validate({"begin": NIGHT["end"], "end": NIGHT["begin"]})
    assert is_quiet(now, day) is not quiet
    assert not is_quiet(now, None)


def test_quiet_hours_are_in_their_time_zone() -> None:
    hours = QuietHours.model_validate(NIGHT | {"time_zone": "Europe/Berlin"})
    assert is_quiet(datetime(2026, 1, 5, 21, tzinfo=UTC), hours)  # 22:00 in winter
    assert not is_quiet(datetime(2026, 1, 5, 20, 59, tzinfo=UTC), hours)
    assert is_quiet(datetime(2026, 7, 5, 20, tzinfo=UTC), hours)  # 22:00 in summer


def test_alerts_that_come_within_the_time_are_one_message() -> None:
    config = AlertConfig(group_seconds=30)
    assert messages_to_make(waiting("info", "critical", seconds_ago=29), 0, NOON, config) == []
    old, new = waiting("info", seconds_ago=30), waiting("critical")
    assert messages_to_make([*old, *new], 0, NOON, config) == [[*old, *new]]


@pytest.mark.parametrize("held", ["quiet hours", "limit"])
def test_quiet_hours_and_the_limit_hold_all_but_critical_alerts(held: str) -> None:
    night = {"begin": "11:00", "end": "13:00"} if held == "quiet hours" else None
    config = AlertConfig.model_validate({"group_seconds": 0, "per_hour": 2, "quiet_hours": night})
    n_made = 2 if held == "limit" else 0
    warning, critical = waiting("warning", "critical")
    assert messages_to_make([warning, critical], n_made, NOON, config) == [[critical]]
    assert messages_to_make([warning], n_made, NOON, config) == []


def test_the_last_message_of_an_hour_has_all_that_is_left() -> None:
    config = AlertConfig(group_seconds=0, per_hour=4)
    one, two, three, four = waiting("info", "info", "info", "info")
    assert messages_to_make([one, two], 2, NOON, config) == [[one], [two]]
    assert messages_to_make([one, two, three, four], 2, NOON, config) == [[one], [two, three, four]]
    assert messages_to_make([one, two, three, four], 3, NOON, config) == [[one, two, three, four]]
    no_limit = AlertConfig(group_seconds=0, per_hour=None)
    assert messages_to_make([one, two], 10**6, NOON, no_limit) == [[one], [two]]


@given(
    st.lists(st.sampled_from(["info", "warning", "critical"]), max_size=30),
    st.integers(0, 12),
    st.sampled_from([0, 30]),
    st.sampled_from([None, 1, 10]),
)
def test_no_alert_is_in_two_messages_and_no_critical_one_is_held(
    severities: list[Severity], n_made: int, group_seconds: float, per_hour: int | None
) -> None:
    config = AlertConfig(group_seconds=group_seconds, per_hour=per_hour)
    found = waiting(*severities, seconds_ago=60)
    made = messages_to_make(found, n_made, NOON, config)
    sent = [one for message in made for one in message]
    assert len(sent) == len(set(sent))
    assert {one for one in found if one.severity == "critical"} <= set(sent) <= set(found)
    assert all(made)
    if per_hour is not None:
        assert len(made) <= max(1, per_hour - n_made)


def test_waits_double_up_to_the_longest_and_end_after_the_last_attempt() -> None:
    config = RetryConfig(attempts=5, first_seconds=10, longest_seconds=50)
    waits = [retry_wait(attempts, config, 0.0) for attempts in range(1, 6)]
    assert waits == [timedelta(seconds=s) for s in (10, 20, 40, 50)] + [None]
    assert retry_wait(2, config, 0.5) == timedelta(seconds=15)
    assert retry_wait(999, RetryConfig(attempts=1000), 0.0) == timedelta(hours=1)
