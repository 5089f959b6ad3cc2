"""Refuses requests without a valid key, without the scope of their path, or above the limit of their key."""

import math
import time

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from recommenders.errors import ConfigurationError
from serving.traffic.api_keys import ApiKeys
from serving.traffic.key_file import ApiKey
from serving.traffic.rate_limits import RateLimits
from serving.web.problems import problem
from serving.web.reading import header

OPEN = ("/", "/health", "/docs", "/openapi.json", "/favicon.ico")  # need no key; the page loads files below /docs/
ADMIN = "/admin/"  # needs a key with the scope admin, also where other paths need none
CHALLENGE = 'Bearer realm="tradewind"'


class KeyCheck:
    """An ASGI application around another one."""

    def __init__(self, app: ASGIApp, keys: ApiKeys | None, limits: RateLimits) -> None:
        """keys: None if no key is needed."""
        self._app, self._keys, self._limits = app, keys, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The entry point that ASGI defines."""
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        path = scope["path"]
        if path in OPEN or path.startswith("/docs/"):
            return None
        is_admin = f"{path}/".startswith(ADMIN)
        if self._keys is None:
            return _forbidden(path, "set TRADEWIND_API_KEYS_FILE and add one") if is_admin else None
        scheme, _, key = (header(scope, b"authorization") or "").partition(" ")
        if scheme.lower() != "bearer" or not key:
            return _unauthorized("authorization: got no key; allowed: 'Bearer KEY' with a key of this service")
        try:
            found = self._keys.find(key.strip())
        except ConfigurationError:  # /health has the reason
            return problem(503, "keys cannot be checked now; /health has the reason", headers={"retry-after": "1"})
        if found is None:
            return _unauthorized("authorization: got a key that this service does not accept", "invalid_token")
        scope.setdefault("state", {})["key_name"] = found.name
        if is_admin and "admin" not in found.scopes:
            return _forbidden(path, f"the key {found.name} has not")
        return self._above_limit(found)

    def _above_limit(self, key: ApiKey) -> Response | None:
        if key.per_second is None:
            return None
        # CLOCK_MONOTONIC is one clock for all processes of a machine
        wait = self._limits.seconds_to_wait(key.name, key.per_second, key.at_once, time.monotonic())
        if not wait:
            return None
        limit = f"{key.per_second:g} requests per second, {key.at_once} at once"
        return problem(
            429,
            f"key {key.name}: got more than {limit}; try again later",
            headers={"retry-after": str(math.ceil(wait))},
        )


def _unauthorized(detail: str, error: str = "") -> Response:
    return problem(401, detail, headers={"www-authenticate": f'{CHALLENGE}, error="{error}"' if error else CHALLENGE})


def _forbidden(path: str, fix: str) -> Response:
    challenge = f'{CHALLENGE}, error="insufficient_scope", scope="admin"'
    return problem(
        403, f"{path[:100]} needs a key with the scope admin; {fix}", headers={"www-authenticate": challenge}
    )
