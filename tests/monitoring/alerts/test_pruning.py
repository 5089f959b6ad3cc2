"""Old incidents go with their alerts and messages; what is open, or waits for a channel, stays."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import func, select

from monitoring.alerts.listing import open_incidents, recent_alerts
from monitoring.alerts.outbox import Outbox
from monitoring.alerts.pruning import delete_incidents, ended_incidents
from monitoring.alerts.tables import metadata


def sizes(outbox: Outbox) -> dict[str, int]:
    with outbox.reading() as connection:
        counted = {
            table: connection.scalar(select(func.count()).select_from(table)) for table in metadata.tables.values()
        }
    return {table.name: n or 0 for table, n in counted.items()}


def test_only_incidents_that_are_over_and_reported_go(make_platform: Callable[..., Any]) -> None:
    platform = make_platform(per_hour=None)
    alerts = [platform.alert(dataset=name) for name in ("ended", "open", "unsent")]
    platform.alert(dataset="ended")  # counted only
    platform.round()
    platform.wait(hours=1)
    ended_at = platform.now
    platform.outbox.recover(alerts[0].key, platform.now)
    platform.round()
    before = sizes(platform.outbox)
    platform.mail.refuses = "the server is down"
    platform.outbox.recover(alerts[2].key, platform.now)
    platform.round()
    (found,) = ended_incidents(platform.outbox)
    assert found.at == ended_at
    delete_incidents(platform.outbox, [int(found.name)])
    assert ended_incidents(platform.outbox) == []
    left = sizes(platform.outbox)
    assert left["incidents"] == before["incidents"] - 1
    assert before["alerts"] - left["alerts"] == 3 - 1  # alert, repetition and notice go; the last notice is new
    # the alert and its notice to the mail, and the notice to the log go; the log got all alerts in one message
    assert before["messages"] - left["messages"] == 3 - 2
    assert [incident.key for incident in open_incidents(platform.outbox)] == [alerts[1].key]
    assert {one.key for one in recent_alerts(platform.outbox, 20)} == {alerts[1].key, alerts[2].key}
    platform.mail.refuses = ""
    platform.wait(hours=2)
    platform.round()
    assert len(platform.mail.titles) == 5
    assert [one.at for one in ended_incidents(platform.outbox)] == [ended_at]


def test_a_message_with_an_alert_of_another_incident_stays(make_platform: Callable[..., Any]) -> None:
    platform = make_platform(per_hour=None, group_seconds=60)
    alerts = [platform.alert(dataset=name) for name in ("one", "two")]
    platform.wait(minutes=2)
    platform.round()
    platform.outbox.recover(alerts[0].key, platform.now)
    platform.wait(minutes=2)
    platform.round()
    (found,) = ended_incidents(platform.outbox)
    before = sizes(platform.outbox)
    delete_incidents(platform.outbox, [int(found.name)])
    assert before["messages"] - sizes(platform.outbox)["messages"] == 2  # of the notice; the grouped ones stay
    platform.outbox.recover(alerts[1].key, platform.now)
    platform.wait(minutes=2)
    platform.round()
    delete_incidents(platform.outbox, [int(one.name) for one in ended_incidents(platform.outbox)])
    assert set(sizes(platform.outbox).values()) == {0}
