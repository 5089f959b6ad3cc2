"""POST /admin/erase: the receipt, and the lists that the user gets afterwards."""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import httpx
import pytest

from recommenders.models.ease import EASE
from recommenders.storage.erased_users import id_hash
from serving.champion.pointer import fingerprint, read_pointer, write_pointer
from serving.champion.watcher import ChampionWatcher
from serving.endpoints.application import build
from serving.endpoints.worker import Worker
from serving.feedback.store import FeedbackStore
from serving.feedback.worker_feedback import WorkerFeedback
from serving.lists import precomputed
from serving.lists.cache.list_cache import open_cache
from serving.replay import replay
from serving.settings import ServingSettings
from serving.traffic.key_file import add_key

Send = Callable[..., httpx.Response]


@pytest.fixture
def worker(market: Any, tmp_path: Path) -> Iterator[Worker]:
    """EASE on the toy market, with precomputed lists; user n bought item 100 + n, and all bought 101 twice."""
    settings = market.settings(tmp_path)
    folder = market.release(settings, 1, 0)
    EASE().fit(market.log()).save(folder)
    pointer = read_pointer(settings.pointer)
    write_pointer(settings.pointer, replace(pointer, bundle_sha256=fingerprint(folder)))
    worker = Worker(ServingSettings(api_keys_file=tmp_path / "keys.yaml"))
    worker.watcher = ChampionWatcher(settings.pointer)
    worker.watcher.poll()
    predictor = worker.champion.predictor
    precomputed.write(folder, worker.champion.pointer.bundle_sha256, predictor.lists)
    worker.watcher.poll()
    assert predictor.precomputed
    store = f"sqlite:///{tmp_path / 'events.db'}"
    worker.feedback = WorkerFeedback(
        store, settings.dataset, lambda: worker.champion, 30, worker.metrics.record_answers
    )
    worker.feedback.start()
    until(lambda: not worker.feedback.problem)
    yield worker
    worker.feedback.stop()


