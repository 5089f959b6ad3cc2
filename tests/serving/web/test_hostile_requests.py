"""Requests written by hand to break the API: what each is answered, and what no answer may do.

No answer is a 5xx, shows the code or the machine, or lacks its request id. Every error is a problem that states what
was sent and what is allowed.
"""

import asyncio
import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.champion.watcher import ChampionWatcher
from serving.endpoints.application import build
from serving.endpoints.worker import Worker
from serving.feedback.worker_feedback import WorkerFeedback
from serving.settings import PROJECT
from serving.web.predict_request import MAX_BODY_BYTES

JSON = {"content-type": "application/json"}
TRACES = ("Traceback", 'File "', ".py", str(PROJECT), str(Path.home()), "site-packages")
NOT_HTTP = "Invalid HTTP request received."  # what the server says, before a request reaches the service
RULES = """
rules:
- {name: own, when: '!(user.id in ["1"])', action: boost, factor: 2.0, items: item.id == user.id}
- {name: blue, action: bury, items: item.colour == "blue"}
"""
EVENT = {"event_id": "e-1", "event": "click", "user_id": 1, "item_id": 2}


def body(content: object) -> bytes:
    return content if isinstance(content, bytes) else json.dumps(content).encode()


def post(path: str, content: object, status: int, says: str = "", **headers: Any) -> tuple[Any, ...]:
    sent = JSON | {name.replace("_", "-"): value for name, value in headers.items()}
    return "POST", path, body(content), sent, status, says


def lists(content: object, status: int, says: str = "", **headers: Any) -> tuple[Any, ...]:
    return post("/predict", content, status, says, **headers)


def asked(fields: dict[str, Any], status: int, says: str = "", **headers: Any) -> tuple[Any, ...]:
    return lists({"user_id": 1} | fields, status, says, **headers)


def event(fields: dict[str, Any], status: int, says: str = "") -> tuple[Any, ...]:
    return post("/events", {"events": [EVENT | fields]}, status, says)


def get(path: str, status: int, says: str = "", method: str = "GET", **headers: Any) -> tuple[Any, ...]:
    return method, path, b"", {name.replace("_", "-"): value for name, value in headers.items()}, status, says


