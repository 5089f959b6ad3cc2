"""The HTTP service: a Starlette application, which serving.service runs in BentoML.

POST /predict        a list for a user            GET /analytics     figures, JSON or HTML
POST /predict/batch  lists for up to 100 users    GET /metrics       figures for Prometheus
GET  /similar/ID     items similar to an item     GET /docs          Swagger, with files from this machine
POST /events         what users did               GET /openapi.json  the OpenAPI document
GET  /health         readiness and version        GET /              redirects to /docs
     /admin/...      for keys with the scope admin
"""

from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.endpoints import admin, documents, events, predict, predict_batch, similar, status
from serving.endpoints.worker import Worker
from serving.traffic.key_check import KeyCheck
from serving.traffic.request_log import RequestLog
from serving.web.problems import problem

# of other origins' pages, in addition to those that CORS always allows
REQUEST_HEADERS = ("authorization", "x-request-id", "x-timeout-ms")
ANSWER_HEADERS = ("x-request-id", "retry-after", "www-authenticate")
MAX_PATH = 100  # characters of a path in a problem


def build(worker: Worker, swagger: Path) -> ASGIApp:
    """The ASGI application of a worker. swagger: the folder with swagger-ui-bundle.js and swagger-ui.css."""
    application = Starlette(
        routes=[
            *predict.routes(worker),
            *predict_batch.routes(worker),
            *similar.routes(worker),
            *events.routes(worker),
            *status.routes(worker),
            *admin.routes(worker),
            *documents.routes(swagger),
        ],
        exception_handlers={HTTPException: _no_such_route, Exception: _internal_error},
    )
    application.router.redirect_slashes = False
    gate: ASGIApp = KeyCheck(_lists_first(predict.Predict(worker), application), worker.keys, worker.limits)
    if origins := worker.settings.allowed_origins:
        gate = CORSMiddleware(
            gate, origins, allow_methods=("GET", "POST"), allow_headers=REQUEST_HEADERS, expose_headers=ANSWER_HEADERS
        )
    return RequestLog(gate, worker.metrics.record_request)


def _lists_first(lists: ASGIApp, application: ASGIApp) -> ASGIApp:
    """Gives POST /predict to its endpoint without Starlette's layers. It turns all errors into problems by itself."""

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        is_list = scope["type"] == "http" and scope["path"] == "/predict" and scope["method"] == "POST"
        await (lists if is_list else application)(scope, receive, send)

    return route


async def _no_such_route(request: Request, error: Exception) -> Response:
    """404 and 405, which the router raises."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405 and error.headers:
        allowed = ", ".join(sorted(error.headers["Allow"].split(", ")))  # Starlette joins a set
        detail = f"{request.scope['path'][:MAX_PATH]} takes {allowed}; got {request.method}"
        return problem(405, detail, headers={"allow": allowed})
    paths = ", ".join(route.path.replace(":path", "") for route in request.app.routes if "{name}" not in route.path)
    return problem(404, f"no such path; allowed: {paths}")


async def _internal_error(request: Request, error: Exception) -> Response:
    return problem(500, "internal error; the service's log has the cause")
