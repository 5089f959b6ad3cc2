"""POST /predict/batch: lists for many users."""

import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from serving.endpoints.list_making import Made, answer_of, eligible_items, make, record
from serving.endpoints.worker import Worker
from serving.traffic.deadline import deadline_seconds
from serving.web import request_ids
from serving.web.answers import UnavailableError, answer_or_problem, json_answer
from serving.web.predict_request import PredictRequest, parse_batch
from serving.web.reading import read_body
from serving.web.validation import InvalidRequestError, invalid

if TYPE_CHECKING:
    from serving.steering.catalogue.served_items import ServedItems


def routes(worker: Worker) -> list[BaseRoute]:
    """The route of POST /predict/batch."""

    async def predict_batch(request: Request) -> Response:
        return await answer_or_problem(batch(worker, request))

    return [Route("/predict/batch", predict_batch, methods=["POST"])]


async def batch(worker: Worker, request: Request) -> Response:
    """The answers to the requests of POST /predict/batch, in their order, by one version; all of them or none."""
    start, champion = time.perf_counter(), worker.champion
    body = await read_body(request.scope, request.receive)
    if champion is None:
        raise UnavailableError(worker.unavailable_reason())
    seconds = deadline_seconds(request.scope, worker.settings.deadline_ms)
    asked = parse_batch(body, request.headers.get("content-type", ""))
    check_catalogue(champion.items, asked)
    made: list[Made] = []
    answers = []
    for one in asked:  # each takes a turn of its own, so that other requests are answered between two lists
        began = time.perf_counter()
        sent, request_id = one.model_dump_json(exclude_unset=True), request_ids.new()
        left = max(seconds - (began - start), 0.0)
        work = partial(make, worker, champion, one, sent, request_id)
        found = await worker.queue.run(work, left, admitted=bool(made))
        made.append(found)
        answers.append(answer_of(champion.pointer, one, found.prediction, found.items, request_id, began))
    for each in made:
        record(worker, champion, each, "predict_batch")
    milliseconds = round((time.perf_counter() - start) * 1000, 3)
    return json_answer({"answers": answers, "request_id": request_ids.current(), "milliseconds": milliseconds})


def check_catalogue(items: "ServedItems | None", requests: Sequence[PredictRequest]) -> None:
    """Raises what eligible_items() raises for one of the requests of a batch; the fields name its place."""
    for place, request in enumerate(requests):
        try:
            eligible_items(items, request)
        except InvalidRequestError as error:
            raise invalid([{**one, "field": f"requests[{place}].{one['field']}"} for one in error.details]) from error
