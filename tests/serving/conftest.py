"""A toy market, bundles of it, and real servers on loopback that stop with their tests."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
import pytest

from recommenders.events.ids import IdMap
from recommenders.events.interactions import Interactions
from recommenders.models.popularity import Popularity
from recommenders.storage import schema
from serving.champion.pointer import Pointer, fingerprint, write_pointer
from serving.settings import PROJECT, ServingSettings
from serving.steering.catalogue.files import CatalogueRecord, record_file, write
from serving.steering.catalogue.tables import item_attributes, user_attributes

START_SECONDS = 40
N_USERS, N_ITEMS = 6, 12
N_WEEKLY, N_GROUPS = 60, 15
START = datetime(2026, 1, 1, tzinfo=UTC)


class ToyMarket:
    """The helpers of the serving tests, given as the fixture `market`: test files cannot import this file."""

    def __init__(self, pick_port: Callable[[], int]) -> None:
        self.log, self.bundle, self.release, self.settings = toy_log, toy_bundle, release, settings_of
        self.catalogue, self.until, self._pick_port = toy_catalogue, until, pick_port

    def serve(
        self, target: str, home: Path, cwd: Path = PROJECT, host: str = "127.0.0.1", **environment: str
    ) -> AbstractContextManager[httpx.Client]:
        return serve(target, home, cwd, host, self._pick_port(), **environment)


@contextmanager
def serve(target: str, home: Path, cwd: Path, host: str, port: int, **environment: str) -> Iterator[httpx.Client]:
    """A client of a BentoML server, which runs in its own session; yields it as soon as the server answers.

    All processes of the session stop at the end of the block.
    """
    command = [sys.executable, "-m", "bentoml", "serve", target, "--host", host, "--port", str(port)]
    settings = {"TRADEWIND_HOME": str(home), "BENTOML_HOME": str(home / "bentoml"), **environment}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("TRADEWIND_", "BENTOML_"))}
    home.mkdir(parents=True, exist_ok=True)
    with (home / "server.log").open("w") as log:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**inherited, **settings},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10, trust_env=False) as client:
            until(lambda: answers(client), (home / "server.log").read_text)
            yield client
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Stops the process and its group."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, kind)
            process.wait(10)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def answers(client: httpx.Client) -> bool:
    """Whether a server listens."""
    try:
        client.get("/livez")
    except httpx.TransportError:
        return False
    return True


def until(condition: Callable[[], bool], otherwise: str | Callable[[], str], seconds: float = START_SECONDS) -> None:
    """Waits for the condition; fails the test with `otherwise` if it does not become true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(otherwise if isinstance(otherwise, str) else otherwise())
        time.sleep(0.05)


def toy_log(favourite: int = 0, repeat: bool = True, available: list[bool] | None = None) -> Interactions:
    """Users "1".."6" and items "101".."112".

    User n bought item n, and all users bought the item in the favourite column twice.
    """
    users, items = (
        IdMap.from_ids(str(n) for n in range(1, N_USERS + 1)),
        IdMap.from_ids(str(i) for i in range(101, 101 + N_ITEMS)),
    )
    rows = np.repeat(np.arange(N_USERS, dtype=np.int32), 3)
    columns = np.stack([np.arange(N_USERS), *[np.full(N_USERS, favourite)] * 2], axis=1).ravel().astype(np.int32)
    ones = np.ones(len(rows), dtype=np.float32)
    on_sale = np.ones(N_ITEMS, dtype=np.bool_) if available is None else np.array(available)
    return Interactions(users, items, rows, columns, np.arange(len(rows)), ones, ones, on_sale, repeat)


def toy_bundle(folder: Path, favourite: int = 0) -> Path:
    """A bundle of Popularity whose best item is the favourite."""
    return Popularity().fit(toy_log(favourite)).save(folder)


