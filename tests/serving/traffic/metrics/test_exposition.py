"""GET /metrics of a real worker: exactly the metrics of docs/metrics.md; the figures of champion and processes."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from recommenders.models.popularity import Popularity
from serving.champion.pointer import fingerprint, read_pointer, write_pointer
from serving.champion.watcher import ChampionWatcher
from serving.endpoints.worker import Worker
from serving.traffic.metrics.worker_processes import GAUGES, WorkerProcesses

PROMOTED, TRAINED = 1_767_225_600.0, 1_782_840_661.5  # 2026-01-01T00:00:00, 2026-06-30T17:31:01.500000, UTC


@pytest.fixture
def worker(market: Any, tmp_path: Path) -> Worker:
    """A worker that serves a champion with a provenance, after one of everything that is counted."""
    settings = market.settings(tmp_path)
    folder = market.release(settings, 7, 0)
    model = Popularity().fit(market.log())
    model.provenance["trained_until"] = "2026-06-30T17:31:01.500000"
    model.save(folder)
    pointer = read_pointer(settings.pointer)
    assert pointer is not None
    write_pointer(settings.pointer, replace(pointer, bundle_sha256=fingerprint(folder)))
    found = Worker()
    found.watcher = ChampionWatcher(settings.pointer)
    found.watcher.poll()
    for count in (
        lambda m: m.record_request(200, 0.001),
        lambda m: m.record_list("known_user", "7"),
        lambda m: m.record_events(1, 0),
        lambda m: m.record_rules({"no-tools": {"lists": 1}}),
        lambda m: m.record_cache("hit"),
    ):
        count(found.metrics)
    return found


def families(worker: Worker) -> dict[str, Any]:
    """Name, as in a line # TYPE, -> type and samples. The times at which a counter began are left out."""
    found = text_string_to_metric_families(worker.metrics.exposition().decode())
    return {
        family.name + "_total" * (family.type == "counter"): family
        for family in found
        if not family.name.endswith("_created")
    }


def test_the_page_of_the_metrics_has_all_of_them_with_their_labels(
    worker: Worker, documented_metrics: Callable[[str], dict[str, Any]]
) -> None:
    shown, documented = families(worker), documented_metrics("service")
    assert shown.keys() == documented.keys()
    for name, family in shown.items():
        assert family.type == documented[name].kind, name
        assert family.samples, name
        for sample in family.samples:
            assert sample.labels.keys() - {"le"} == documented[name].labels, name


@pytest.fixture
def in_new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The clock of the machine is not in UTC."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("in_new_york")
def test_the_champion_is_the_one_of_the_pointer_with_its_times(worker: Worker) -> None:
    shown = families(worker)
    (info,) = shown["tradewind_champion_info"].samples
    assert (info.labels, info.value) == ({"dataset": "toy", "model": "popularity", "version": "7"}, 1.0)
    assert shown["tradewind_champion_promoted_timestamp_seconds"].samples[0].value == PROMOTED
    assert shown["tradewind_champion_trained_until_timestamp_seconds"].samples[0].value == TRAINED


def test_without_a_champion_it_has_no_value_and_is_a_problem(tmp_path: Path) -> None:
    worker = Worker()
    worker.watcher = ChampionWatcher(tmp_path / "none.json")
    worker.watcher.poll()
    shown = families(worker)
    assert all(not shown[name].samples for name in shown if name.startswith("tradewind_champion_"))
    problems = {sample.labels["part"]: sample.value for sample in shown["tradewind_service_problem"].samples}
    assert problems == {"champion": 1.0, "events": 0.0, "api_keys": 0.0, "catalogue": 0.0, "rules": 0.0}


def test_one_worker_shows_its_own_process() -> None:
    workers, memory, seconds = (metric.samples[0].value for metric in WorkerProcesses(None).collect())
    process = psutil.Process()
    assert workers == 1
    assert memory == pytest.approx(process.memory_info().rss, rel=0.1)
    assert 0 < seconds <= sum(process.cpu_times()[:2])


def test_several_workers_are_summed_and_one_that_ended_only_keeps_its_processor_time(tmp_path: Path) -> None:
    """The parent of this process is not that of the other one, so only this process and its memory are compared."""
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    for pid in (os.getpid(), other.pid):
        (tmp_path / f"{GAUGES}{pid}.db").touch()
    shown = WorkerProcesses(tmp_path)
    both, memory_of_both, _ = (metric.samples[0].value for metric in shown.collect())
    other.communicate(b"\n")
    one, memory_of_one, seconds = (metric.samples[0].value for metric in shown.collect())
    assert (both, one) == (2, 1)
    assert 0 < memory_of_one < memory_of_both
    ended = psutil.Process(os.getppid()).cpu_times()
    assert seconds >= ended.children_user + ended.children_system
    assert [path.name for path in tmp_path.iterdir()] == [f"{GAUGES}{os.getpid()}.db"]