REQUESTS = {
    # bodies
    "an empty body": lists(b"", 400, "body: not JSON (EOF while parsing a value"),
    "half of a body": lists(b'{"user_id": 1, "hist', 400, "body: not JSON (EOF while parsing"),
    "two bodies": lists(b'{"user_id": 1}{"user_id": 2}', 400, "body: not JSON (trailing characters"),
    "a comment": lists(b'{"user_id": 1} // mine', 400, "body: not JSON (trailing characters"),
    "single quotes": lists(b"{'user_id': 1}", 400, "body: not JSON (key must be a string"),
    "a byte order mark": lists("\ufeff{}".encode(), 400, "body: not JSON (expected value at line 1 column 1"),
    "UTF-16": lists('{"user_id": 1}'.encode("utf-16"), 400, "body: not JSON"),
    "latin-1": lists('{"user_id": "é"}'.encode("latin-1"), 400, "body: not JSON (invalid unicode code point"),
    "half a surrogate": lists(b'{"user_id": "\\ud83d"}', 400, "body: not JSON (unexpected end of hex escape"),
    "half a surrogate in a key": asked({"filters": {"\ud83d": 1}}, 400, "body: not JSON (unexpected end of hex escape"),
    "a raw control character": lists(b'{"user_id": "a\x00b"}', 400, "body: not JSON (control character"),
    "100,000 brackets": lists(b'{"user_id": 1, "filters": {"a": ' + b"[" * 100_000, 400, "recursion limit exceeded"),
    "50 lists in each other": asked(
        {"filters": {"price": json.loads("[" * 50 + "]" * 50)}}, 422, "filters.price[0]: got a"
    ),
    "an array": lists([1], 422, "body: got a list of 1; allowed: an object with user_id"),
    "null": lists(None, 422, "body: got null; allowed: an object with user_id"),
    "more than the limit": lists(b" " * (MAX_BODY_BYTES + 1), 413, "body: got more than 1126400 bytes; allowed: up to"),
    "5,000 unknown fields": lists(
        {f"f{n}": n for n in range(5000)}, 422, "f8: got 8; allowed: only the fields user_id"
    ),
    "a key twice: the last counts": lists(b'{"user_id": 1, "user_id": true}', 422, "user_id: got true; allowed: a"),
    # content types
    "no content type": lists({"user_id": 1}, 415, "content-type: got ''; allowed: application/json", content_type=""),
    "a form": lists(b"user_id=1", 415, "got 'application/x-www", content_type="application/x-www-form-urlencoded"),
    "another JSON": lists({"user_id": 1}, 415, "got 'application/ld+json'", content_type="application/ld+json"),
    "a wrong charset": lists({"user_id": 1}, 200, content_type="APPLICATION/JSON; charset=klingon"),
    # ids and numbers
    "a number of 400 digits": lists(b'{"user_id": %s}' % (b"9" * 400), 422, "user_id: got a number of 1329 bits"),
    "a number of 5,000 digits": lists(b'{"user_id": %s}' % (b"9" * 5000), 400, "body: not JSON (number out of range"),
    "a whole float as id": asked({"user_id": 5.0}, 422, "user_id: got 5.0; allowed: a string of 1 to 1024"),
    "a boolean as id": asked({"history": [True]}, 422, "history[0]: got true; allowed: a string of 1 to 1024"),
    "an id too long": asked({"user_id": "u" * 1025}, 422, "user_id: got 'uuu"),
    "the longest id": asked({"user_id": "\U0001f600" * 1024}, 200),
    "right to left": asked({"user_id": "\u202eمستخدم\u200f", "history": ["\u2067א"]}, 200),
    "combining marks": asked({"user_id": "Z" + "\u0301" * 500, "explain": True}, 200),
    "NUL in an id": asked({"user_id": "a\0b", "history": ["\0"], "exclude": ["\0"]}, 200),
    "SQL": asked({"user_id": "1'; drop table answers; --"}, 200),
    "n of -1": asked(
        {"n_recommendations": -1}, 422, "n_recommendations: got -1; allowed: a whole number from 1 to 100"
    ),
    "n of 1e999": lists(b'{"user_id": 1, "n_recommendations": 1e999}', 422, "n_recommendations: got inf; allowed"),
    "n of NaN": lists(b'{"user_id": 1, "n_recommendations": NaN}', 422, "n_recommendations: got nan; allowed"),
    "n of true": asked({"n_recommendations": True}, 422, "n_recommendations: got true; allowed: a whole number"),
    "1,001 items": asked({"history": [1] * 1001}, 422, "history: got a list of 1001; allowed: a list of up to 1000"),
    "text as a boolean": asked({"explain": "true"}, 422, "explain: got 'true'; allowed: true or false"),
    # fields and filters
    "a field of the class": asked({"fields": ["__class__"]}, 422, "fields[0]: got '__class__'; allowed: only brand"),
    "an unknown attribute": asked({"filters": {"prices": 1}}, 422, "filters.prices: got 1; allowed: only brand"),
    "an upside-down range": asked({"filters": {"price": {"min": 2, "max": 1}}}, 422, "got 'min 2, max 1'; allowed: a"),
    "a filter of NaN": lists(b'{"user_id": 1, "filters": {"price": NaN}}', 422, "filters.price: got nan; allowed: a"),
    "a range to infinity": lists(b'{"user_id": 1, "filters": {"price": {"max": 1e999}}}', 422, "price.max: got inf"),
    "a boolean as price": asked({"filters": {"price": {"min": True}}}, 422, "filters.price.min: got true; allowed: a"),
    "null as a filter": asked({"filters": {"category": None}}, 422, "filters.category: got null; allowed: a text"),
    "an attribute too long": asked({"filters": {"a" * 99: 1}}, 422, "filters: got 'aaa"),
    "a diversity of NaN": lists(b'{"user_id": 1, "diversity": NaN}', 422, "diversity: got nan; allowed: a number"),
    "a diversity of true": asked({"diversity": True}, 422, "diversity: got true; allowed: a number from 0 to 1"),
    "a context in a context": asked({"context": {"a": {"b": 1}}}, 422, "got an object; allowed: a name of 1 to 64"),
    "a context of 400 digits": asked({"context": {"a": 10**400}}, 422, "got a number of 1329 bits; allowed"),
    # deadlines, ids and keys in headers
    "a deadline of text": asked({}, 400, "x-timeout-ms: got 'soon'; allowed: a whole number", x_timeout_ms="soon"),
    "a deadline below 0": asked({}, 400, "x-timeout-ms: got '-5'; allowed: a whole number", x_timeout_ms="-5"),
    "a deadline of 0": post("/predict/batch", {}, 400, "x-timeout-ms: got '0'; allowed", x_timeout_ms="0"),
    "an Arabic deadline": asked({}, 400, "x-timeout-ms: got 'Ù£'", x_timeout_ms="٣".encode()),
    "an odd request id": get("/nowhere", 404, "no such path", x_request_id='{"a": 1}<script>'),
    "a request id of 70,000": get("/similar/0", 404, "item_id: got '0'", x_request_id="a" * 70_000),
    "a length that int() refuses": lists({"user_id": 1}, 200, content_length="²".encode("latin-1")),
    # other endpoints
    "one bad request of a batch": post(
        "/predict/batch", {"requests": [{"user_id": 1}, {"user_id": 2, "scene": 3}]}, 422, "requests[1].scene: got 3;"
    ),
    "a batch of a list": post(
        "/predict/batch", [{"user_id": 1}], 422, "body: got a list of 1; allowed: an object with"
    ),
    "an event of another kind": event({"event": "Click"}, 422, "events[0].event: got 'Click'; allowed: impression, cl"),
    "an event of tomorrow": event({"timestamp": "9999-12-31T23:59:59Z"}, 422, "events[0].timestamp: got '9999-12-31T"),
    "an event without a zone": event({"timestamp": "2026-11-30T08:15:00"}, 422, "allowed: a time with its zone"),
    "digits as a time": event({"timestamp": "1796025600"}, 422, "events[0].timestamp: got '1796025600'; allowed: a ti"),
    "a time before 1970": event({"timestamp": "0001-01-01T00:00:00+23:59"}, 422, "allowed: a time with its zone"),
    "an unknown field of an event": event({"userid": 1}, 422, "events[0].userid: got 1; allowed: only the fields"),
    "a quantity of 400 digits": event({"quantity": 10**400}, 422, "events[0].quantity: got a number of 1329 bits; a"),
    "the same id twice": post("/events", {"events": [EVENT | {"item_id": n} for n in (1, 2)]}, 200),
    "similar of an unknown item": get("/similar/%F0%9F%98%80", 404, "item_id: got '😀'; allowed: an item that"),
    "similar of a path": get("/similar/..%2F..%2Fetc%2Fpasswd", 404, "item_id: got '../../etc/passwd'; allowed"),
    "similar with an odd n": get("/similar/101?n=1e3&n=%00", 422, "n: got '\\x00'; allowed: a whole number from 1"),
    "a path of 60,000 characters": get(f"/{'a' * 60_000}", 404, "no such path; allowed: /predict, /predict/batch"),
    "a wrong method on a long path": get(f"/similar/{'a' * 60_000}", 405, "takes GET, HEAD; got PUT", method="PUT"),
    "a file outside": get("/docs/..%2F..%2Fservice.py", 404, "no such path; allowed"),
    "OPTIONS": get("/events", 405, "/events takes POST; got OPTIONS", method="OPTIONS"),
    "HEAD of a POST": get("/predict/batch", 405, "takes POST; got HEAD", method="HEAD"),
    "HEAD": get("/metrics", 200, method="HEAD"),
}

