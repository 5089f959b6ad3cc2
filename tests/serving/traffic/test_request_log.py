"""Request ids, the counts of answers, and the lines of the log."""

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.endpoints.application import build
from serving.endpoints.worker import Worker
from serving.traffic.json_log import JsonLines


@pytest.fixture
def worker() -> Worker:
    return Worker()


def send(worker: Worker, method: str, path: str, **content: Any) -> httpx.Response:
    async def one() -> httpx.Response:
        transport = httpx.ASGITransport(app=build(worker, Path()))
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            return await client.request(method, path, **content)

    return asyncio.run(one())


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/health"), ("GET", "/metrics"), ("GET", "/docs"), ("GET", "/nowhere"), ("GET", "/predict"), ("GET", "/")],
)
def test_every_answer_has_a_new_request_id(worker, method, path):
    first, second = (send(worker, method, path).headers.get_list("x-request-id") for _ in range(2))
    assert len(first) == len(second) == 1
    assert len(first[0]) == 24
    assert first != second


def test_a_problem_has_the_id_of_the_header(worker):
    for method, path in (("POST", "/predict"), ("POST", "/events"), ("GET", "/nowhere"), ("GET", "/events")):
        answer = send(worker, method, path, headers={"x-request-id": "shop-7.a_B"})
        assert answer.headers["x-request-id"] == answer.json()["request_id"] == "shop-7.a_B"


@pytest.mark.parametrize("wrong", ["", "a b", "a" * 65, "a\tb", '"', "é".encode()])
def test_an_id_that_is_not_valid_is_replaced(worker, wrong):
    assert len(send(worker, "GET", "/health", headers={"x-request-id": wrong}).headers["x-request-id"]) == 24


def test_the_longest_valid_id_is_used(worker):
    assert send(worker, "GET", "/health", headers={"x-request-id": "a" * 64}).headers["x-request-id"] == "a" * 64


def test_answers_with_lists_are_counted_and_no_others(worker):
    for path in ("/predict", "/predict/batch"):
        send(worker, "POST", path, json={"user_id": 1})  # no champion
        send(worker, "GET", path)
    for path in ("/similar/1", "/similar/a%2Fb?n=0"):
        send(worker, "GET", path)
        send(worker, "POST", path)
    for path in ("/events", "/predict/", "/predict/batch/1", "/similar"):
        send(worker, "POST", path, json={})
    summary = worker.metrics.summary()
    assert summary["statuses"] == {"422": 1, "503": 3}
    assert summary["endpoints"] == {"predict": 1, "predict_batch": 1, "similar": 2}


def test_a_request_is_a_line_without_the_user(worker, caplog):
    send(worker, "POST", "/predict?user=77", json={"user_id": 77})
    assert not [record for record in caplog.records if record.name == "serving.access"]  # off by default
    with caplog.at_level(logging.INFO, "serving.access"):
        send(worker, "POST", "/predict?user=77", json={"user_id": 77})
    (record,) = [record for record in caplog.records if record.name == "serving.access"]
    assert record.fields.pop("milliseconds") > 0
    assert record.fields == {"method": "POST", "path": "/predict", "status": 503}


def test_a_line_is_json_with_the_cause():
    try:
        1 / 0  # noqa: B018
    except ZeroDivisionError as error:
        record = logging.LogRecord("x", logging.ERROR, "", 0, "it %s", ("failed\n\ud800",), (type(error), error, None))
    text = JsonLines().format(record)
    assert "\n" not in text
    line = json.loads(text)
    assert (line["level"], line["message"], line["logger"]) == ("error", "it failed\n\ud800", "x")
    assert "ZeroDivisionError" in line["exception"]
    assert line["time"].endswith("Z")
