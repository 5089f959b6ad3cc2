"""Gives every request its id, counts the answers with lists, and logs a line for each request if that is on."""

import logging
import time
from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.traffic.metrics.counters import Endpoint
from serving.web import request_ids

MAX_PATH = 200  # characters of a path in the log
COUNTED: dict[str, Endpoint] = {"/predict": "predict", "/predict/batch": "predict_batch"}  # POST
SIMILAR = "/similar/"  # GET, HEAD

log = logging.getLogger("serving.access")


class RequestLog:
    """An ASGI application around another one. The log line has no user id, no body and no query."""

    def __init__(self, app: ASGIApp, record: Callable[[int, float, Endpoint], None]) -> None:
        """record: takes the status and the seconds of an answer of an endpoint."""
        self._app, self._record_answer = app, record

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The entry point that ASGI defines."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        request_id = request_ids.begin(scope["headers"])

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (request_ids.HEADER, request_id.encode())]
                # before the answer is sent: whoever has the answer finds it counted
                self._record(scope, message["status"], time.perf_counter() - start)
            await send(message)

        await self._app(scope, receive, send_with_id)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        if endpoint := counted(scope["method"], scope["path"]):
            self._record_answer(status, seconds, endpoint)
        if log.isEnabledFor(logging.INFO):
            fields: dict[str, Any] = {
                "method": scope["method"],
                "path": scope["path"][:MAX_PATH],
                "status": status,
                "milliseconds": round(seconds * 1000, 3),
            }
            if key := scope.get("state", {}).get("key_name"):
                fields["key"] = key
            log.info("request", extra={"fields": fields})


def counted(method: str, path: str) -> Endpoint | None:
    """The endpoint of lists that a request is for; None if it is for none."""
    if method == "POST":
        return COUNTED.get(path)
    return "similar" if path.startswith(SIMILAR) and method in ("GET", "HEAD") else None