@pytest.fixture
def send(worker: Worker, tmp_path: Path) -> Send:
    keys = tmp_path / "keys.yaml"
    key = add_key(keys, "boss", None, None, ["admin"])

    def send(method: str, path: str, **content: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(app=build(worker, Path()))
            headers = {"authorization": f"Bearer {key}"}
            async with httpx.AsyncClient(transport=transport, base_url="http://service", headers=headers) as client:
                return await client.request(method, path, json=content)

        return asyncio.run(ask())

    return send


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def bought(send: Send, user_id: int, item_id: int, event_id: str, **more: Any) -> dict[str, Any]:
    event = {"event_id": event_id, "event": "purchase", "user_id": user_id, "item_id": item_id, **more}
    return send("POST", "/events", events=[event]).json()


@pytest.fixture
def store(worker: Worker, tmp_path: Path) -> FeedbackStore:
    return FeedbackStore(f"sqlite:///{tmp_path / 'events.db'}", worker.champion.pointer.dataset)


def shown(answer: httpx.Response) -> dict[str, Any]:
    """The answer without what differs from request to request."""
    return {name: v for name, v in answer.json().items() if name not in ("request_id", "milliseconds", "user_id")}


def test_an_erased_user_is_a_cold_start_user_and_a_new_event_makes_a_new_user(
    worker: Worker, send: Send, store: FeedbackStore
) -> None:
    known = shown(send("POST", "/predict", user_id=3))
    assert known["strategy"] == "known_user"
    bought(send, 3, 105, "order-1")
    bought(send, 2, 105, "order-2")
    until(lambda: worker.feedback.recent_items("3") == ["105"])
    first = send("POST", "/predict", user_id=3)
    other = shown(send("POST", "/predict", user_id=2))
    until(lambda: store.answer(first.json()["request_id"]))

    receipt = send("POST", "/admin/erase", user_id=3)
    assert receipt.status_code == 200, receipt.text
    assert receipt.json()["deleted"] == {"events": 1, "answers": 2}
    assert receipt.json()["erased_at"][:2] == "20"
    assert any("version 1, which was trained with the user" in line for line in receipt.json()["remains"])
    assert store.answer(first.json()["request_id"]) is None
    for asked in ({}, {"history": [104]}, {"scene": "reorder"}, {"scene": "discover", "n_recommendations": 3}):
        again, stranger = (shown(send("POST", "/predict", user_id=one, **asked)) for one in (3, 999))
        assert again == stranger
        assert again["strategy"] != "known_user"
    assert shown(send("POST", "/predict", user_id=2)) == other
    assert shown(send("POST", "/predict", user_id=1))["strategy"] == "known_user"

    assert bought(send, 3, 105, "order-1") == {"stored": 0, "duplicates": 1} | {"request_id": ANY}
    assert bought(send, 3, 106, "order-3", timestamp="2026-01-01T00:00:00Z")["stored"] == 0
    assert bought(send, 3, 107, "order-4")["stored"] == 1
    bought(send, 999, 107, "order-5")
    until(lambda: worker.feedback.recent_items("3") == ["107"] == worker.feedback.recent_items("999"))
    again, stranger = (shown(send("POST", "/predict", user_id=one)) for one in (3, 999))
    assert (again, again["strategy"] != "known_user") == (stranger, True)
    assert send("POST", "/admin/erase", user_id=3).json()["deleted"]["events"] == 1
    assert send("POST", "/admin/erase", user_id=3).json()["deleted"]["events"] == 0


def test_answers_to_an_erased_user_are_replayed_and_explained_without_what_was_before(
    worker: Worker, send: Send, store: FeedbackStore
) -> None:
    send("POST", "/admin/erase", user_id=3)
    made = send("POST", "/predict", user_id=3, history=[104, 106], explain=True).json()
    assert {one["without"] for item in made["items"] for one in item["reasons"]["counterfactuals"]} <= {104, 106}
    until(lambda: store.answer(made["request_id"]))
    answer = store.answer(made["request_id"])
    assert answer.since is not None
    assert replay(answer, worker.champion.predictor).equal
    assert not replay(replace(answer, since=None), worker.champion.predictor).equal


def test_an_erasure_removes_the_cached_lists_and_older_ones_are_not_found(worker: Worker, send: Send) -> None:
    results: list[str] = []
    worker.cache = open_cache("memory://", 300, results.append)
    for user_id in (3, 2):
        send("POST", "/predict", user_id=user_id, scene="discover")
    entries = worker.cache._store._entries
    held = dict(entries)
    assert len(held) == 2
    send("POST", "/admin/erase", user_id=3)
    assert [id_hash("2") in key for key in entries] == [True]
    entries.update(held)  # another worker stored the list meanwhile
    assert shown(send("POST", "/predict", user_id=3, scene="discover"))["strategy"] == "popularity"
    assert results == ["miss"] * 3


def test_a_request_for_an_erasure_that_cannot_be_met_says_why(worker: Worker, send: Send) -> None:
    wrong = send("POST", "/admin/erase", user_id=1.5, all=True)
    assert wrong.status_code == 422
    assert [fault["field"] for fault in wrong.json()["errors"]] == ["user_id", "all"]
    unknown = send("POST", "/admin/erase", user_id="a\0b").json()
    assert unknown["deleted"] == {"events": 0, "answers": 0}
    assert not any("trained with the user" in line for line in unknown["remains"])
    pytest.importorskip("redis", reason="redis is not installed (pip install -e '.[dev]')")
    worker.cache = open_cache("redis://127.0.0.1:1/0", 300, lambda _: None)
    assert "lists in the cache, for 300 s" in send("POST", "/admin/erase", user_id=3).text
    worker.cache = open_cache("memory://", 300, lambda _: None)
    assert "lists in the cache" not in send("POST", "/admin/erase", user_id=3).text
    feedback, worker.feedback = worker.feedback, None
    lost = send("POST", "/admin/erase", user_id=3)
    assert (lost.status_code, lost.headers["retry-after"]) == (503, "1")
    assert "the user is not erased" in lost.json()["detail"]
    worker.feedback = feedback
