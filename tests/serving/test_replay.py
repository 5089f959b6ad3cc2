"""Answers of the application, stored and made again."""

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pytest

from recommenders.errors import DataError
from recommenders.models.collaborative_filtering.model import CollaborativeFiltering
from serving.champion.pointer import fingerprint, read_pointer, write_pointer
from serving.champion.watcher import ChampionWatcher
from serving.endpoints.application import build
from serving.endpoints.worker import Worker
from serving.feedback.store import FeedbackStore
from serving.feedback.worker_feedback import WorkerFeedback
from serving.lists.predictor import Predictor
from serving.replay import replay
from serving.steering.catalogue.files import Catalogue, read, read_record, record_file


@pytest.fixture
def worker(market: Any, tmp_path: Path) -> Any:
    """A worker with a personal model and a feedback store."""
    settings = market.settings(tmp_path)
    folder = market.release(settings, 1, 0)
    CollaborativeFiltering().fit(market.log()).save(folder)
    pointer = read_pointer(settings.pointer)
    assert pointer is not None
    write_pointer(settings.pointer, replace(pointer, bundle_sha256=fingerprint(folder)))
    worker = Worker()
    worker.watcher = ChampionWatcher(settings.pointer)
    worker.watcher.poll()
    worker.feedback = WorkerFeedback(
        settings.feedback_store, "toy", lambda: worker.champion, 30, worker.metrics.record_answers
    )
    worker.feedback.start()
    until(lambda: not worker.feedback.problem)
    yield worker
    worker.feedback.stop()


def test_every_answer_is_replayed_byte_by_byte(worker, market, tmp_path):
    rng = np.random.default_rng(0)
    requests = [request_of(rng) for _ in range(200)]
    event = {"event_id": "e", "event": "purchase", "user_id": "2", "item_id": "107"}

    async def ask() -> list[dict[str, Any]]:
        transport = httpx.ASGITransport(app=build(worker, Path()))
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            first = [(await client.post("/predict", json=request)).json() for request in requests[:100]]
            await client.post("/events", json={"events": [event]})
            while worker.feedback.recent_items("2") != ["107"]:
                await asyncio.sleep(0.02)
            return first + [(await client.post("/predict", json=request)).json() for request in requests[100:]]

    answers = asyncio.run(ask())
    worker.feedback.stop()
    settings = market.settings(tmp_path)
    store = FeedbackStore(settings.feedback_store, "toy")
    predictor = Predictor(settings.champions / "toy" / "1")
    stored = [store.answer(answer["request_id"]) for answer in answers]
    assert [one.items for one in stored] == [answer["items"] for answer in answers]
    assert all(replay(one, predictor).equal for one in stored)
    assert {one.recent[0] for one in stored if one.recent} == {"107"}
    assert worker.metrics.summary()["answers"] == {"stored": 200}
    # a replay with another model, or without the events of then, finds the difference
    other = Predictor(market.bundle(tmp_path / "other", favourite=5))
    assert not all(replay(one, other).equal for one in stored)
    assert not all(replay(replace(one, recent=[]), predictor).equal for one in stored)


def test_an_answer_with_fields_and_filters_is_replayed_with_its_catalogue(worker, market, tmp_path):
    settings = market.settings(tmp_path)
    record = record_file(settings.pointer)
    then = market.catalogue(settings).version
    worker.watcher.poll()
    filters = {"price": {"max": 6}, "colour": {"not": "blue"}}
    request = {"user_id": 3, "filters": filters, "fields": ["price", "title"]}

    async def ask() -> dict[str, Any]:
        transport = httpx.ASGITransport(app=build(worker, Path()))
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            return (await client.post("/predict", json=request)).json()

    answer = asyncio.run(ask())
    assert {item["item_id"] for item in answer["items"]} == {103, 106}
    now = market.catalogue(settings, price=4.0).version
    worker.feedback.stop()
    stored = FeedbackStore(settings.feedback_store, "toy").answer(answer["request_id"])
    assert stored.catalogue == then
    predictor = Predictor(settings.champions / "toy" / "1")
    assert replay(stored, predictor, read(record, then)).equal
    assert [item["item_id"] for item in replay(stored, predictor, read(record, now)).again] == [103]
    with pytest.raises(DataError, match=r"answer .* cannot be made again: no catalogue is loaded yet"):
        replay(stored, predictor)
    with pytest.raises(DataError, match=r"cannot be made again: filters\.colour: got an object; allowed: only"):
        replay(stored, predictor, without_colours(record))


def without_colours(record: Path) -> Catalogue:
    known = read(record, read_record(record).version)
    kept = {name: column for name, column in known.items.columns.items() if name != "colour"}
    return replace(known, items=replace(known.items, columns=kept))


def test_a_batch_is_answered_and_stored_like_single_requests(worker, market, tmp_path):
    rng = np.random.default_rng(1)
    requests = [request_of(rng) for _ in range(30)]

    async def ask() -> tuple[list[dict[str, Any]], dict[str, Any]]:
        transport = httpx.ASGITransport(app=build(worker, Path()))
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            single = [(await client.post("/predict", json=request)).json() for request in requests]
            return single, (await client.post("/predict/batch", json={"requests": requests})).json()

    single, batch = asyncio.run(ask())
    assert len({answer["request_id"] for answer in (batch, *batch["answers"])}) == 31
    own = ("request_id", "milliseconds")
    for one, alone in zip(batch["answers"], single, strict=True):
        assert one.keys() == alone.keys()
        assert {key: one[key] for key in one if key not in own} == {key: alone[key] for key in alone if key not in own}
    worker.feedback.stop()
    settings = market.settings(tmp_path)
    store, predictor = FeedbackStore(settings.feedback_store, "toy"), Predictor(settings.champions / "toy" / "1")
    for one, request in zip(batch["answers"], requests, strict=True):
        stored = store.answer(one["request_id"])
        assert orjson.loads(stored.request) == request
        assert stored.items == one["items"]
        assert replay(stored, predictor).equal
    assert sum(worker.metrics.summary()["strategies"].values()) == 60


def test_reasons_are_answered_but_not_stored(worker, market, tmp_path):
    asked = {"user_id": 3, "history": [104], "scene": "discover", "explain": True}

    async def ask() -> dict[str, Any]:
        transport = httpx.ASGITransport(app=build(worker, Path()))
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            return (await client.post("/predict", json=asked)).json()

    answer = asyncio.run(ask())
    worker.feedback.stop()
    settings = market.settings(tmp_path)
    stored = FeedbackStore(settings.feedback_store, "toy").answer(answer["request_id"])
    assert all(item.pop("reasons") for item in answer["items"])
    assert stored.items == answer["items"]
    assert replay(stored, Predictor(settings.champions / "toy" / "1")).equal


def request_of(rng: np.random.Generator) -> dict[str, Any]:
    """A random request of the toy market."""
    ids = [int(id_) for id_ in rng.integers(101, 115, size=rng.integers(0, 4))]  # some are unknown
    scene = str(rng.choice(["for_you", "reorder", "discover", "basket"]))
    request = {"user_id": int(rng.integers(1, 9)), "history": ids, "scene": scene, "n_recommendations": 5}
    if rng.random() < 0.3:
        request["exclude"] = [int(rng.integers(101, 113))]
    if rng.random() < 0.3:
        request["diversity"] = float(rng.choice([0.2, 1.0]))
    return request


def until(condition) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
