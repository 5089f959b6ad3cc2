"""Counters and percentiles, compared with plain arithmetic; the text as Prometheus reads it."""

import multiprocessing
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import values
from prometheus_client.parser import text_string_to_metric_families

from serving.traffic.metrics.counters import BUCKETS, Metrics, percentile
from serving.traffic.shared_folder import STARTED


def test_summary_without_requests():
    summary = Metrics().summary()
    assert (summary["requests"], summary["errors"], summary["latency_ms"]["p50"]) == (0, 0, None)


def test_answers_are_counted_by_status_strategy_and_version():
    metrics = Metrics()
    for _ in range(100):
        metrics.record_request(200, 0.001)
        metrics.record_list("history", "3")
    metrics.record_request(200, 0.001)
    metrics.record_list("popularity", "4")
    metrics.record_request(422, 0.0005)
    summary = metrics.summary()
    assert (summary["requests"], summary["errors"]) == (102, 1)
    assert summary["statuses"] == {"200": 101, "422": 1}
    assert summary["strategies"] == {"history": 100, "popularity": 1}
    assert summary["versions"] == {"3": 100, "4": 1}
    assert summary["endpoints"] == {"predict": 102}


def test_the_endpoints_are_counted_apart_and_the_latency_is_that_of_predict():
    metrics = Metrics()
    metrics.record_request(200, 0.001)
    metrics.record_list("known_user", "7")
    metrics.record_request(200, 1.0, "predict_batch")
    for _ in range(3):
        metrics.record_list("known_user", "7", "predict_batch")
    metrics.record_request(404, 0.5, "similar")
    metrics.record_list("orders", "7", "similar")
    summary = metrics.summary()
    assert (summary["requests"], summary["errors"], summary["statuses"]) == (3, 1, {"200": 2, "404": 1})
    assert summary["endpoints"] == {"predict": 1, "predict_batch": 1, "similar": 1}
    assert (summary["strategies"], summary["versions"]) == ({"known_user": 4, "orders": 1}, {"7": 5})
    assert summary["latency_ms"]["p99"] < 2
    text = metrics.exposition().decode()
    assert 'tradewind_lists_total{endpoint="predict_batch",strategy="known_user",version="7"} 3.0' in text
    assert 'tradewind_requests_total{endpoint="similar",status="404"} 1.0' in text
    assert 'tradewind_request_duration_seconds_sum{endpoint="similar"} 0.5' in text


def test_percentiles_are_within_a_bucket_of_the_exact_ones():
    metrics, rng = Metrics(), np.random.default_rng(0)
    seconds = rng.lognormal(-6, 1, size=5000)
    for value in seconds:
        metrics.record_request(200, float(value))
    for name, found in metrics.summary()["latency_ms"].items():
        exact = np.quantile(seconds, int(name[1:]) / 100) * 1000
        assert exact / 1.6 < found < exact * 1.6


def test_buckets_reach_from_below_a_millisecond_to_beyond_the_time_limit_of_a_request():
    assert BUCKETS[0] < 0.0005
    assert BUCKETS[-1] > 5


@pytest.mark.parametrize(("share", "expected"), [(0.25, 500.0), (0.5, 1000.0), (0.75, 2000.0), (0.95, 3000.0)])
def test_a_percentile_is_interpolated_within_its_bucket(share, expected):
    """Half of the values are up to 1 second, a quarter up to 2, a fifth up to 3; above, the last bound is given."""
    bounds = [(1.0, 50.0), (2.0, 75.0), (3.0, 95.0), (float("inf"), 100.0)]
    assert percentile(bounds, share) == expected
    assert percentile(bounds, 0.99) == 3000.0


def test_concurrent_threads_lose_no_record():
    metrics = Metrics()
    threads = [
        threading.Thread(target=lambda: [metrics.record_request(200, 0.001) for _ in range(2000)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert metrics.summary()["requests"] == 8000


def test_prometheus_reads_the_exposition():
    metrics = Metrics()
    metrics.record_request(200, 0.001)
    metrics.record_list("known_user", "7")
    text = metrics.exposition().decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    lists = next(one for one in families["tradewind_lists"].samples if one.name == "tradewind_lists_total")
    assert (lists.labels, lists.value) == ({"endpoint": "predict", "strategy": "known_user", "version": "7"}, 1.0)


def count_some(folder: Path, n: int) -> None:
    metrics = Metrics(folder)
    for _ in range(n):
        metrics.record_request(200, 0.001)
        metrics.record_list("history", "3")


def shown(folder: Path) -> dict[str, Any]:
    return Metrics(folder).summary()


def test_processes_share_their_counts_also_those_that_ended(tmp_path):
    (tmp_path / STARTED).touch()
    with multiprocessing.get_context("spawn").Pool(2, maxtasksperchild=1) as pool:
        pool.starmap(count_some, [(tmp_path, 10), (tmp_path, 20), (tmp_path, 30)], chunksize=1)
        summary = pool.apply(shown, (tmp_path,))
    assert (summary["statuses"], summary["strategies"]) == ({"200": 60}, {"history": 60})
    assert 0.5 < summary["latency_ms"]["p50"] < 1.6


def test_one_worker_counts_in_memory_although_bentoml_chooses_files(tmp_path, monkeypatch):
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    monkeypatch.setattr(values, "ValueClass", values.MultiProcessValue())
    metrics = Metrics()
    metrics.record_request(200, 0.001)
    assert metrics.summary()["requests"] == 1
    assert not list(tmp_path.iterdir())


def test_rules_beyond_the_limit_are_counted_together(monkeypatch):
    monkeypatch.setattr("serving.traffic.metrics.counters.MAX_RULE_NAMES", 2)
    metrics = Metrics()
    for name in ("a", "b", "c", "d", "a"):
        metrics.record_rules({name: {"lists": 1, "items": 3}})
    text = metrics.exposition().decode()
    for name, n in (("a", 6), ("b", 3), ("other", 6)):
        assert f'tradewind_rule_effects_total{{effect="items",rule="{name}"}} {n}.0' in text
    assert 'rule="c"' not in text