HEAD, END = b"POST /predict HTTP/1.1\r\nhost: s\r\nconnection: close\r\ncontent-type: application/json\r\n", b"\r\n\r\n"
SENT = b'{"user_id": 1}'
RAW = {
    "a length of letters": (HEAD + b"content-length: abc" + END + SENT, 400, NOT_HTTP),
    "a length below 0": (HEAD + b"content-length: -1" + END + SENT, 400, NOT_HTTP),
    "two lengths": (HEAD + b"content-length: 14\r\ncontent-length: 3" + END + SENT, 400, NOT_HTTP),
    "a length and chunks": (
        HEAD + b"content-length: 14\r\ntransfer-encoding: chunked" + END + b"0" + END,
        400,
        NOT_HTTP,
    ),
    "a length too short": (HEAD + b"content-length: 5" + END + SENT, 400, "body: not JSON (EOF while parsing"),
    "a length of 10 GB": (HEAD + b"content-length: 10000000000" + END + SENT, 413, "body: got more than 1126400 bytes"),
    "chunks": (HEAD + b"transfer-encoding: chunked" + END + b"e\r\n" + SENT + b"\r\n0" + END, 200, ""),
    "a chunk without a size": (HEAD + b"transfer-encoding: chunked" + END + b"zz\r\n" + SENT + END, 400, NOT_HTTP),
    "a host that is no host": (
        b"PUT /health HTTP/1.1\r\nhost: [\r\nconnection: close" + END,
        405,
        "takes GET, HEAD; got",
    ),
    "NUL in a header": (b"GET /health HTTP/1.1\r\nhost: s\r\nx-request-id: a\0" + END, 400, NOT_HTTP),
    "a raw byte in the path": (b"GET /similar/\xff HTTP/1.1\r\nhost: s" + END, 400, NOT_HTTP),
    "a space in the path": (b"GET /simi lar HTTP/1.1\r\nhost: s" + END, 400, NOT_HTTP),
    "no UTF-8 in the path": (
        b"GET /similar/%FF%00 HTTP/1.1\r\nconnection: close" + END,
        404,
        "got '\ufffd\\x00'; allowed",
    ),
    "a method of its own": (b"FROB /predict HTTP/1.1\r\nhost: s" + END, 400, NOT_HTTP),
    "the path *": (b"OPTIONS * HTTP/1.1\r\nhost: s\r\nconnection: close" + END, 404, "no such path"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, NOT_HTTP),
}


