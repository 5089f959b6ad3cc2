"""The HTTP service: a Starlette application, which serving.service runs in BentoML.

POST /predict      a list for a user              GET /docs          Swagger, with files from this machine
POST /events       what users did                 GET /metrics       figures for Prometheus
GET  /health       readiness and version          GET /openapi.json  the OpenAPI document
GET  /analytics    figures, JSON or HTML          GET /              redirects to /docs
"""

import logging
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from serving import metrics
from serving.feedback.events import FeedbackError, OverloadedError
from serving.feedback.feedback import Feedback
from serving.web import pages
from serving.web.events_request import parse_events
from serving.web.openapi import specification
from serving.web.predict_request import (
    MAX_BODY_BYTES,
    PredictRequest,
    as_sent,
    as_text,
    parse,
    unknown_as_sent,
    uses_numeric_ids,
)
from serving.web.problems import problem
from serving.web.validation import InvalidRequestError

if TYPE_CHECKING:  # the process that only starts the worker needs no model and no numpy
    from serving.champion_watcher import Champion, ChampionWatcher

log = logging.getLogger(__name__)

JSON = "application/json"
RETRY_AFTER = {"retry-after": "1"}
CACHED = {"cache-control": "max-age=86400"}


class Application:
    """The ASGI application. The process that starts it sets `watcher` and `feedback`."""

    def __init__(self, swagger: Path) -> None:
        """swagger: the folder with swagger-ui-bundle.js and swagger-ui.css."""
        self._swagger = swagger
        self.watcher: ChampionWatcher | None = None
        self.feedback: Feedback | None = None
        self.metrics = metrics.Metrics()
        self._app = Starlette(
            routes=[
                Route("/predict", Predict(self), methods=["POST"]),
                Route("/events", self._events, methods=["POST"]),
                Route("/health", self._health),
                Route("/analytics", self._analytics),
                Route("/metrics", self._metrics),
                Route("/openapi.json", _openapi),
                Route("/docs", _docs),
                Route("/docs/{name}", self._docs_file),
                Route("/favicon.ico", _icon),
                Route("/", _to_docs),
            ],
            exception_handlers={HTTPException: _no_such_route, Exception: _internal_error},
        )
        self._app.router.redirect_slashes = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The entry point that ASGI defines."""
        await self._app(scope, receive, send)

    async def _events(self, request: Request) -> Response:
        request_id = secrets.token_hex(8)
        try:
            body = await read_body(request)
            events = parse_events(body, request.headers.get("content-type", ""), time.time_ns() // 1000)
            if self.feedback is None:
                raise FeedbackError("this service has no feedback store")
            stored = await self.feedback.write(events)
        except ClientDisconnect:
            return Response(status_code=400)  # the client reads no answer
        except InvalidRequestError as error:
            return problem(error.status, str(error), error.details, request_id=request_id)
        except OverloadedError:
            detail = "too many events wait to be stored; send them again later"
            return problem(503, detail, headers=RETRY_AFTER, request_id=request_id)
        except FeedbackError as error:
            log.error("request %s: %s", request_id, error)
            detail = "events cannot be stored now; send them again later. The service's log has the cause"
            return problem(503, detail, headers=RETRY_AFTER, request_id=request_id)
        self.metrics.record_events(stored, len(events) - stored)
        content = {"stored": stored, "duplicates": len(events) - stored, "request_id": request_id}
        return Response(orjson.dumps(content), media_type=JSON)

    def unavailable_reason(self) -> str:
        """Why there is no champion yet."""
        return (self.watcher.problem if self.watcher else "") or "the service is starting: it loads the champion"

    async def _health(self, request: Request) -> Response:
        champion = self.watcher.champion if self.watcher else None
        if champion is None:
            content = {"status": "starting", "reason": self.unavailable_reason()}
            return Response(orjson.dumps(content), 503, RETRY_AFTER, JSON)
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
        if self.feedback and self.feedback.problem:
            state["events"] = self.feedback.problem
        return Response(orjson.dumps(state), media_type=JSON)

    async def _analytics(self, request: Request) -> Response:
        figures = self.metrics.summary()
        if "text/html" in request.headers.get("accept", ""):
            return Response(pages.analytics(figures), headers=pages.SECURITY, media_type="text/html")
        return Response(orjson.dumps(figures), media_type=JSON)

    async def _metrics(self, request: Request) -> Response:
        return Response(self.metrics.exposition(), headers={"content-type": metrics.CONTENT_TYPE})

    async def _docs_file(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name == "start.js":
            return Response(pages.static_file(name), media_type="text/javascript")
        if name not in pages.SWAGGER_FILES:
            raise HTTPException(404)
        return Response((self._swagger / name).read_bytes(), 200, CACHED, pages.SWAGGER_FILES[name])


class Predict:
    """POST /predict. An ASGI endpoint: Starlette calls it without the wrappers that a function gets."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The entry point that ASGI defines."""
        start = time.perf_counter()
        request_id = secrets.token_hex(8)
        watcher = self._application.watcher
        champion = watcher.champion if watcher else None
        strategy = version = ""
        try:
            request = Request(scope, receive)
            body = await read_body(request)
            if champion is None:
                reason = self._application.unavailable_reason()
                response = problem(503, reason, headers=RETRY_AFTER, request_id=request_id)
            else:
                asked = parse(body, request.headers.get("content-type", ""))
                feedback = self._application.feedback
                recent = feedback.recent_items(as_text(asked.user_id)) if feedback else []
                response, strategy = respond(champion, asked, request_id, start, recent)
                version = str(champion.pointer.version)
        except ClientDisconnect:
            return
        except InvalidRequestError as error:
            response = problem(error.status, str(error), error.details, request_id=request_id)
        except Exception:  # the client gets a short message, the log gets the cause
            log.exception("request %s failed", request_id)
            response = problem(500, "internal error; the service's log has the cause", request_id=request_id)
        self._application.metrics.record(response.status_code, time.perf_counter() - start, strategy, version)
        await response(scope, receive, send)


