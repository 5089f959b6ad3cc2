"""Drills of the service: what must hold, however often events come and whatever is killed.

    python benchmarks/service_drills.py [--drills events kills postgresql_kills freshness] [--quick] [--json]

events: four clients post 200,000 events in shuffled order, three times; 30 % of them are duplicates. kills: a process
that stores events is killed 300 times while it writes to SQLite. postgresql_kills: 50 times, with a PostgreSQL that the
script starts. freshness: a purchase is posted to one service, and another one with the same feedback store is asked for
the buyer's list until it changes, for 1,000 buyers of custom_b2b.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import psutil
from measuring import result_table
from measuring.service.postgres import postgresql
from service_load import free_port, release, server

from recommenders.models.recommender import Recommender
from serving.feedback.store import FeedbackStore
from serving.settings import PROJECT, ServingSettings

KINDS = ("impression", "click", "cart", "purchase")
ALL_CORES = f"0-{(os.cpu_count() or 1) - 1}"
N_CLIENTS = 4
N_REPLAYS = 3
BATCH = 100  # events of a request
FRESH_SECONDS = 1.0

# stores batches of events, and prints the number of each as soon as it is stored
WRITER = """
import sys
from serving.feedback.events import StoredEvent
from serving.feedback.store import FeedbackStore
store = FeedbackStore(sys.argv[1], "custom_b2b")
for number in range(int(sys.argv[2]), 10**12):
    store.append([StoredEvent(f"{number}-{n}", "click", "u", "i", 0, 0) for n in range(20)])
    print(number, flush=True)
