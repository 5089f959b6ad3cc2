"""The application, called as an ASGI server calls it, with a champion on disk."""

import asyncio
import time
from collections import Counter as Counts
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest

from recommenders.events.sale_periods import ALWAYS, SalePeriods
from recommenders.models.ease import EASE
from recommenders.models.popularity import Popularity
from recommenders.storage.feedback_position import Position
from serving.champion.pointer import fingerprint, read_pointer, write_pointer
from serving.champion.watcher import ChampionWatcher
from serving.endpoints import events, reasons
from serving.endpoints.application import build
from serving.endpoints.worker import Worker
from serving.lists.explanations import Explanation


def request(worker: Worker, method: str, path: str, **content: Any) -> httpx.Response:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app=build(worker, Path()))
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            return await client.request(method, path, **content)

    return asyncio.run(send())


@pytest.fixture
def serve(market: Any, tmp_path: Path) -> Any:
    """A function that makes a worker for the toy market; the sale of its last n_ended items ended long ago."""

    def make(n_ended: int) -> Worker:
        settings = market.settings(tmp_path)
        folder = market.release(settings, 1, 0)
        ends = np.where(np.arange(12) < 12 - n_ended, ALWAYS.max, 1)
        Popularity().fit(replace(market.log(), sale_periods=SalePeriods(np.full(12, ALWAYS.min), ends))).save(folder)
        pointer = read_pointer(settings.pointer)
        assert pointer is not None
        write_pointer(settings.pointer, replace(pointer, bundle_sha256=fingerprint(folder)))
        worker = Worker()
        worker.watcher = ChampionWatcher(settings.pointer)
        worker.watcher.poll()
        return worker

    return make


def test_health_counts_items_on_sale_and_warns_if_there_are_none(serve):
    state = request(serve(n_ended=4), "GET", "/health").json()
    assert state["items_on_sale"] == 8
    assert "warning" not in state
    worker = serve(n_ended=12)
    assert "no item is on sale" in request(worker, "GET", "/health").json()["warning"]
    assert request(worker, "POST", "/predict", json={"user_id": 1}).json()["items"] == []


def test_a_too_large_number_is_an_error_that_names_the_fix_and_works_as_a_string(serve):
    worker = serve(n_ended=0)
    response = request(worker, "POST", "/predict", json={"user_id": 1700000000000435545})
    assert response.status_code == 422
    assert "user_id: got 1700000000000435545" in response.json()["detail"]
    assert "send any other id as a string" in response.json()["detail"]
    answer = request(worker, "POST", "/predict", json={"user_id": "1700000000000435545"}).json()
    assert (answer["user_id"], len(answer["items"])) == ("1700000000000435545", 10)
    mixed = request(worker, "POST", "/predict", json={"user_id": 3, "history": [999, "999", 101, "101", " 101"]})
    assert mixed.json()["unknown_items"] == [999, "999", " 101"]


