"""Alerts for Prometheus: open incidents, and messages that wait or that no channel accepted."""

from collections import Counter
from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from sqlalchemy import Connection, func, select

from monitoring.alerts.outbox import Outbox
from monitoring.alerts.tables import alerts, incidents, messages

STATES = ("waiting", "failed")  # of messages; those that were sent are of no interest here


class OpenAlerts:
    """The figures of one outbox."""

    def __init__(self, url: str) -> None:
        """url: as Outbox takes it. It is opened when it is read first."""
        self._url = url
        self._outbox: Outbox | None = None

    def __call__(self) -> Iterator[Metric]:
        """Yields the metrics. Raises OutboxError."""
        self._outbox = self._outbox or Outbox(self._url)
        opened = GaugeMetricFamily(
            "tradewind_incidents_open", "Incidents whose cause is not over.", labels=["dataset", "cause", "severity"]
        )
        unsent = GaugeMetricFamily(
            "tradewind_alert_messages", "Messages of alerts that no channel has accepted, by state.", labels=["state"]
        )
        with self._outbox.reading() as connection:
            for labels, n_incidents in _open_incidents(connection).items():
                opened.add_metric(labels, n_incidents)
            counted = select(messages.c.state, func.count()).group_by(messages.c.state)
            n_messages = {row.state: row[1] for row in connection.execute(counted)}
        for state in STATES:
            unsent.add_metric([state], n_messages.get(state, 0))
        yield from (opened, unsent)


def _open_incidents(connection: Connection) -> Counter[tuple[str, str, str]]:
    """Data set, cause and severity -> number of open incidents. All alerts of one have the same data set and cause."""
    chosen = (
        select(incidents.c.number, alerts.c.dataset, alerts.c.cause, incidents.c.severity)
        .join(alerts, alerts.c.incident == incidents.c.number)
        .where(incidents.c.resolved_at.is_(None))
        .distinct()
    )
    return Counter((row.dataset, row.cause, row.severity) for row in connection.execute(chosen))