@pytest.fixture(scope="module")
def worker(market: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """A worker with a champion, a catalogue, rules about user ids, and a feedback store."""
    settings = market.settings(tmp_path_factory.mktemp("hostile"))
    market.release(settings, 1, 0)
    market.catalogue(settings)
    (settings.home / "rules.yaml").write_text(RULES)
    worker = Worker()
    worker.watcher = ChampionWatcher(settings.pointer, rules_file=settings.home / "rules.yaml")
    worker.watcher.poll()
    assert worker.champion
    assert not worker.rules_problem
    feedback = WorkerFeedback(
        settings.feedback_store, "toy", lambda: worker.champion, 30, worker.metrics.record_answers
    )
    worker.feedback = feedback
    feedback.start()
    market.until(lambda: not feedback.problem, "the feedback store was never opened")
    yield worker
    feedback.stop()


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_gets_a_clear_answer(worker: Worker, name: str) -> None:
    method, path, content, headers, status, says = REQUESTS[name]

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app=build(worker, Path()))
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            return await client.request(method, path, content=content, headers=headers)

    answer = asyncio.run(send())
    check(answer, status, "" if method == "HEAD" else says)
    assert answer.content or method == "HEAD"


@pytest.fixture(scope="module")
def port(market: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    home = tmp_path_factory.mktemp("server")
    market.release(market.settings(home), 1, 0)
    with market.serve("serving.service:Tradewind", home, TRADEWIND_DATASET="toy") as client:
        market.until(lambda: client.get("/health").status_code == 200, (home / "server.log").read_text)
        yield client.base_url.port
        assert client.get("/health").status_code == 200
        assert "Traceback" not in (home / "server.log").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("name", RAW)
def test_bytes_that_no_client_would_send(port: int, name: str) -> None:
    sent, status, says = RAW[name]
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(sent)
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, content = received.partition(END)
    lines = [line.decode("latin-1").partition(": ")[::2] for line in head.split(b"\r\n")[1:]]
    answer = httpx.Response(int(head[9:12]), headers=[(key, value) for key, value in lines], content=content)
    if says == NOT_HTTP:
        assert (answer.status_code, answer.text) == (status, NOT_HTTP)
    else:
        check(answer, status, says)


def check(answer: httpx.Response, status: int, says: str) -> None:
    """What holds for every answer of the service."""
    assert answer.status_code == status, answer.text
    (request_id,) = answer.headers.get_list("x-request-id")
    assert re.fullmatch(r"[0-9a-f]{24}", request_id)
    assert not [trace for trace in TRACES if trace in answer.text]
    if status >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert len(answer.content) < 5000
        if answer.content:
            problem = answer.json()
            assert (problem["status"], problem["request_id"]) == (status, request_id)
            assert says in problem["detail"]
            if status == 422:
                assert says in "; ".join(
                    f"{one['field']}: got {one['got']}; allowed: {one['allowed']}" for one in problem["errors"]
                )


def test_after_all_of_them_answers_and_events_are_stored(worker: Worker) -> None:
    assert worker.feedback
    before = worker.metrics.summary()

    async def send() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=build(worker, Path()))
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            same = {"events": [EVENT | {"event_id": "again"}] * 3}
            return [await client.post("/events", json=same), await client.post("/predict", json={"user_id": "\0"})]

    stored, listed = asyncio.run(send())
    assert (stored.json()["stored"], stored.json()["duplicates"]) == (1, 2)
    assert listed.status_code == 200
    deadline = time.monotonic() + 15
    while worker.metrics.summary()["answers"].get("stored", 0) <= before["answers"].get("stored", 0):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert worker.feedback.problem == ""
    assert "dropped" not in worker.metrics.summary()["answers"]
