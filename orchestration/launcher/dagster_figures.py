"""Dagster's figures for Prometheus, asked of its web server: runs by status, and heartbeats of the daemon.

This module imports no Dagster: the process that publishes figures stays small.
"""

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from recommenders.errors import TradewindError

SECONDS = 5  # that an answer may take; Prometheus waits 10
STATUSES = (
    *("QUEUED", "NOT_STARTED", "STARTING", "STARTED", "SUCCESS", "FAILURE", "CANCELING", "CANCELED"),
    *("MANAGED", "SUSPENDED"),
)
QUERY = f"""{{
  instance {{ daemonHealth {{ allDaemonStatuses {{ daemonType lastHeartbeatTime }} }} }}
  {" ".join(f"{s}: runsOrError(filter: {{statuses: [{s}]}}, limit: 0) {{ ... on Runs {{ count }} }}" for s in STATUSES)}
}}"""


class DagsterFiguresError(TradewindError):
    """Dagster's web server did not answer the query."""


class DagsterFigures:
    """The figures of the Dagster at a URL."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/graphql"
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # it is on this machine

    def __call__(self) -> Iterator[Metric]:
        """Yields the metrics. Raises OSError if Dagster is not reached, DagsterFiguresError for another answer."""
        data = self._ask()
        runs = GaugeMetricFamily("tradewind_runs", "Runs that Dagster has stored, by status.", labels=["status"])
        for status in STATUSES:
            runs.add_metric([status.lower()], data[status]["count"])
        heartbeat = GaugeMetricFamily(
            "tradewind_daemon_heartbeat_timestamp_seconds", "Last sign of each part of the daemon.", labels=["daemon"]
        )
        for daemon in data["instance"]["daemonHealth"]["allDaemonStatuses"]:
            if daemon["lastHeartbeatTime"] is not None:
                heartbeat.add_metric([daemon["daemonType"].lower()], daemon["lastHeartbeatTime"])
        yield from (runs, heartbeat)

    def _ask(self) -> dict[str, Any]:
        request = urllib.request.Request(
            self._url, json.dumps({"query": QUERY}).encode(), {"Content-Type": "application/json"}
        )
        with self._opener.open(request, timeout=SECONDS) as answer:
            content = json.load(answer)
        if "errors" in content:
            raise DagsterFiguresError(f"{self._url} refused the query: {content['errors'][0]['message']}")
        data: dict[str, Any] = content["data"]
        return data
