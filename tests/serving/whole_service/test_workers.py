"""A service of two workers, with keys: one view of the counters, one limit, and a worker that is killed."""

import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.traffic.key_file import add_key

pytestmark = pytest.mark.slow

HEADERS: dict[str, str] = {}
NEW = {"trust_env": False, "verify": False}  # a new connection without TLS; loading certificates would take 18 ms


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workers")


@pytest.fixture(scope="module")
def client(market: Any, home: Path) -> Iterator[httpx.Client]:
    market.release(market.settings(home), 1, 0)
    (home / "temporary").mkdir()
    HEADERS["authorization"] = f"Bearer {add_key(home / 'keys.yaml', 'shop', None, None, [])}"
    environment = {
        "TRADEWIND_DATASET": "toy",
        "TRADEWIND_WORKERS": "2",
        "TRADEWIND_ACCESS_LOG": "true",
        "TRADEWIND_API_KEYS_FILE": str(home / "keys.yaml"),
        "TMPDIR": str(home / "temporary"),
    }
    with market.serve("serving.service:Tradewind", home, host="0.0.0.0", **environment) as running:
        market.until(lambda: len(answering(market, running, home)) == 2, (home / "server.log").read_text)
        yield running


def workers(home: Path) -> set[int]:
    """The process ids of the workers."""
    found = set()
    for process in psutil.process_iter():
        try:
            if "--worker-id" in process.cmdline() and process.environ().get("TRADEWIND_HOME") == str(home):
                found.add(process.pid)
        except psutil.Error:
            continue
    return found


def get(client: httpx.Client, path: str, method: str = "GET", **content: Any) -> httpx.Response:
    """The answer over a new connection, which any of the workers may accept."""
    return httpx.request(method, client.base_url.join(path), headers=HEADERS, timeout=10, **NEW, **content)


def answering(market: Any, client: httpx.Client, home: Path) -> set[int]:
    """The workers that answered one of a few requests, each with a champion."""
    ids = [os.urandom(8).hex() for _ in range(8)]
    for request_id in ids:
        answer = httpx.get(client.base_url.join("/health"), headers={"x-request-id": request_id}, **NEW)
        if answer.status_code != 200:
            return set()
    return {line["process"] for line in lines(home) if line.get("request_id") in ids}


def lines(home: Path) -> list[dict[str, Any]]:
    """The JSON lines of the log."""
    return [json.loads(line) for line in (home / "server.log").read_text().splitlines() if line.startswith("{")]


def n_requests(client: httpx.Client) -> set[tuple[float, float, float]]:
    """What several questions, which any of the workers may answer, say about the number of answers."""
    found = set()
    for _ in range(8):
        text = get(client, "/metrics").text
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        counted = sum(sample.value for sample in samples if sample.name == "tradewind_requests_total")
        timed = [sample.value for sample in samples if sample.name == "tradewind_request_duration_seconds_count"]
        found.add((counted, sum(timed), get(client, "/analytics").json()["requests"]))
    return found


def of_processes(client: httpx.Client) -> dict[str, float]:
    """Name -> value of the metrics of the workers' processes, as one of the workers shows them."""
    samples = [s for family in text_string_to_metric_families(get(client, "/metrics").text) for s in family.samples]
    return {s.name: s.value for s in samples if s.name.startswith("tradewind_workers")}


def test_each_worker_shows_the_counts_of_both(client, market, home):
    for n in range(1, 41):
        assert get(client, "/predict", "POST", json={"user_id": 3}).status_code == 200
        if n % 20 == 0:
            assert n_requests(client) == {(n, n, n)}
    assert len({line["process"] for line in lines(home) if line.get("path") == "/predict"}) == 2


def test_each_worker_shows_the_processes_of_both(client, home):
    processes = [psutil.Process(pid) for pid in workers(home)]
    for _ in range(6):
        seconds = sum(sum(process.cpu_times()[:2]) for process in processes)
        shown = of_processes(client)
        assert shown["tradewind_workers"] == 2
        memory = sum(process.memory_info().rss for process in processes)
        assert shown["tradewind_workers_resident_memory_bytes"] == pytest.approx(memory, rel=0.05)
        assert seconds <= shown["tradewind_workers_cpu_seconds_total"]


def test_a_limit_holds_for_both_workers_together(client, home, market):
    limited = {"authorization": f"Bearer {add_key(home / 'keys.yaml', 'limited', 0.001, 12, [])}"}
    url = client.base_url.join("/analytics")

    def status() -> int:
        return httpx.get(url, headers=limited, **NEW).status_code

    # a worker reads the file of keys once a second
    market.until(lambda: 401 not in {status() for _ in range(20)}, "a worker does not accept the new key")
    statuses = [status() for _ in range(60)]
    n_used = [line["status"] for line in lines(home) if line.get("key") == "limited"].count(200)
    assert n_used == 12
    assert set(statuses) <= {200, 429}
    assert statuses.count(429) > 20


def test_a_killed_worker_comes_back_and_its_counts_stay(client, market, home):
    (before,) = n_requests(client)
    processes_before = of_processes(client)
    killed = min(workers(home))
    os.kill(killed, signal.SIGKILL)
    market.until(lambda: len(workers(home) - {killed}) == 2, "the worker did not come back")
    market.until(lambda: len(answering(market, client, home)) == 2, "the new worker does not answer")
    assert n_requests(client) == {before}
    for _ in range(6):
        shown = of_processes(client)
        assert shown["tradewind_workers"] == 2
        assert shown["tradewind_workers_cpu_seconds_total"] >= processes_before["tradewind_workers_cpu_seconds_total"]
    assert get(client, "/predict", "POST", json={"user_id": 3}).status_code == 200
    assert n_requests(client) == {tuple(n + 1 for n in before)}


def test_a_line_of_the_log_has_the_name_of_the_key_and_no_user(client, home):
    answer = get(client, "/predict?x=77001", "POST", json={"user_id": 77001})
    (line,) = [line for line in lines(home) if line.get("request_id") == answer.headers["x-request-id"]]
    assert (line["method"], line["path"], line["status"], line["key"]) == ("POST", "/predict", 200, "shop")
    assert line["milliseconds"] > 0
    text = (home / "server.log").read_text()
    assert "77001" not in text
    assert "needs no key" not in text  # it listens on all addresses, but with keys


def test_a_warning_of_the_server_is_one_line_of_json(client, market, home):
    with socket.create_connection((client.base_url.host, client.base_url.port)) as connection:
        connection.sendall(b"no HTTP\r\n\r\n")
        assert b"400 Bad Request" in connection.recv(1000)
    (line,) = [line for line in lines(home) if line["logger"] == "uvicorn.error"]
    assert (line["level"], line["message"]) == ("warning", "Invalid HTTP request received.")
    assert (home / "server.log").read_text().count("Invalid HTTP request received.") == 1


def test_the_shared_folder_is_removed_with_the_service(market, home, tmp_path):
    environment = {"TRADEWIND_WORKERS": "2", "TMPDIR": str(tmp_path)}
    with market.serve("serving.service:Tradewind", tmp_path / "home", **environment):
        assert len(list(tmp_path.glob("tradewind-workers-*"))) == 1
    assert not list(tmp_path.glob("tradewind-workers-*"))