def test_10000_random_paths_add_no_series(serve):
    """/metrics has the same names and labels before and after; only values change."""
    worker, rng = serve(n_ended=0), np.random.default_rng(0)
    folders = ("", "docs/", "similar/", "predict/", "admin/", "/", "metrics/", "🙂")
    methods = ("GET", "POST", "HEAD", "PUT", "OPTIONS")
    paths = [(str(rng.choice(methods)), f"/{rng.choice(folders)}{rng.bytes(6).hex()}") for _ in range(10_000)]
    statuses = Counts[int]()

    async def send() -> None:
        app = build(worker, Path())  # without httpx, which takes ten times as long as the application

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"{}"}

        async def count(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses[message["status"]] += 1

        for method, path in paths:
            scope = {"type": "http", "method": method, "path": path, "headers": [], "query_string": b""}
            await app(scope, receive, count)

    for method, path in (("POST", "/predict"), ("GET", "/similar/x"), ("HEAD", "/similar/101")):
        request(worker, method, path, json={"user_id": 1})
    before = series(worker)
    asyncio.run(send())
    assert series(worker) == before
    assert set(statuses) == {403, 404, 405}
    assert statuses.total() == 10_000


def series(worker: Worker) -> set[str]:
    """The names of all series with their labels, as GET /metrics shows them."""
    lines = request(worker, "GET", "/metrics").text.splitlines()
    return {line.rpartition(" ")[0] for line in lines if not line.startswith("#")}


def test_an_error_inside_has_a_request_id_and_no_trace(serve, monkeypatch, caplog):
    worker = serve(n_ended=0)
    monkeypatch.setattr(worker.watcher.champion.predictor, "predict", lambda *_, **__: 1 / 0)
    answer = request(worker, "POST", "/predict", json={"user_id": 1})
    problem = answer.json()
    assert (answer.status_code, problem["title"]) == (500, "Internal Server Error")
    assert "ZeroDivision" not in answer.text
    assert problem["request_id"] in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_scene_and_exclude_steer_the_list(serve):
    worker = serve(n_ended=0)
    answer = request(worker, "POST", "/predict", json={"user_id": 3, "scene": "discover", "exclude": [102]}).json()
    assert answer["scene"] == "discover"
    assert [item["rank"] for item in answer["items"]] == list(range(1, len(answer["items"]) + 1))
    assert not {101, 102, 103} & {item["item_id"] for item in answer["items"]}
    assert request(worker, "POST", "/predict", json={"user_id": 3}).json()["scene"] == "for_you"
    wrong = request(worker, "POST", "/predict", json={"user_id": 3, "scene": "home", "exclude": [1.5]}).json()
    assert [fault["field"] for fault in wrong["errors"]] == ["scene", "exclude[0]"]
    assert "scene: got 'home'; allowed: for_you, reorder, discover or basket" in wrong["detail"]


def test_a_request_that_has_waited_too_long_gets_no_list(serve, monkeypatch):
    worker = serve(n_ended=0)
    users: list[str] = []
    predictor = worker.watcher.champion.predictor
    predict = predictor.predict

    def slow(user_id: str, *arguments: Any, **options: Any) -> Any:
        users.append(user_id)
        time.sleep(0.005)
        return predict(user_id, *arguments, **options)

    monkeypatch.setattr(predictor, "predict", slow)

    async def send() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=build(worker, Path()))
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            deadlines = ({}, {}, {"x-timeout-ms": "2"}, {"x-timeout-ms": "5000"})
            return await asyncio.gather(
                *(client.post("/predict", json={"user_id": n}, headers=h) for n, h in enumerate(deadlines))
            )

    answers = asyncio.run(send())
    assert [answer.status_code for answer in answers] == [200, 200, 504, 200]
    assert users == ["0", "1", "3"]
    assert "its deadline of 2 ms" in answers[2].json()["detail"]
    assert worker.metrics.summary()["statuses"] == {"200": 3, "504": 1}


def test_a_batch_that_passes_its_deadline_is_not_answered_and_not_counted(serve, monkeypatch):
    worker = serve(n_ended=0)
    predictor, users = worker.watcher.champion.predictor, []
    predict = predictor.predict

    def slow(user_id: str, *arguments: Any, **options: Any) -> Any:
        users.append(user_id)
        time.sleep(0.02)
        return predict(user_id, *arguments, **options)

    monkeypatch.setattr(predictor, "predict", slow)
    requests = [{"user_id": n} for n in range(100)]

    async def send() -> tuple[httpx.Response, httpx.Response]:
        transport = httpx.ASGITransport(app=build(worker, Path()))
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            batch = client.post("/predict/batch", json={"requests": requests}, headers={"x-timeout-ms": "100"})
            single = client.post("/predict", json={"user_id": "between"})
            return await asyncio.gather(batch, single)

    batch, single = asyncio.run(send())
    assert (batch.status_code, single.status_code) == (504, 200)
    assert users.index("between") < 5
    assert len(users) < 20
    assert sum(worker.metrics.summary()["strategies"].values()) == 1


@pytest.mark.parametrize("wrong", ["0", "-1", "1.5", "", "soon", "1" * 10])
def test_a_deadline_that_is_none_is_an_error(serve, wrong):
    answer = request(serve(n_ended=0), "POST", "/predict", json={"user_id": 1}, headers={"x-timeout-ms": wrong})
    assert answer.status_code == 400
    assert "x-timeout-ms: got" in answer.json()["detail"]


def test_a_list_takes_only_events_after_the_training_log_of_its_champion(serve, market):
    worker, asked = serve(n_ended=0), []
    worker.feedback = SimpleNamespace(
        problem="",
        recent_items=lambda *of: asked.append(of) or [],
        store_answer=lambda _: None,
        erased_at=lambda _: None,
    )
    request(worker, "POST", "/predict", json={"user_id": 7})
    pointer_file = worker.watcher.pointer_file
    pointer = read_pointer(pointer_file)
    model = Popularity().fit(market.log())
    model.provenance |= Position(12, "order-9").to_provenance()
    model.save(pointer.bundle_folder(pointer_file))
    sha256 = fingerprint(pointer.bundle_folder(pointer_file))
    write_pointer(pointer_file, replace(pointer, version=2, bundle_sha256=sha256))
    worker.watcher.poll()
    request(worker, "POST", "/predict", json={"user_id": 7})
    assert asked == [("7", None), ("7", Position(12, "order-9"))]