async def _to_docs(request: Request) -> Response:
    return RedirectResponse("docs")


async def _openapi(request: Request) -> Response:
    return Response(orjson.dumps(specification()), media_type=JSON)


async def _docs(request: Request) -> Response:
    return Response(pages.static_file("docs.html"), headers=pages.SECURITY, media_type="text/html")


async def _icon(request: Request) -> Response:
    return Response(pages.static_file("favicon.png"), 200, CACHED, "image/png")


async def _no_such_route(request: Request, error: Exception) -> Response:
    """404 and 405, which the router raises."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405 and error.headers:
        allowed = ", ".join(sorted(error.headers["Allow"].split(", ")))  # Starlette joins a set
        detail = f"{request.url.path} takes {allowed}; got {request.method}"
        return problem(405, detail, headers={"allow": allowed})
    paths = ", ".join(route.path for route in request.app.routes if "{" not in route.path)
    return problem(404, f"no such path; allowed: {paths}")


async def _internal_error(request: Request, error: Exception) -> Response:
    return problem(500, "internal error; the service's log has the cause")


def respond(
    champion: "Champion", request: PredictRequest, request_id: str, start: float, recent: Sequence[str] = ()
) -> tuple[Response, str]:
    """The response with the list, and the strategy that made the list.

    start: of the request, by perf_counter. recent: item ids of the user's stored events, before those of the request.
    """
    history = [as_text(id_) for id_ in request.history]
    if request.scene != "basket":
        history = [*recent, *history]
    prediction = champion.predictor.predict(
        as_text(request.user_id),
        history,
        request.n_recommendations,
        scene=request.scene,
        exclude=[as_text(id_) for id_ in request.exclude],
    )
    numbers = uses_numeric_ids(request)
    content = {
        "user_id": request.user_id,
        "items": [
            {"item_id": as_sent(item_id, numbers), "rank": rank, "score": score}
            for rank, (item_id, score) in enumerate(zip(prediction.item_ids, prediction.scores, strict=True), 1)
        ],
        "model": champion.pointer.model,
        "version": champion.pointer.version,
        "strategy": prediction.strategy,
        "scene": request.scene,
        "unknown_items": unknown_as_sent(request.history, set(prediction.unknown_items)),
        "request_id": request_id,
        "milliseconds": round((time.perf_counter() - start) * 1000, 3),
    }
    return Response(orjson.dumps(content), media_type=JSON), prediction.strategy


async def read_body(request: Request) -> bytes:
    """The body.

    Raises InvalidRequestError(413) as soon as it is too long, ClientDisconnect if the client disconnected.
    """
    too_long = InvalidRequestError(
        413, f"body: got more than {MAX_BODY_BYTES} bytes; allowed: up to {MAX_BODY_BYTES} bytes; send less"
    )
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and (len(announced) > 12 or int(announced) > MAX_BODY_BYTES):
        raise too_long
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY_BYTES:
            raise too_long
    return body
