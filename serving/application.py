"""The service over HTTP: a small ASGI application, asked through BentoML in serving.service.

POST /predict      a list for a buyer          GET /docs          Swagger, from files on this machine
GET  /health       ready, and with what        GET /openapi.json  the same as data
GET  /analytics    figures, JSON or a page     GET /              goes to /docs
"""

import logging
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from serving import pages
from serving.analytics import Recorder
from serving.openapi import specification
from serving.requests import (
    LARGEST_BODY,
    PredictRequest,
    RefusedError,
    as_sent,
    as_text,
    parse,
    unknown_as_sent,
    wants_numbers,
)

if TYPE_CHECKING:  # the process that only starts the worker needs no model and no numpy
    from serving.champion_watcher import Champion, Live

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = tuple[tuple[bytes, bytes], ...]

JSON = b"application/json"
HTML = b"text/html; charset=utf-8"
RETRY_AFTER: Headers = ((b"retry-after", b"1"),)


class Answer(NamedTuple):
    """One HTTP response."""

    status: int
    body: bytes
    kind: bytes = JSON
    headers: Headers = ()


class Application:
    """The ASGI application. `live` and `recorder` are handed in by who starts the process."""

    def __init__(self, swagger: Path) -> None:
        """swagger: the folder with swagger-ui-bundle.js and swagger-ui.css."""
        self._swagger = swagger
        self.live: Live | None = None
        self.recorder = Recorder()
        self._gets: dict[str, Callable[[Scope], Answer]] = {
            "/": lambda _: Answer(307, b"", HTML, ((b"location", b"docs"),)),
            "/health": lambda _: self._health(),
            "/analytics": self._analytics,
            "/openapi.json": lambda _: Answer(200, orjson.dumps(specification())),
            "/docs": lambda _: Answer(200, pages.DOCS, HTML, pages.SECURITY),
            "/docs/start.js": lambda _: Answer(200, pages.DOCS_SCRIPT, b"text/javascript; charset=utf-8"),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI's door."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        if scope["type"] != "http":
            return
        answer = await self._answer(scope, receive)
        if answer is None:  # the client is gone
            return
        headers = [
            (b"content-type", answer.kind),
            (b"content-length", b"%d" % len(answer.body)),
            *answer.headers,
        ]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})

    async def _answer(self, scope: Scope, receive: Receive) -> Answer | None:
        path, method = scope["path"], scope["method"]
        if path == "/predict":
            if method != "POST":
                return refusal(405, f"{path} takes POST; got {method}", headers=((b"allow", b"POST"),))
            return await self._predict(scope, receive)
        page = self._gets.get(path) or self._asset(path)
        if page is None:
            return refusal(404, f"no such path; there are /predict, {', '.join(self._gets)}")
        if method not in ("GET", "HEAD"):
            return refusal(405, f"{path} takes GET; got {method}", headers=((b"allow", b"GET, HEAD"),))
        return page(scope)

    # -- POST /predict

    async def _predict(self, scope: Scope, receive: Receive) -> Answer | None:
        start = time.perf_counter()
        request_id = secrets.token_hex(8)
        champion = self.live.current if self.live else None
        strategy = version = ""
        try:
            content_type, body = await read_body(scope, receive)
            if champion is None:
                answer = refusal(503, self._why_not(), headers=RETRY_AFTER)
            else:
                answer, strategy = respond(champion, parse(body, content_type), request_id, start)
                version = str(champion.pointer.version)
        except ConnectionResetError:
            return None
        except RefusedError as refused:
            answer = refusal(refused.status, str(refused), refused.details)
        except Exception:  # the buyer gets an answer, the log gets the cause
            log.exception("request %s failed", request_id)
            answer = refusal(500, f"internal error; the service's log tells more under request id {request_id}")
        self.recorder.record(answer.status, (time.perf_counter() - start) * 1000, strategy, version)
        return answer

    # -- GET

    def _why_not(self) -> str:
        return (self.live.problem if self.live else "") or "starting: the champion is being loaded"

    def _health(self) -> Answer:
        champion = self.live.current if self.live else None
        if champion is None:
            return Answer(503, orjson.dumps({"status": "starting", "reason": self._why_not()}), JSON, RETRY_AFTER)
        on_sale = int(champion.predictor.lists.on_sale().sum())
        state = {
            "status": "ok",
            "dataset": champion.pointer.dataset,
            "model": champion.pointer.model,
            "version": champion.pointer.version,
            "promoted_at": champion.pointer.promoted_at,
            "age_seconds": champion.age_seconds,
            "items_on_sale": on_sale,
        }
        if not on_sale:
            state["warning"] = "every list is empty: by the items' available_from and available_until none is on sale"
        if self.live and self.live.problem:
            state["warning"] = f"still serving version {champion.pointer.version}; {self.live.problem}"
        return Answer(200, orjson.dumps(state))

    def _analytics(self, scope: Scope) -> Answer:
        figures = self.recorder.summary()
        if b"text/html" in header(scope, b"accept"):
            return Answer(200, pages.analytics(figures), HTML, pages.SECURITY)
        return Answer(200, orjson.dumps(figures))

    def _asset(self, path: str) -> Callable[[Scope], Answer] | None:
        name = path.removeprefix("/docs/")
        if name not in pages.ASSETS or path == name:
            return None
        content = (self._swagger / name).read_bytes()
        return lambda _: Answer(200, content, pages.ASSETS[name], ((b"cache-control", b"max-age=86400"),))


def respond(champion: "Champion", request: PredictRequest, request_id: str, start: float) -> tuple[Answer, str]:
    """The list as an answer, and the strategy it came by."""
    found = champion.predictor.predict(
        as_text(request.user_id), [as_text(id_) for id_ in request.history], request.n_recommendations
    )
    numbers = wants_numbers(request)
    answer = {
        "user_id": request.user_id,
        "items": [
            {"item_id": as_sent(item_id, numbers), "score": score}
            for item_id, score in zip(found.item_ids, found.scores, strict=True)
        ],
        "model": champion.pointer.model,
        "version": champion.pointer.version,
        "strategy": found.strategy,
        "unknown_items": unknown_as_sent(request.history, set(found.unknown_items)),
        "request_id": request_id,
        "milliseconds": round((time.perf_counter() - start) * 1000, 3),
    }
    return Answer(200, orjson.dumps(answer)), found.strategy


def refusal(status: int, message: str, details: list[dict[str, str]] | None = None, headers: Headers = ()) -> Answer:
    """An error, told in one line and, where fields are at fault, one by one."""
    body: dict[str, Any] = {"error": message, **({"details": details} if details else {})}
    return Answer(status, orjson.dumps(body), JSON, headers)


async def read_body(scope: Scope, receive: Receive) -> tuple[str, bytes]:
    """Content type and body.

    Raises RefusedError(413) as soon as the body is too long, ConnectionResetError if the client left.
    """
    too_long = RefusedError(413, f"body: got more than {LARGEST_BODY} bytes, which is all that is allowed; send less")
    announced = header(scope, b"content-length")
    if announced.isdigit() and (len(announced) > 12 or int(announced) > LARGEST_BODY):
        raise too_long
    body = b""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionResetError
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > LARGEST_BODY:
            raise too_long
    return header(scope, b"content-type").decode("latin-1"), body


def header(scope: Scope, name: bytes) -> bytes:
    """The value of a header, empty if it was not sent."""
    return next((value for key, value in scope["headers"] if key == name), b"")
