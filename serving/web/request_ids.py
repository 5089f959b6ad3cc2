"""The id of a request: in the header of every answer, in problems, and in the lines of the log."""

import re
import secrets
from collections.abc import Iterable
from contextvars import ContextVar

HEADER = b"x-request-id"
ALLOWED = re.compile(rb"[A-Za-z0-9._-]{1,64}")

_current: ContextVar[str] = ContextVar("request_id", default="")


def begin(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The id of a request that begins in this task: the client's own x-request-id if it is valid, else a new one."""
    sent = next((value for name, value in headers if name == HEADER), b"")
    request_id = sent.decode() if ALLOWED.fullmatch(sent) else secrets.token_hex(8)
    _current.set(request_id)
    return request_id


def current() -> str:
    """The id of the request that this task answers; empty outside of a request."""
    return _current.get()
