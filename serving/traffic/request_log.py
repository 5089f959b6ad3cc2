"""Gives every request its id, counts the answers to POST /predict, and logs a line for each request if that is on."""

import logging
import time
from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.web import request_ids

MAX_PATH = 200  # characters of a path in the log

log = logging.getLogger("serving.access")


class RequestLog:
    """An ASGI application around another one. The log line has no user id, no body and no query."""

    def __init__(self, app: ASGIApp, record_predict: Callable[[int, float], None]) -> None:
        """record_predict: takes the status and the seconds of an answer to POST /predict."""
        self._app, self._record_predict = app, record_predict

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
        if scope["path"] == "/predict" and scope["method"] == "POST":
            self._record_predict(status, seconds)
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
