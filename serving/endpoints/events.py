"""POST /events: what users did."""

import asyncio
import logging

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from recommenders.clock import now_us
from serving.endpoints.worker import Worker
from serving.feedback.events import FeedbackError, OverloadedError
from serving.web import request_ids
from serving.web.answers import UnavailableError, answer_or_problem, json_answer
from serving.web.events_request import parse_events
from serving.web.reading import read_body

STORE_SECONDS = 5.0  # that a client waits for its events to be stored

log = logging.getLogger(__name__)


def routes(worker: Worker) -> list[BaseRoute]:
    """The route of events."""

    async def events(request: Request) -> Response:
        return await answer_or_problem(store(worker, request, request_ids.current()))

    return [Route("/events", events, methods=["POST"])]


async def store(worker: Worker, request: Request, request_id: str) -> Response:
    """Stores the events of a request; the answer comes when they are on disk."""
    body = await read_body(request.scope, request.receive)
    events = parse_events(body, request.headers.get("content-type", ""), now_us())
    try:
        if worker.feedback is None:
            raise FeedbackError("this service has no feedback store")
        async with asyncio.timeout(STORE_SECONDS):
            stored = await worker.feedback.write(events)
    except TimeoutError:  # they may be stored yet; then the client's next try finds duplicates
        raise UnavailableError(f"the events are not stored after {STORE_SECONDS:g} seconds; send them again") from None
    except OverloadedError:
        raise UnavailableError("too many events wait to be stored; send them again later") from None
    except FeedbackError as error:
        log.error("request %s: %s", request_id, error)
        raise UnavailableError(
            "events cannot be stored now; send them again later. The service's log has the cause"
        ) from error
    worker.metrics.record_events(stored, len(events) - stored)
    return json_answer({"stored": stored, "duplicates": len(events) - stored, "request_id": request_id})
