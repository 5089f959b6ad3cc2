"""Measures what Starlette, the counters and BentoML add to the work of one request, without a server.

    python benchmarks/http_stack.py [--quick] [--json]

The applications are called as an ASGI server calls them, with a model that answers at once. Ours is serving's
application. One other parses the body and makes the answer with the same functions, and has no router, no counters
and no limit of the body. The third is ours, mounted in a BentoML service whose log, metrics and tracing are off.
Costs are processor seconds, the lowest of several rounds in turn.
"""

import asyncio
import time
from collections.abc import MutableMapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bentoml
import orjson
from measuring import result_table
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.endpoints.application import build
from serving.endpoints.list_making import answer_of, answered_items, predict
from serving.endpoints.worker import Worker
from serving.lists.predictor import Prediction
from serving.web.answers import json_answer
from serving.web.predict_request import parse

ROUNDS = 5
BODY = orjson.dumps({"user_id": 123, "history": [], "n_recommendations": 10})
HEADERS = [
    (b"host", b"service"),
    (b"content-type", b"application/json"),
    (b"content-length", b"%d" % len(BODY)),
    (b"accept", b"*/*"),
]
PREDICTION = Prediction([str(number) for number in range(10)], [0.5] * 10, [0.5] * 10, "known_user", [])
CHAMPION: Any = SimpleNamespace(
    predictor=SimpleNamespace(predict=lambda *_, **__: PREDICTION, lists=SimpleNamespace(moment=int)),
    rules=None,
    pointer=SimpleNamespace(model="hybrid", version=1),
    feedback_position=None,
    items=None,
)


def main() -> None:
    """Prints a table, and with --json a last line for programs."""
    options = result_table.arguments(__doc__).parse_args()
    started = time.perf_counter()
    worker = Worker()
    worker.watcher = SimpleNamespace(champion=CHAMPION, problem="")  # type: ignore[assignment]
    n_requests = 100 if options.quick else 10_000
    costs: dict[str, float] = {}
    for _ in range(ROUNDS):
        ours = build(worker, Path())
        for name, app in {"ours": ours, "bare": bare, "mounted": mounted_in_bentoml(ours)}.items():
            costs[name] = min(costs.get(name, float("inf")), asyncio.run(microseconds(app, n_requests)))
    print(result_table.HEAD)
    what, unit = "POST /predict without server and model", "CPU microseconds"
    rows = [
        result_table.row(what, unit, costs["ours"], ("no router, no counters", costs["bare"]), lower_is_better=True),
        result_table.row(
            what, unit, costs["ours"], ("ours, mounted in BentoML", costs["mounted"]), lower_is_better=True
        ),
    ]
    for row in rows:
        result_table.show(row)
    result_table.finish("http_stack", rows, started, options.as_json, {}, not options.quick)


def mounted_in_bentoml(app: ASGIApp) -> ASGIApp:
    """The application behind the layers that BentoML puts around an application that is mounted."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)

    @bentoml.service(
        logging={"access": {"enabled": False}}, metrics={"enabled": False}, tracing={"excluded_urls": ".*"}
    )
    @bentoml.asgi_app(application, path="/")
    class Mounted:
        pass

    return Mounted.to_asgi()


async def bare(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
    """The same work for one path, for a client that makes no mistakes."""
    message = await receive()
    start = time.perf_counter()
    request = parse(message["body"], "application/json")
    prediction = predict(CHAMPION.predictor, request, [], time.time_ns() // 1000)
    items = answered_items(request, prediction)
    response = json_answer(answer_of(CHAMPION.pointer, request, prediction, items, "0" * 16, start))
    await send({"type": "http.response.start", "status": 200, "headers": response.raw_headers})
    await send({"type": "http.response.body", "body": response.body})


async def microseconds(app: Any, n_requests: int) -> float:
    """Processor microseconds of one request."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": BODY, "more_body": False}

    async def send(message: Any) -> None:
        assert message.get("status", 200) == 200

    started = time.process_time()
    for _ in range(n_requests):
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": "/predict",
            "raw_path": b"/predict",
            "root_path": "",
            "query_string": b"",
            "headers": HEADERS,
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
        }
        await app(scope, receive, send)
        await asyncio.sleep(0)  # a server's loop makes a round between two requests too
    return (time.process_time() - started) / n_requests * 1e6


if __name__ == "__main__":
    main()
