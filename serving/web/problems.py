"""Errors as problem details (RFC 9457): what was sent, what is allowed, how to mend it."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from starlette.responses import Response

from serving.web import request_ids

MEDIA_TYPE = "application/problem+json"


def problem(
    status: int,
    detail: str,
    errors: Sequence[Mapping[str, str]] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The response for an error. errors: one entry for each wrong field, with field, got and allowed."""
    content: dict[str, Any] = {
        "type": "about:blank",  # the status says what kind of problem it is
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if errors:
        content["errors"] = list(errors)
    if request_id := request_ids.current():
        content["request_id"] = request_id
    return Response(orjson.dumps(content), status, headers, MEDIA_TYPE)
