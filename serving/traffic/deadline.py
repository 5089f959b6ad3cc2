"""The deadline of a request."""

from starlette.types import Scope

from serving.web.reading import header
from serving.web.validation import InvalidRequestError, display_value

HEADER = b"x-timeout-ms"
MAX_DIGITS = 9


def deadline_seconds(scope: Scope, longest_ms: int) -> float:
    """Seconds that the request may wait: those of the header x-timeout-ms, and no more than `longest_ms`.

    Raises InvalidRequestError(400) if the header is no whole number above 0.
    """
    sent = header(scope, HEADER)
    if sent is None:
        return longest_ms / 1000
    if not (sent.isascii() and sent.isdigit() and len(sent) <= MAX_DIGITS and int(sent)):
        raise InvalidRequestError(
            400, f"{HEADER.decode()}: got {display_value(sent)}; allowed: a whole number of milliseconds, 1 or more"
        )
    return min(int(sent), longest_ms) / 1000
