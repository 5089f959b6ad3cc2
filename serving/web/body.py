"""Reads the body of a request up to a limit."""

from starlette.requests import Request

from serving.web.predict_request import MAX_BODY_BYTES
from serving.web.validation import InvalidRequestError


async def read_body(request: Request) -> bytes:
    """The body.

    Raises InvalidRequestError(413) as soon as it is too long, ClientDisconnect if the client disconnected.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and (len(announced) > 12 or int(announced) > MAX_BODY_BYTES):
        raise _too_long()
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY_BYTES:
            raise _too_long()
    return body


def _too_long() -> InvalidRequestError:
    return InvalidRequestError(
        413, f"body: got more than {MAX_BODY_BYTES} bytes; allowed: up to {MAX_BODY_BYTES} bytes; send less"
    )
