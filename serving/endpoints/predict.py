"""POST /predict: a list for a user."""

import time
from typing import TYPE_CHECKING, Any

from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from serving.endpoints.list_making import Made, answer_of, make, record, user_of, users_of
from serving.endpoints.reasons import answered_reasons, reasons_for
from serving.endpoints.worker import Worker
from serving.traffic.deadline import deadline_seconds
from serving.web import request_ids
from serving.web.answers import UnavailableError, answer_or_problem, json_answer
from serving.web.predict_request import parse, uses_numeric_ids
from serving.web.reading import header, read_body

if TYPE_CHECKING:
    from serving.champion.watcher import Champion


def routes(worker: Worker) -> list[BaseRoute]:
    """The route of POST /predict."""
    return [Route("/predict", Predict(worker), methods=["POST"])]


class Predict:
    """POST /predict. An ASGI endpoint: Starlette calls it without the wrappers that a function gets."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The entry point that ASGI defines."""
        start = time.perf_counter()
        response = await answer_or_problem(self._answer(scope, receive, start))
        await response(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, start: float) -> Response:
        worker, champion = self._worker, self._worker.champion
        body = await read_body(scope, receive)
        if champion is None:
            raise UnavailableError(worker.unavailable_reason())
        seconds = deadline_seconds(scope, worker.settings.deadline_ms)
        content_type = header(scope, b"content-type") or ""

        def work() -> Made:
            made = make(worker, champion, parse(body, content_type), body.decode(), request_ids.current())
            record(worker, champion, made)
            return made

        made = await worker.queue.run(work, seconds)
        items = await explained(champion, made) if made.asked.explain else made.items
        content = answer_of(champion.pointer, made.asked, made.prediction, items, made.request_id, start)
        return json_answer(content)


async def explained(champion: "Champion", made: Made) -> list[dict[str, Any]]:
    """The items of a list with their reasons."""
    predictor, user = champion.predictor, user_of(made.asked, made.recent)
    users, diversity = users_of(champion.items), made.asked.diversity
    query, _ = predictor.query(*user, made.eligible, made.steering, users=users, since=made.since, diversity=diversity)
    moment = predictor.lists.moment(made.clock)
    reasons = await reasons_for(predictor, query, made.asked.n_recommendations, moment)
    numbers = uses_numeric_ids(made.asked)
    return [{**item, "reasons": answered_reasons(one, numbers)} for item, one in zip(made.items, reasons, strict=True)]
