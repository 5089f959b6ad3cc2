"""What the service counts: requests, lists and latencies, for Prometheus and for the page /analytics.

The names follow Prometheus' conventions. Labels have few values: endpoints, statuses, strategies, and the versions and
rules that served since the start. A path is never a label: any client can send new ones.
"""

import os
import time
from collections import Counter as Counts
from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, values
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from serving.traffic.metrics.queue_figures import QueueFigures
from serving.traffic.metrics.worker_processes import WorkerProcesses
from serving.traffic.shared_folder import STARTED

# seconds; each is 1.6 times the one before, so a percentile is known to a quarter or so
BUCKETS = tuple(round(0.00025 * 1.6**n, 6) for n in range(24))
DURATION = "tradewind_request_duration_seconds"
MAX_RULE_NAMES = 500  # since the start; a file has 100 rules at most
CONTENT_TYPE = CONTENT_TYPE_LATEST

Endpoint = Literal["predict", "predict_batch", "similar"]  # that answer lists


class Metrics:
    """Counts every answer of the endpoints of lists. Threads may share it. One object per process."""

    def __init__(self, folder: Path | None = None) -> None:
        """folder: shared by all workers, each of which then shows the counts of all; None if there is only one.

        Counters in memory are faster than those in files. BentoML chooses files for all processes that it starts.
        """
        self._registry = self._all = CollectorRegistry()
        if folder is None:
            values.ValueClass = values.MutexValue
        else:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)  # read when the first value is made
            values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call]
            self._all = CollectorRegistry()
            MultiProcessCollector(self._all, str(folder))  # type: ignore[no-untyped-call]
        answers = "Answers to POST /predict, POST /predict/batch and GET /similar, by HTTP status."
        self._requests = self._counter("requests", answers, "endpoint", "status")
        lists = "Lists, each of a batch too, by the strategy that made them and the version of the model."
        self._lists = self._counter("lists", lists, "endpoint", "strategy", "version")
        duration = Histogram(
            DURATION,
            "Time inside the service of answers to POST /predict, POST /predict/batch and GET /similar.",
            ("endpoint",),
            registry=self._registry,
            buckets=BUCKETS,
        )
        self._duration_of = {endpoint: duration.labels(endpoint) for endpoint in get_args(Endpoint)}
        self._events = self._counter("events", "Events of POST /events: new ones, and duplicates.", "outcome")
        answers = "Answers of POST /predict for the feedback store: stored, or dropped because it could not be written."
        self._answers = self._counter("answers", answers, "outcome")
        for outcome in ("stored", "dropped"):  # Prometheus sees no increase of a counter that begins above 0
            self._answers.labels(outcome)
        rules = "Effects of the rules of the shop: lists for which a rule was active, and items that it acted on."
        self._rules = self._counter("rule_effects", rules, "rule", "effect")
        self._rule_names: set[str] = set()
        cache_text = "Lists that were looked up in the cache: found, not found, or the cache did not answer."
        self._cache = self._counter("cache_requests", cache_text, "result")
        self.queue = QueueFigures(self._registry, BUCKETS)
        # the counter of a combination of labels; finding it takes longer than counting
        self._request_of, self._list_of = cache(self._requests.labels), cache(self._lists.labels)
        self.add(WorkerProcesses(folder))
        self._since = time.time() if folder is None else (folder / STARTED).stat().st_mtime

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"tradewind_{name}", text, labels, registry=self._registry)

    def add(self, collector: Collector) -> None:
        """Also shows metrics that are read when they are asked for."""
        self._all.register(collector)

    def record_request(self, status: int, seconds: float, endpoint: Endpoint = "predict") -> None:
        """Records one answer of an endpoint."""
        self._request_of(endpoint, status).inc()
        self._duration_of[endpoint].observe(seconds)

    def record_list(self, strategy: str, version: str, endpoint: Endpoint = "predict") -> None:
        """Records one list."""
        self._list_of(endpoint, strategy, version).inc()

    def record_events(self, stored: int, duplicates: int) -> None:
        """Records the events of one request."""
        self._events.labels("stored").inc(stored)
        self._events.labels("duplicate").inc(duplicates)

    def record_answers(self, outcome: str, n_answers: int) -> None:
        """Records answers that were stored or dropped."""
        self._answers.labels(outcome).inc(n_answers)

    def record_rules(self, effects: Mapping[str, Mapping[str, int]]) -> None:
        """Records what the rules did in one list: rule -> effect -> number. Names beyond MAX_RULE_NAMES are "other"."""
        for name, counts in effects.items():
            if len(self._rule_names) < MAX_RULE_NAMES:
                self._rule_names.add(name)
            shown = name if name in self._rule_names else "other"
            for effect, n in counts.items():
                self._rules.labels(shown, effect).inc(n)

    def record_cache(self, result: str) -> None:
        """Records that the cache was asked for a list: "hit", "miss" or "error"."""
        self._cache.labels(result).inc()

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._all)

    def summary(self) -> dict[str, Any]:
        """The figures since the start, JSON-ready. Percentiles are None before the first answer; times are UTC.

        The percentiles are those of POST /predict: the time of a batch is that of its number of lists.
        """
        counts, bounds = self._counts()
        statuses = counts["tradewind_requests_total", "status"]
        seconds = max(time.time() - self._since, 0.0)
        return {
            "requests": statuses.total(),
            "errors": sum(n for status, n in statuses.items() if int(status) >= 400),
            "endpoints": dict(counts["tradewind_requests_total", "endpoint"]),
            "statuses": dict(sorted(statuses.items())),
            "latency_ms": {f"p{percent}": percentile(bounds, percent / 100) for percent in (50, 95, 99)},
            "requests_per_second": round(statuses.total() / max(seconds, 1.0), 3),
            "strategies": dict(counts["tradewind_lists_total", "strategy"]),
            "versions": dict(counts["tradewind_lists_total", "version"]),
            "events": dict(counts["tradewind_events_total", "outcome"]),
            "answers": dict(+counts["tradewind_answers_total", "outcome"]),  # without those that are 0
            "since": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._since)),
            "seconds": round(seconds, 1),
        }

    def _counts(self) -> tuple[defaultdict[tuple[str, str], Counts[str]], list[tuple[float, float]]]:
        """Name of a counter and of a label -> the sum of each value; and the buckets of POST /predict."""
        counts: defaultdict[tuple[str, str], Counts[str]] = defaultdict(Counts)
        bounds: list[tuple[float, float]] = []
        for sample in (sample for metric in self._all.collect() for sample in metric.samples):
            if sample.name.endswith("_total"):
                for label, value in sample.labels.items():
                    counts[sample.name, label][value] += int(sample.value)
            elif sample.name == f"{DURATION}_bucket" and sample.labels["endpoint"] == "predict":
                bounds.append((float(sample.labels["le"]), sample.value))
        return counts, bounds


def percentile(bounds: list[tuple[float, float]], share: float) -> float | None:
    """Milliseconds below which a share of the observations lies, as Prometheus' histogram_quantile computes it.

    bounds: (upper bound of a bucket in seconds, observations up to it), ascending. None without observations.
    """
    total = bounds[-1][1] if bounds else 0
    if not total:
        return None
    rank = share * total
    for (low, below), (high, n) in pairwise([(0.0, 0.0), *bounds]):
        if n >= rank and n > below:
            within = low if high == float("inf") else low + (high - low) * (rank - below) / (n - below)
            return round(within * 1000, 3)
    return None
