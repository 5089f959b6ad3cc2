"""What the service serves and what is wrong with it, for Prometheus. All workers follow the same files.

Times are times, not ages (Prometheus' convention): `time() - tradewind_champion_promoted_timestamp_seconds` is an age.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector


@dataclass(frozen=True)
class ServedVersion:
    """The version that serves. Times: ISO 8601, UTC. trained_until: of the newest event of its log, or None."""

    dataset: str
    model: str
    version: int
    promoted_at: str
    trained_until: str | None


class ServedState(Collector):
    """The state of the worker that is asked."""

    def __init__(self, served: Callable[[], ServedVersion | None], problems: Callable[[], Mapping[str, str]]) -> None:
        """served: None before a champion is loaded. problems: part of the service -> what is wrong, or empty."""
        self._served, self._problems = served, problems

    def collect(self) -> Iterator[Metric]:
        """Yields the metrics. Without a champion those of the champion have no sample."""
        labels = ("dataset", "model", "version")
        info = GaugeMetricFamily("tradewind_champion_info", "The version that serves; always 1.", labels=labels)
        promoted = GaugeMetricFamily(
            "tradewind_champion_promoted_timestamp_seconds", "When the version that serves was promoted."
        )
        trained = GaugeMetricFamily(
            "tradewind_champion_trained_until_timestamp_seconds", "Newest event in the training log of this version."
        )
        if served := self._served():
            info.add_metric([served.dataset, served.model, str(served.version)], 1)
            promoted.add_metric([], unix_seconds(served.promoted_at))
            if served.trained_until:
                trained.add_metric([], unix_seconds(served.trained_until))
        problem = GaugeMetricFamily(
            "tradewind_service_problem", "1 if /health reports a problem with this part, else 0.", labels=["part"]
        )
        for part, text in self._problems().items():
            problem.add_metric([part], bool(text))
        yield from (info, promoted, trained, problem)


def unix_seconds(text: str) -> float:
    """An ISO 8601 time as seconds since 1970. Without a time zone it is UTC."""
    at = datetime.fromisoformat(text)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
