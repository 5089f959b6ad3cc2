"""The id of a request: in the header of every answer, in problems, and in the lines of the log."""

import random
import re
from collections.abc import Iterable
from contextvars import ContextVar

from recommenders.clock import now_us

HEADER = b"x-request-id"
ALLOWED = re.compile(rb"[A-Za-z0-9._-]{1,64}")

_current: ContextVar[str] = ContextVar("request_id", default="")


def new() -> str:
    """A new id: 52 bits of the time in microseconds and 44 random bits. Unique, not secret.

    Ids rise with time, so that answers are appended to the index of the store instead of spread over all its pages.
    A secret id would ask the operating system, which takes longer than all else here.
    """
    return f"{now_us():013x}{random.getrandbits(44):011x}"


def begin(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The id of a request that begins in this task: the client's own x-request-id if it is valid, else a new one."""
    sent = next((value for name, value in headers if name == HEADER), b"")
    request_id = sent.decode() if sent and ALLOWED.fullmatch(sent) else new()
    _current.set(request_id)
    return request_id


def current() -> str:
    """The id of the request that this task answers; empty outside of a request."""
    return _current.get()
