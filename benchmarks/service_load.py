"""Measures the service as it is deployed: a Bento of hybrid_learned on custom_b2b under load from wrk.

    python benchmarks/service_load.py [--seconds 10] [--no-peers] [--quick] [--json]

The Bento (5,000 items, 2,000 users) runs on one core with its feedback store, its counters and an API key; wrk runs on
the other core. In the same run BentoML as it comes and FastAPI with uvicorn serve the same predictor with the same
precomputed lists, in turns with ours: the machine is slower in some minutes than in others. Rows: lists of known users,
lists that the model makes (a history in each request), events in batches of 100, the longest stall, start and memory of
the worker. Needs wrk (apt-get install wrk) and two cores.
"""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import psutil
from measuring import result_table
from measuring.benchmark_tasks import benchmark_task
from measuring.fitted_models import fitted
from peers.environments import HERE, PROCESS, PeerError, environment, pinned, python_of
from predict_path import FLAGSHIP

from recommenders.models.recommender import Recommender
from recommenders.training.configuration import TrainingConfig
from serving.champion.pointer import Pointer, fingerprint, write_pointer
from serving.lists import precomputed
from serving.lists.served_lists import ServedLists
from serving.release import bento
from serving.settings import PROJECT, ServingSettings
from serving.traffic.key_file import add_key

LOAD = Path(__file__).parent / "measuring" / "service" / "wrk.lua"
SERVER_CORE, LOAD_CORE = "0", "1"
BATCH = 100  # events of a request
TURNS = 3  # of ours and a peer
AGAINST_PEERS = (
    ("known users, 32 connections", "known", 32),
    ("lists made by the model, 8 connections", "live", 8),
)
N_BODIES = 5_000


@dataclass(frozen=True)
class Load:
    """The result of one run of wrk."""

    per_second: float
    p50: float  # milliseconds
    p99: float
    longest: float
    note: str  # about refused and failed requests


@dataclass(frozen=True)
class Service:
    """How our Bento is started."""

    command: Sequence[str]
    environment: Mapping[str, str]
    key: str

    @classmethod
    def of(cls, settings: ServingSettings) -> "Service":
        """Builds the Bento, and adds a key."""
        assert settings.api_keys_file
        key = add_key(settings.api_keys_file, "benchmark", None, None, [])
        environment = {
            "BENTOML_HOME": str(settings.bentoml_home),
            "TRADEWIND_API_KEYS_FILE": str(settings.api_keys_file),
            "TRADEWIND_HOME": str(settings.home / "served"),
        }
        return cls([sys.executable, "-m", "bentoml", "serve", bento.build(settings).tag], environment, key)

    def with_new_home(self, name: str) -> dict[str, str]:
        """The environment of one that has no events yet."""
        return {**self.environment, "TRADEWIND_HOME": f"{self.environment['TRADEWIND_HOME']}-{name}"}