def test_reasons_are_answered_where_they_are_asked_for(market, tmp_path):
    settings = market.settings(tmp_path)
    folder = market.release(settings, 1, 0)
    EASE().fit(market.log()).save(folder)
    pointer = read_pointer(settings.pointer)
    write_pointer(settings.pointer, replace(pointer, bundle_sha256=fingerprint(folder)))
    worker = Worker()
    worker.watcher = ChampionWatcher(settings.pointer)
    worker.watcher.poll()
    asked = {"user_id": 3, "history": [101, 104], "scene": "discover", "n_recommendations": 3}
    plain = request(worker, "POST", "/predict", json=asked).json()["items"]
    answered = request(worker, "POST", "/predict", json=asked | {"explain": True}).json()["items"]
    assert [{**item, "reasons": None} for item in plain] == [{**item, "reasons": None} for item in answered]
    found = [item["reasons"] for item in answered]
    for item in answered:
        (part,) = item["reasons"]["contributions"]
        assert (part["source"], part["amount"]) == ("ease", pytest.approx(item["reasons"]["score"]))
        assert "bought" in part["meaning"]
    assert any(reason["counterfactuals"] for reason in found)
    for one in (one for reason in found for one in reason["counterfactuals"]):
        assert one["without"] in (101, 103, 104)
        assert one["n_events"] == {101: 3, 103: 1, 104: 1}[one["without"]]
        assert one["last_event"] == (
            None if one["without"] == 104 else "1970-01-01T00:00:00.00000" + {103: "6Z", 101: "8Z"}[one["without"]]
        )
        assert one["rank_without"] is None or one["rank_without"] > one["rank"]
    wrong = request(worker, "POST", "/predict", json={"user_id": 3, "explain": "yes"})
    assert "explain: got 'yes'; allowed: true or false" in wrong.json()["detail"]


def test_an_explanation_that_takes_too_long_tries_no_further_items(serve, monkeypatch):
    monkeypatch.setattr(reasons, "MAX_SECONDS", -1.0)
    monkeypatch.setattr(Explanation, "trials", lambda _: [0, 1])
    monkeypatch.setattr(Explanation, "rank_without", lambda *_: pytest.fail("it was tried"))
    answer = request(serve(n_ended=0), "POST", "/predict", json={"user_id": 3, "explain": True}).json()
    assert all(item["reasons"]["counterfactuals"] == [] for item in answer["items"])


def test_similar_items_are_on_sale_and_unknown_items_are_a_problem(serve):
    worker = serve(n_ended=8)  # 101 to 104 are on sale
    answer = request(worker, "GET", "/similar/101?n=3").json()
    assert (answer["kind"], answer["strategy"], answer["item_id"]) == ("substitutes", "users", "101")
    assert [item["item_id"] for item in answer["items"]] == ["102", "103", "104"]
    assert [item["rank"] for item in answer["items"]] == [1, 2, 3]
    assert len(request(worker, "GET", "/similar/101?n=1").json()["items"]) == 1
    assert request(worker, "GET", "/similar/102?kind=complements").json()["kind"] == "complements"
    unknown = request(worker, "GET", "/similar/a%2Fb")
    assert unknown.status_code == 404
    assert "item_id: got 'a/b'; allowed: an item that version 1 of toy knows" in unknown.json()["detail"]
    for query, message in (
        ("kind=like", "kind: got 'like'; allowed: substitutes or complements"),
        ("n=0", "n: got '0'; allowed: a whole number from 1 to 100"),
        ("k=3", "k: got '3'; allowed: only the fields kind, n"),
    ):
        wrong = request(worker, "GET", f"/similar/101?{query}")
        assert (wrong.status_code, wrong.json()["detail"]) == (422, message)
    assert request(Worker(), "GET", "/similar/101").status_code == 503


def test_the_document_describes_every_path_that_takes_requests(serve):
    paths = request(serve(n_ended=0), "GET", "/openapi.json").json()["paths"]
    refused = request(serve(n_ended=0), "GET", "/no-such-path").json()["detail"]
    routes = set(refused.removeprefix("no such path; allowed: ").split(", "))
    assert set(paths) == {path for path in routes if not path.startswith(("/docs", "/openapi", "/favicon"))} - {"/"}
    assert {one["name"] for one in paths["/similar/{item_id}"]["get"]["parameters"]} == {"item_id", "kind", "n"}


def test_events_that_are_not_stored_in_time_are_unavailable(serve, monkeypatch):
    async def write(_: Any) -> int:
        await asyncio.sleep(60)
        return 1

    worker = serve(n_ended=0)
    worker.feedback = SimpleNamespace(problem="", write=write)
    monkeypatch.setattr(events, "STORE_SECONDS", 0.01)
    event = {"event_id": "e", "event": "click", "user_id": "2", "item_id": "107"}
    answer = request(worker, "POST", "/events", json={"events": [event]})
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["detail"] == "the events are not stored after 0.01 seconds; send them again"
