"""What the service uses of BentoML beside its public names."""

import asyncio
from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from serving.web.pages import SWAGGER_FILES

pytestmark = pytest.mark.filterwarnings("ignore")  # of BentoML's imports, which its first use begins


def test_bentoml_has_the_files_of_swagger():
    from serving.web.bentoml_internals import SWAGGER

    assert all((SWAGGER / name).stat().st_size > 10_000 for name in SWAGGER_FILES)


def test_requests_go_to_the_application_and_health_checks_to_bentoml():
    import bentoml

    from serving.web.bentoml_internals import DirectService

    scopes: list[Any] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await PlainTextResponse("ours")(scope, receive, send)

    @bentoml.service(metrics={"enabled": False})
    @bentoml.asgi_app(application, path="/")
    class Mounted:
        pass

    async def ask(app: Any, path: str) -> str:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://service") as client:
            return (await client.get(path)).text

    assert asyncio.run(ask(Mounted.to_asgi(), "/predict")) == "ours"
    assert "trace_id" in scopes[0]  # that BentoML adds
    Mounted.__class__ = DirectService
    direct = Mounted.to_asgi()
    assert asyncio.run(ask(direct, "/predict")) == "ours"
    assert "trace_id" not in scopes[1]
    assert asyncio.run(ask(direct, "/livez")) == "\n"
    assert len(scopes) == 2