def main() -> None:
    """Prints a table, and with --json a last line for programs."""
    parser = result_table.arguments(__doc__)
    parser.add_argument("--seconds", type=int, default=10, help="of each load")
    options = parser.parse_args()
    if not shutil.which("wrk"):
        raise SystemExit("wrk is not installed; apt-get install wrk")
    started = time.perf_counter()
    seconds = 1 if options.quick else options.seconds
    print(result_table.HEAD)
    with TemporaryDirectory() as folder:
        settings, model = release(Path(folder), 0.1 if options.quick else 1.0)
        bodies = write_bodies(Path(folder), model)
        service = Service.of(settings)
        rows = list(own_rows(service, bodies, seconds))
        peers: dict[str, str] = {}
        if not options.no_peers:
            peers = {"bentoml": bento.installed("bentoml"), "fastapi": pinned("fastapi")}
            rows += peer_rows(settings, service, bodies, 1 if options.quick else seconds // 2)
    whole = not options.quick and not options.no_peers and options.seconds >= parser.get_default("seconds")
    result_table.finish("service_load", rows, started, options.as_json, peers, whole)


def release(home: Path, scale: float, name: str = FLAGSHIP) -> tuple[ServingSettings, Recommender]:
    """A home with a model as the champion of custom_b2b, its lists, and an API key."""
    task = benchmark_task("custom_b2b", scale=scale)
    model = fitted(name, task, TrainingConfig())
    assert isinstance(model, Recommender)
    settings = ServingSettings(home=home, dataset="custom_b2b", api_keys_file=home / "keys.yaml")
    bundle = model.save(settings.champions / "custom_b2b" / "1")
    digest = fingerprint(bundle)
    precomputed.write(bundle, digest, ServedLists(model))
    write_pointer(
        settings.pointer, Pointer("custom_b2b", model.name, 1, "custom_b2b/1", digest, "2026-01-01T00:00:00+00:00", "")
    )
    return settings, model


def write_bodies(folder: Path, model: Recommender) -> dict[str, Path]:
    """The bodies of each kind of load: one JSON object a line."""
    rng = random.Random(0)
    users, items = model.users_.ids.tolist(), model.items_.ids.tolist()

    def known(number: int) -> dict[str, Any]:
        return {"user_id": int(users[number % len(users)]), "n_recommendations": 10}

    def with_history(number: int) -> dict[str, Any]:
        return known(number) | {"history": [int(item) for item in rng.sample(items, 3)]}

    def events(number: int) -> dict[str, Any]:
        kinds = ("impression", "click", "cart", "purchase")
        return {
            "events": [
                {
                    "event_id": f"@-{number}-{place}",
                    "event": rng.choice(kinds),
                    "user_id": int(rng.choice(users)),
                    "item_id": int(rng.choice(items)),
                }
                for place in range(BATCH)
            ]
        }

    made = {}
    for name, make, n_bodies in (("known", known, N_BODIES), ("live", with_history, N_BODIES), ("events", events, 50)):
        made[name] = folder / f"{name}.jsonl"
        made[name].write_text("".join(json.dumps(make(number)) + "\n" for number in range(n_bodies)))
    return made


def own_rows(service: Service, bodies: Mapping[str, Path], seconds: int) -> Iterator[dict[str, Any]]:
    """The rows of our Bento, and of two workers of it."""
    began, key = time.perf_counter(), service.key
    with server(service.command, service.environment, SERVER_CORE) as (url, process):
        yield shown("worker healthy after its start", "seconds", time.perf_counter() - began, floor=5, low=True)
        for what, kind, connections, bounds in (
            ("known users, 1 connection", "known", 1, {"p50": (0.5, None), "p99": (2.0, None)}),
            ("known users, 32 connections", "known", 32, {"per_second": (4000, 5000)}),
            ("lists made by the model, 1 connection", "live", 1, {"p50": (1.5, None)}),
            ("lists made by the model, 8 connections", "live", 8, {"per_second": (500, 1000)}),
        ):
            yield from load_rows(what, load(url, bodies[kind], connections, seconds, key), bounds)
        yield shown("memory of the worker, after these lists", "MiB", memory_of(process), floor=250, low=True)
        found = load(url, bodies["events"], 4, seconds, key, path="/events")
        yield shown(
            "events in batches of 100, stored", "events/s", found.per_second * BATCH, floor=20_000, note=found.note
        )
        n_events = found.per_second * BATCH * seconds
        note = f"{n_events / 1e6:.1f} million events, of which it holds the newest 200 of each user"
        found = load(url, bodies["known"], 1, 6 * seconds, key)
        yield shown("longest answer, 1 connection, six times as long", "ms", found.longest, floor=50, low=True)
        yield shown("memory of the worker, after these events", "MiB", memory_of(process), low=True, note=note)
    yield two_workers(service, bodies["known"], max(1, seconds // 2))


def two_workers(service: Service, bodies: Path, seconds: int) -> dict[str, Any]:
    """The row of two workers against one, in turns. wrk runs on the same two cores and takes some of the second."""
    both, pairs = f"{SERVER_CORE},{LOAD_CORE}", []
    for turn in range(TURNS):
        rates = []
        for n_workers, cores in ((1, SERVER_CORE), (2, both)):
            own = service.with_new_home(f"workers-{n_workers}-{turn}") | {"TRADEWIND_WORKERS": str(n_workers)}
            with server(service.command, own, cores) as (url, _):
                rates.append(load(url, bodies, 32, seconds, service.key, cores=both))
        pairs.append((rates[1], rates[0]))
    pairs.sort(key=lambda pair: ratio_of(*pair))
    two, one = pairs[len(pairs) // 2]
    what = "known users, 32 connections, two workers"
    line = result_table.row(what, "requests/s", two.per_second, ("one worker", one.per_second), 1.8, on="ratio")
    line["note"] = f"wrk shares the two cores with them; in {TURNS} turns {ratios_of(pairs)}"
    result_table.show(line)
    return line


def memory_of(process: psutil.Process) -> float:
    """MiB of the worker of a server."""
    return float(worker_of(process).memory_info().rss) / 2**20


def worker_of(process: psutil.Process) -> psutil.Process:
    """The process that answers requests, of those that a server has started: the one with the most memory."""
    return max(process.children(recursive=True), key=lambda child: child.memory_info().rss)


def peer_rows(
    settings: ServingSettings, service: Service, bodies: Mapping[str, Path], seconds: int
) -> Iterator[dict[str, Any]]:
    """The rows of the other servers. Each takes turns with ours, and the median of the ratios counts."""
    bundle = settings.champions / "custom_b2b" / "1"
    own = {"BUNDLE": str(bundle), "PYTHONPATH": f"{PROJECT}:{PROCESS}", "BENTOML_HOME": str(settings.home / "stock")}
    uvicorn = [str(python_of("fastapi")), "-m", "uvicorn", "app:app", "--log-level", "error"]
    servers = {
        "BentoML as it comes": ("bentoml", [sys.executable, "-m", "bentoml", "serve", "service:Stock"], 5.0),
        "FastAPI, uvicorn": ("fastapi", uvicorn, 1.2),
    }
    for name, (peer, command, floor) in servers.items():
        turns = []
        for turn in range(TURNS):
            with server(service.command, service.with_new_home(f"{peer}-{turn}"), SERVER_CORE) as (url, _):
                ours = [load(url, bodies[kind], n, seconds, service.key) for _, kind, n in AGAINST_PEERS]
            with server(command, own, SERVER_CORE, cwd=HERE / peer) as (url, _):
                turns.append((ours, [load(url, bodies[kind], n, seconds) for _, kind, n in AGAINST_PEERS]))
        for place, (what, kind, _) in enumerate(AGAINST_PEERS):
            pairs = sorted(((a[place], b[place]) for a, b in turns), key=lambda pair: ratio_of(*pair))
            a, b = pairs[len(pairs) // 2]
            peer_value, bound = (name, b.per_second), floor if kind == "known" else None
            line = result_table.row(f"{what}, against", "requests/s", a.per_second, peer_value, bound, on="ratio")
            line["note"] = f"p99 {a.p99:.1f} and {b.p99:.1f} ms; in {TURNS} turns {ratios_of(pairs)}; {b.note}"
            result_table.show(line)
            yield line


def ratio_of(ours: Load, theirs: Load) -> float:
    """How many times as many requests per second."""
    return ours.per_second / theirs.per_second


def ratios_of(pairs: Sequence[tuple[Load, Load]]) -> str:
    """The ratio of each turn."""
    return ", ".join(f"{ratio_of(*pair):.2f}" for pair in pairs)


def load_rows(what: str, found: Load, bounds: Mapping[str, tuple[float, float | None]]) -> Iterator[dict[str, Any]]:
    """Requests per second, and the percentiles of the latency."""
    for name, unit, low in (("per_second", "requests/s", False), ("p50", "ms", True), ("p99", "ms", True)):
        floor, goal = bounds.get(name, (None, None))
        label = f"{what}, {'requests' if name == 'per_second' else name}"
        note = found.note if name == "per_second" else ""
        yield shown(label, unit, getattr(found, name), floor=floor, goal=goal, low=low, note=note)


def shown(
    what: str,
    unit: str,
    value: float,
    floor: float | None = None,
    goal: float | None = None,
    low: bool = False,
    note: str = "",
) -> dict[str, Any]:
    """A row, printed."""
    line = result_table.row(what, unit, value, floor=floor, goal=goal, lower_is_better=low, note=note)
    result_table.show(line)
    return line


@contextmanager
def server(
    command: Sequence[str], own: Mapping[str, str], core: str, cwd: Path | None = None
) -> Iterator[tuple[str, psutil.Process]]:
    """A server on loopback, on one core; yields its address, as soon as it answers lists, and its process."""
    port = free_port()
    inherited = {name: value for name, value in environment(1).items() if not name.startswith("TRADEWIND_")}
    with TemporaryDirectory() as folder, (Path(folder) / "log").open("w") as log:
        process = subprocess.Popen(
            ["taskset", "-c", core, *command, "--host", "127.0.0.1", "--port", str(port)],
            env={**inherited, **own},
            cwd=cwd or folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            _await(url, process, Path(folder) / "log")
            yield url, psutil.Process(process.pid)
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def free_port() -> int:
    """A port of this machine on which nothing listens now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _await(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Waits until the server is healthy; a server without /health is, when it answers a request."""
    for _ in range(600):
        if process.poll() is not None:
            raise PeerError(f"the server ended: {log.read_text()[-500:]}")
        try:
            answer = httpx.get(f"{url}/health", trust_env=False)
            if answer.status_code == 200 or (answer.status_code == 404 and _answers(url)):
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise PeerError(f"the server is not healthy: {log.read_text()[-500:]}")


def _answers(url: str) -> bool:
    return httpx.post(f"{url}/predict", json={"user_id": 1}, trust_env=False).status_code == 200


def load(
    url: str,
    bodies: Path,
    connections: int,
    seconds: int,
    key: str = "",
    path: str = "/predict",
    cores: str = LOAD_CORE,
) -> Load:
    """Sends requests as fast as they are answered, over some connections; first for a second, which does not count."""
    command = ["taskset", "-c", cores, "wrk", "-t1", f"-c{connections}", "--timeout", "5s", "-s", str(LOAD)]
    for duration in (1, seconds):
        arguments = [f"-d{duration}s", f"{url}{path}", "--", str(bodies), *([key] if key else [])]
        done = subprocess.run([*command, *arguments], check=True, capture_output=True, text=True)
    found = json.loads(done.stdout.strip().splitlines()[-1])
    good = found["requests"] - found["bad"]
    note = (
        "" if good == found["requests"] and not found["socket"] else f"{found['bad']} refused, {found['socket']} failed"
    )
    return Load(good / found["seconds"], found["p50_ms"], found["p99_ms"], found["max_ms"], note)


if __name__ == "__main__":
    main()
