"""Publishes readings for Prometheus. A reading that fails is logged and shown, and stops no other reading."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

Reading = Callable[[], Iterable[Metric]]

log = logging.getLogger(__name__)


class Readings(Collector):
    """Named readings, each made when Prometheus asks."""

    def __init__(self, readings: Mapping[str, Reading]) -> None:
        self._readings = readings
        self._faults: dict[str, str] = {}  # of the last time, so that a lasting one is logged once

    def describe(self) -> Iterator[Metric]:
        """Nothing, so that nothing is read before Prometheus asks."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Yields the metrics of all readings, and whether each of them succeeded."""
        success = GaugeMetricFamily(
            "tradewind_reading_success", "1 if this part of the figures could be read, else 0.", labels=["reading"]
        )
        for name, reading in self._readings.items():
            try:
                metrics = list(reading())
            except Exception as error:  # any library that reads may raise its own
                self._report(name, repr(error))
                success.add_metric([name], 0)
            else:
                self._faults.pop(name, None)
                success.add_metric([name], 1)
                yield from metrics
        yield success

    def _report(self, name: str, fault: str) -> None:
        if self._faults.get(name) != fault:
            log.error("the figures of %s cannot be read: %s", name, fault)
        self._faults[name] = fault


def registry_of(readings: Mapping[str, Reading]) -> CollectorRegistry:
    """What the exporter shows: the readings, and the figures of its own process under Prometheus' names."""
    registry = CollectorRegistry()
    registry.register(Readings(readings))
    ProcessCollector(registry=registry)
    return registry