def release(settings: ServingSettings, version: int, favourite: int) -> Path:
    """Makes a champion without a registry: bundle, then pointer; returns the bundle."""
    folder = toy_bundle(settings.champions / settings.dataset / str(version), favourite)
    relative = f"{settings.dataset}/{version}"
    write_pointer(
        settings.pointer,
        Pointer(
            settings.dataset,
            "popularity",
            version,
            relative,
            fingerprint(folder),
            "2026-01-01T00:00:00",
            "run",
        ),
    )
    return folder


def toy_catalogue(settings: ServingSettings, price: float = 1.0) -> CatalogueRecord:
    """Writes the catalogue of the toy market: items "101".."111" with prices from `price` on, and "999"; users 1 and 2.

    Item 112 is not in it. Odd items are tools, even ones paint; 103, 106 and 109 are red and
    101, 104, 107 and 110 have no colour.
    """
    ids = [*range(101, 112), 999]
    items = pa.table(
        {
            "item_id": [str(id_) for id_ in ids],
            "title": [f"Item {id_}" for id_ in ids],
            "category": ["Tools" if id_ % 2 else "Paint" for id_ in ids],
            "brand": ["ABC"[id_ % 3] for id_ in ids],
            "price": [price + place if id_ != 105 else None for place, id_ in enumerate(ids)],
            "attributes": [json.dumps(free_attributes(id_)) for id_ in ids],
        }
    )
    users = pa.table(
        {"user_id": ["1", "2"], "segment": ["cafe", None], "attributes": ['{"income": "high"}', '{"income": null}']}
    )
    return write(
        record_file(settings.pointer),
        item_attributes(schema.conform(items, schema.ITEMS, "items"), {}, START),
        user_attributes(schema.conform(users, schema.USERS, "users"), {}),
    )


def free_attributes(id_: int) -> dict[str, object]:
    """Those of an item of the toy market."""
    return {"colour": ["blue", "red", None][id_ % 3], "stocked": id_ != 104, "margin": id_ / 4}


def settings_of(home: Path, dataset: str = "toy") -> ServingSettings:
    """Settings with a home folder of the test."""
    return ServingSettings(home=home, dataset=dataset)


def weekly_tables(days: int = 70) -> tuple[pa.Table, pa.Table]:
    """Interactions and items. Every third day each user buys one of the three items of its group, or any item (1 in 4).

    All users of a group buy alike.
    """
    rng = np.random.default_rng(0)
    visits = [(day, user) for day in range(days) for user in range(N_WEEKLY) if (day + user) % 3 == 0]
    drawn = [(rng.random() < 0.25, int(rng.integers(3 * N_GROUPS))) for _ in visits]  # a longer log has the same start
    bought = [
        item if any_ else user % N_GROUPS * 3 + item % 3 for (_, user), (any_, item) in zip(visits, drawn, strict=True)
    ]
    columns = {
        "user_id": [f"u{user:02}" for _, user in visits],
        "item_id": [f"i{item:02}" for item in bought],
        "timestamp": pa.array([START + timedelta(days=day) for day, _ in visits], schema.TIME),
        "event": ["purchase"] * len(visits),
        "weight": pa.array([1.0] * len(visits), pa.float32()),
    }
    items = pa.table({"item_id": [f"i{item:02}" for item in range(3 * N_GROUPS)], "category": ["x"] * 3 * N_GROUPS})
    return (
        schema.conform(pa.table(columns), schema.INTERACTIONS, "interactions"),
        schema.conform(items, schema.ITEMS, "items"),
    )


@pytest.fixture(scope="session")
def weekly() -> Callable[..., tuple[pa.Table, pa.Table]]:
    """A function of a number of days (default 70) that returns interactions and items to evaluate models on."""
    return weekly_tables


@pytest.fixture(scope="session")
def market(pick_port: Callable[[], int]) -> ToyMarket:
    """The helpers of the toy market."""
    return ToyMarket(pick_port)


@pytest.fixture(autouse=True)
def _no_outside_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("TRADEWIND_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TRADEWIND_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "home" / "bentoml"))
