"""Turns content into a JSON answer, and errors into problems."""

import logging
from collections.abc import Awaitable, Mapping
from typing import Any

import orjson
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from serving.web import request_ids
from serving.web.problems import problem
from serving.web.validation import InvalidRequestError

RETRY_AFTER = {"retry-after": "1"}
CLIENT_CLOSED_REQUEST = 499  # as nginx counts a client that disconnected

log = logging.getLogger(__name__)


class UnavailableError(Exception):
    """The service cannot answer now; the message says why, and the client may try again."""


class DeadlineError(Exception):
    """The deadline of the request passed before the work began; the message says so."""


def json_answer(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer with a JSON body."""
    return Response(orjson.dumps(content), status, headers, "application/json")


async def answer_or_problem(answer: Awaitable[Response]) -> Response:
    """The answer, or the problem with the error that it raised. An error of the code is logged."""
    try:
        return await answer
    except ClientDisconnect:
        return Response(status_code=CLIENT_CLOSED_REQUEST)  # no client reads it
    except InvalidRequestError as error:
        return problem(error.status, str(error), error.details)
    except UnavailableError as error:
        return problem(503, str(error), headers=RETRY_AFTER)
    except DeadlineError as error:
        return problem(504, str(error))
    except Exception:  # the client gets a short message, the log gets the cause
        log.exception("request %s failed", request_ids.current())
        return problem(500, "internal error; the service's log has the cause")
