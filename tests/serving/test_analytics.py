"""Counters and percentiles, compared with plain arithmetic."""

import threading

import pytest

from serving.analytics import Recorder, percentile


def test_summary_without_requests():
    summary = Recorder().summary()
    assert (summary["requests"], summary["errors"], summary["latency_ms"]["p50"]) == (0, 0, None)


def test_counts_and_percentiles():
    recorder = Recorder()
    for milliseconds in range(1, 101):
        recorder.record(200, float(milliseconds), "history", "3")
    recorder.record(422, 0.5)
    summary = recorder.summary()
    assert (summary["requests"], summary["errors"]) == (101, 1)
    assert summary["statuses"] == {"200": 100, "422": 1}
    assert (summary["strategies"], summary["versions"]) == ({"history": 100}, {"3": 100})
    assert summary["latency_ms"] == {"p50": 50.0, "p95": 95.0, "p99": 99.0}


def test_the_ring_buffer_keeps_the_newest_requests():
    recorder = Recorder(size=10)
    for milliseconds in [1000.0] * 10 + [1.0] * 10:
        recorder.record(200, milliseconds)
    assert recorder.summary()["latency_ms"]["p99"] == 1.0
    assert recorder.summary()["requests"] == 20


def test_concurrent_threads_lose_no_record():
    recorder = Recorder()
    threads = [threading.Thread(target=lambda: [recorder.record(200, 1.0) for _ in range(2000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert recorder.summary()["requests"] == 8000


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1.0), (0.5, 3.0), (1.0, 4.0)])
def test_percentile(share, expected):
    assert percentile([1.0, 2.0, 3.0, 4.0], share) == expected
