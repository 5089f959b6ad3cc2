"""The id of a request: in the header of every answer, in problems, and in the lines of the log."""

import random
import re
from collections.abc import Iterable
from contextvars import ContextVar

HEADER = b"x-request-id"
ALLOWED = re.compile(rb"[A-Za-z0-9._-]{1,64}")

_current: ContextVar[str] = ContextVar("request_id", default="")


def new() -> str:
    """A new id: unique, not secret. A secret one asks the operating system, which takes longer than all else here."""
    return f"{random.getrandbits(64):016x}"


def begin(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The id of a request that begins in this task: the client's own x-request-id if it is valid, else a new one."""
    sent = next((value for name, value in headers if name == HEADER), b"")
    request_id = sent.decode() if sent and ALLOWED.fullmatch(sent) else new()
    _current.set(request_id)
    return request_id


def current() -> str:
    """The id of the request that this task answers; empty outside of a request."""
    return _current.get()
