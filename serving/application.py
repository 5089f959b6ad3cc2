"""The HTTP service: a small ASGI application, which serving.service runs in BentoML.

POST /predict      a list for a user           GET /docs          Swagger, with files from this machine
GET  /health       readiness and version       GET /openapi.json  the OpenAPI document
GET  /analytics    statistics, JSON or HTML    GET /              redirects to /docs
"""

import logging
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from serving.analytics import Recorder
from serving.requests import (
    MAX_BODY_BYTES,
    InvalidRequestError,
    PredictRequest,
    as_sent,
    as_text,
    parse,
    unknown_as_sent,
    uses_numeric_ids,
)
from serving.web import pages
from serving.web.openapi import specification

if TYPE_CHECKING:  # the process that only starts the worker needs no model and no numpy
    from serving.champion_watcher import Champion, ChampionWatcher

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = tuple[tuple[bytes, bytes], ...]

JSON = b"application/json"
HTML = b"text/html; charset=utf-8"
RETRY_AFTER: Headers = ((b"retry-after", b"1"),)
CACHED: Headers = ((b"cache-control", b"max-age=86400"),)


class Response(NamedTuple):
    """One HTTP response."""

    status: int
    body: bytes
    media_type: bytes = JSON
    headers: Headers = ()


class Application:
    """The ASGI application. The process that starts it sets `watcher`; `recorder` may be replaced."""

    def __init__(self, swagger: Path) -> None:
        """swagger: the folder with swagger-ui-bundle.js and swagger-ui.css."""
        self._swagger = swagger
        self.watcher: ChampionWatcher | None = None
        self.recorder = Recorder()
        self._gets: dict[str, Callable[[Scope], Response]] = {
            "/": lambda _: Response(307, b"", HTML, ((b"location", b"docs"),)),
            "/health": lambda _: self._health(),
            "/analytics": self._analytics,
            "/openapi.json": lambda _: Response(200, orjson.dumps(specification())),
            "/docs": lambda _: Response(200, pages.static_file("docs.html"), HTML, pages.SECURITY),
            "/docs/start.js": lambda _: Response(200, pages.static_file("start.js"), b"text/javascript; charset=utf-8"),
            "/favicon.ico": lambda _: Response(200, pages.static_file("favicon.png"), b"image/png", CACHED),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The entry point that ASGI defines."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        if scope["type"] != "http":
            return
        response = await self._respond(scope, receive)
        if response is None:  # the client has disconnected
            return
        headers = [
            (b"content-type", response.media_type),
            (b"content-length", b"%d" % len(response.body)),
            *response.headers,
        ]
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else response.body})

    async def _respond(self, scope: Scope, receive: Receive) -> Response | None:
        path, method = scope["path"], scope["method"]
        if path == "/predict":
            if method != "POST":
                return error_response(405, f"{path} takes POST; got {method}", headers=((b"allow", b"POST"),))
            return await self._predict(scope, receive)
        page = self._gets.get(path) or self._swagger_file(path)
        if page is None:
            return error_response(404, f"no such path; allowed: /predict, {', '.join(self._gets)}")
        if method not in ("GET", "HEAD"):
            return error_response(405, f"{path} takes GET; got {method}", headers=((b"allow", b"GET, HEAD"),))
        return page(scope)

    # -- POST /predict

    async def _predict(self, scope: Scope, receive: Receive) -> Response | None:
        start = time.perf_counter()
        request_id = secrets.token_hex(8)
        champion = self.watcher.champion if self.watcher else None
        strategy = version = ""
        try:
            content_type, body = await read_body(scope, receive)
            if champion is None:
                response = error_response(503, self._unavailable_reason(), headers=RETRY_AFTER)
            else:
                response, strategy = respond(champion, parse(body, content_type), request_id, start)
                version = str(champion.pointer.version)
        except ConnectionResetError:
            return None
        except InvalidRequestError as error:
            response = error_response(error.status, str(error), error.details)
        except Exception:  # the client gets a short message, the log gets the cause
            log.exception("request %s failed", request_id)
            response = error_response(500, f"internal error; see request id {request_id} in the service's log")
        self.recorder.record(response.status, (time.perf_counter() - start) * 1000, strategy, version)
        return response

    # -- GET

    def _unavailable_reason(self) -> str:
        return (self.watcher.problem if self.watcher else "") or "the service is starting: it loads the champion"

    def _health(self) -> Response:
        champion = self.watcher.champion if self.watcher else None
        if champion is None:
            content = {"status": "starting", "reason": self._unavailable_reason()}
            return Response(503, orjson.dumps(content), JSON, RETRY_AFTER)
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
            state["warning"] = "all lists are empty: no item is on sale by its available_from and available_until"
        if self.watcher and self.watcher.problem:
            state["warning"] = f"version {champion.pointer.version} is still served; {self.watcher.problem}"
        return Response(200, orjson.dumps(state))

    def _analytics(self, scope: Scope) -> Response:
        figures = self.recorder.summary()
        if b"text/html" in header(scope, b"accept"):
            return Response(200, pages.analytics(figures), HTML, pages.SECURITY)
        return Response(200, orjson.dumps(figures))

    def _swagger_file(self, path: str) -> Callable[[Scope], Response] | None:
        name = path.removeprefix("/docs/")
        if name not in pages.SWAGGER_FILES or path == name:
            return None
        content = (self._swagger / name).read_bytes()
        return lambda _: Response(200, content, pages.SWAGGER_FILES[name], CACHED)


def respond(champion: "Champion", request: PredictRequest, request_id: str, start: float) -> tuple[Response, str]:
    """The response with the list, and the strategy that made the list. start: of the request, by perf_counter."""
    prediction = champion.predictor.predict(
        as_text(request.user_id), [as_text(id_) for id_ in request.history], request.n_recommendations
    )
    numbers = uses_numeric_ids(request)
    content = {
        "user_id": request.user_id,
        "items": [
            {"item_id": as_sent(item_id, numbers), "score": score}
            for item_id, score in zip(prediction.item_ids, prediction.scores, strict=True)
        ],
        "model": champion.pointer.model,
        "version": champion.pointer.version,
        "strategy": prediction.strategy,
        "unknown_items": unknown_as_sent(request.history, set(prediction.unknown_items)),
        "request_id": request_id,
        "milliseconds": round((time.perf_counter() - start) * 1000, 3),
    }
    return Response(200, orjson.dumps(content)), prediction.strategy


def error_response(
    status: int, message: str, details: list[dict[str, str]] | None = None, headers: Headers = ()
) -> Response:
    """An error as a one-line message and, if fields are wrong, one entry for each of them."""
    content: dict[str, Any] = {"error": message, **({"details": details} if details else {})}
    return Response(status, orjson.dumps(content), JSON, headers)


async def read_body(scope: Scope, receive: Receive) -> tuple[str, bytes]:
    """Content type and body.

    Raises InvalidRequestError(413) as soon as the body is too long, ConnectionResetError if the client disconnected.
    """
    too_long = InvalidRequestError(
        413, f"body: got more than {MAX_BODY_BYTES} bytes; allowed: up to {MAX_BODY_BYTES} bytes; send less"
    )
    announced = header(scope, b"content-length")
    if announced.isdigit() and (len(announced) > 12 or int(announced) > MAX_BODY_BYTES):
        raise too_long
    body = b""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionResetError
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MAX_BODY_BYTES:
            raise too_long
    return header(scope, b"content-type").decode("latin-1"), body


def header(scope: Scope, name: bytes) -> bytes:
    """The value of a header; empty if it was not sent."""
    return next((value for key, value in scope["headers"] if key == name), b"")