"""
BATCH_OF_WRITER = 20


def main() -> None:
    """Prints a table, and with --json a last line for programs."""
    drills = {"events": events_once, "kills": kills, "postgresql_kills": postgresql_kills, "freshness": freshness}
    result_table.run_parts("service_drills", __doc__, "--drills", drills)


def events_once(quick: bool) -> Iterator[dict[str, Any]]:
    """Every event is stored once, and the counts of the answers add up."""
    n_events = 2_000 if quick else 200_000
    rng = random.Random(0)
    unique = [
        {"event_id": f"e{n}", "event": rng.choice(KINDS), "user_id": f"u{n % 997}", "item_id": f"i{n % 499}"}
        for n in range(round(n_events * 0.7))
    ]
    sent = unique + rng.choices(unique, k=n_events - len(unique))
    with TemporaryDirectory() as folder, service(release(Path(folder), 0.1, "popularity")[0]) as (url, _):
        totals: Counter[str] = Counter()
        began = time.perf_counter()
        for _ in range(N_REPLAYS):
            rng.shuffle(sent)
            with ThreadPoolExecutor(N_CLIENTS) as clients:
                for found in clients.map(lambda part: post(url, part), [sent[n::N_CLIENTS] for n in range(N_CLIENTS)]):
                    totals.update(found)
        seconds = time.perf_counter() - began
        store = FeedbackStore(f"sqlite:///{Path(folder) / 'feedback' / 'events.db'}", "custom_b2b")
        stored = [row.event_id for _, row in store.after(0, KINDS, 10**7)]
    assert sorted(stored) == sorted(event["event_id"] for event in unique), "an event is missing, or stored twice"
    assert totals["duplicates"] == N_REPLAYS * n_events - len(unique)
    note = (
        f"{len(stored):,} stored, {totals['duplicates']:,} duplicates, {N_REPLAYS * n_events / seconds:,.0f} a second"
    )
    yield result_table.row(
        "events stored other than once",
        "events",
        totals["stored"] - len(unique),
        floor=0,
        lower_is_better=True,
        note=note,
    )


def post(url: str, events: Sequence[Mapping[str, str]]) -> Counter[str]:
    """Posts the events in batches; the sums of the answers. A batch that is refused is sent again."""
    totals: Counter[str] = Counter()
    with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
        for start in range(0, len(events), BATCH):
            while (answer := client.post("/events", json={"events": events[start : start + BATCH]})).status_code == 503:
                time.sleep(0.1)
            found = answer.raise_for_status().json()
            totals.update({"stored": found["stored"], "duplicates": found["duplicates"]})
    return totals


def kills(quick: bool) -> Iterator[dict[str, Any]]:
    """Writers to SQLite are killed."""
    with TemporaryDirectory() as folder:
        yield killed_writers(f"sqlite:///{Path(folder) / 'events.db'}", "SQLite", 3 if quick else 300)


def postgresql_kills(quick: bool) -> Iterator[dict[str, Any]]:
    """Writers to a PostgreSQL of this process are killed."""
    with postgresql(free_port()) as url:
        yield killed_writers(url, "PostgreSQL", 2 if quick else 50)


def killed_writers(store_url: str, kind: str, n_kills: int) -> dict[str, Any]:
    """No event is lost that was acknowledged, and no batch is stored in part."""
    rng, acknowledged = random.Random(1), set[int]()
    for kill in range(n_kills):
        command = [sys.executable, "-c", WRITER, store_url, str(kill * 10**6)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=PROJECT)
        assert process.stdout is not None
        acknowledged.add(int(process.stdout.readline()))
        time.sleep(rng.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        acknowledged |= {int(line) for line in process.stdout.read().split("\n")[:-1]}
        process.wait()
        process.stdout.close()
    store = FeedbackStore(store_url, "custom_b2b")
    found = Counter(int(row.event_id.split("-")[0]) for _, row in store.after(0, ["click"], 10**8))
    store.close()
    assert set(found.values()) == {BATCH_OF_WRITER}, "a batch is stored in part"
    lost = len(acknowledged - set(found)) * BATCH_OF_WRITER
    note = f"{n_kills} kills; {len(acknowledged) * BATCH_OF_WRITER:,} acknowledged, {found.total():,} stored"
    what = f"acknowledged events lost by kill -9, {kind}"
    return result_table.row(what, "events", lost, floor=0, lower_is_better=True, note=note)


def freshness(quick: bool) -> Iterator[dict[str, Any]]:
    """Seconds from the answer to a purchase at one service to another list of the buyer at the other one."""
    with TemporaryDirectory() as folder:
        settings, model = release(Path(folder), 0.1 if quick else 1.0)
        with service(settings) as (one, _), service(settings) as (other, _):
            users = model.users_.ids.tolist()[: 50 if quick else 1000]
            seconds = sorted(seconds_until_fresh(one, other, user, model) for user in users)
    n_late = sum(one > FRESH_SECONDS for one in seconds)
    note = f"{len(seconds)} purchases; half within {seconds[len(seconds) // 2]:.2f} s, all within {seconds[-1]:.2f} s"
    yield result_table.row(
        f"purchases that show after {FRESH_SECONDS:g} s", "purchases", n_late, floor=0, lower_is_better=True, note=note
    )


def seconds_until_fresh(one: str, other: str, user_id: str, model: Recommender) -> float:
    """Posts a purchase of an item that the user never bought. Infinity if it does not show within ten seconds."""
    bought = set(model.histories_[(row := model.users_.row(user_id)) : row + 1].item_columns.tolist())
    column = next(n for n in range(row % len(model.items_), len(model.items_)) if n not in bought)
    asked = {"user_id": user_id, "n_recommendations": 40}
    with httpx.Client(base_url=one, trust_env=False) as client, httpx.Client(base_url=other, trust_env=False) as reader:
        before = reader.post("/predict", json=asked).raise_for_status().json()["items"]
        event = {"event_id": f"p-{user_id}", "event": "purchase", "user_id": user_id}
        client.post("/events", json={"events": [event | {"item_id": str(model.items_.ids[column])}]}).raise_for_status()
        began = time.perf_counter()
        while (waited := time.perf_counter() - began) < 10:
            if reader.post("/predict", json=asked).raise_for_status().json()["items"] != before:
                return waited
            time.sleep(0.01)
    return float("inf")


@contextmanager
def service(settings: ServingSettings, cores: str = ALL_CORES, **more: str) -> Iterator[tuple[str, psutil.Process]]:
    """The service from the source, with its home in `settings.home`; yields its address and its process.

    more: further variables of its environment.
    """
    own = {"TRADEWIND_HOME": str(settings.home), "TRADEWIND_DATASET": "custom_b2b", "PYTHONPATH": str(PROJECT)}
    command = [sys.executable, "-m", "bentoml", "serve", "serving.service:Tradewind"]
    with server(command, own | more, cores, PROJECT) as served:
        yield served


if __name__ == "__main__":
    main()
