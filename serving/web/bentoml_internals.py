"""The parts of BentoML that have no public name, or another use than BentoML's own.

The files of Swagger lie in a private folder. And BentoML puts five layers around an application that is mounted: a
timer and a task for each request, tracing, a context, errors, and a router. Together they take longer than a list
(benchmarks/http_stack.py). The service has its own deadlines, log and errors, so requests go to it directly.
"""

from pathlib import Path
from typing import Any

import bentoml
from bentoml import Service
from starlette.types import ASGIApp, Receive, Scope, Send

SWAGGER = Path(bentoml.__file__).parent / "_internal" / "server" / "static_content"
OWN_PATHS = ("/livez", "/readyz", "/healthz")  # that BentoML answers


class DirectService(Service[Any]):  # type: ignore[misc]
    """A service whose requests go to its mounted application, without BentoML's layers around it."""

    __slots__ = ()

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        """The application that BentoML runs. BentoML's own starts and stops the service, and answers OWN_PATHS."""
        own = super().to_asgi(is_main)
        ((mounted, _, _),) = self.mount_apps

        async def direct(scope: Scope, receive: Receive, send: Send) -> None:
            is_ours = scope["type"] == "http" and scope["path"] not in OWN_PATHS
            await (mounted if is_ours else own)(scope, receive, send)

        return direct
