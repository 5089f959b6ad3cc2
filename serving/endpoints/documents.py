"""The documents of the API: /openapi.json, the interactive page /docs, and the files that this page loads."""

from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from serving.web import pages
from serving.web.answers import json_answer
from serving.web.openapi import specification

CACHED = {"cache-control": "max-age=86400"}


def routes(swagger: Path) -> list[BaseRoute]:
    """The routes of the documents. swagger: the folder with swagger-ui-bundle.js and swagger-ui.css."""

    async def docs_file(request: Request) -> Response:
        name = request.path_params["name"]
        if name == "start.js":
            return Response(pages.static_file(name), media_type="text/javascript")
        if name not in pages.SWAGGER_FILES:
            raise HTTPException(404)
        return Response((swagger / name).read_bytes(), 200, CACHED, pages.SWAGGER_FILES[name])

    return [
        Route("/openapi.json", openapi),
        Route("/docs", docs),
        Route("/docs/{name}", docs_file),
        Route("/favicon.ico", icon),
        Route("/", to_docs),
    ]


async def openapi(request: Request) -> Response:
    """The OpenAPI document."""
    return json_answer(specification())


async def docs(request: Request) -> Response:
    """The interactive page."""
    return Response(pages.static_file("docs.html"), headers=pages.SECURITY, media_type="text/html")


async def icon(request: Request) -> Response:
    """The icon that browsers ask for."""
    return Response(pages.static_file("favicon.png"), 200, CACHED, "image/png")


async def to_docs(request: Request) -> Response:
    """A redirection to the interactive page."""
    return RedirectResponse("docs")
