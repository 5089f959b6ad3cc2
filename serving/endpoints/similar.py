"""GET /similar/{item_id}: the substitutes or the complements of an item."""

import asyncio
import time

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from serving.endpoints.worker import Worker
from serving.web import request_ids
from serving.web.answers import UnavailableError, answer_or_problem, json_answer
from serving.web.predict_request import parse_similar
from serving.web.validation import InvalidRequestError, display_value


def routes(worker: Worker) -> list[BaseRoute]:
    """The route of similar items."""

    async def similar(request: Request) -> Response:
        return await answer_or_problem(find(worker, request))

    return [Route("/similar/{item_id:path}", similar)]


async def find(worker: Worker, request: Request) -> Response:
    """The items that are similar to the one in the path."""
    start, champion, item_id = time.perf_counter(), worker.champion, request.path_params["item_id"]
    asked = parse_similar(request.query_params)
    if champion is None:
        raise UnavailableError(worker.unavailable_reason())
    predictor = champion.predictor
    column = predictor.model.items_.row(item_id)
    if column < 0:
        raise InvalidRequestError(
            404,
            f"item_id: got {display_value(item_id)}; allowed: an item that version {champion.pointer.version} of "
            f"{champion.pointer.dataset} knows; send an id as it is in the data, or train again with its data",
        )
    candidates = predictor.lists.on_sale()
    # in a thread: the first call of a version groups all events by order, and no other request waits for that
    found = await asyncio.to_thread(predictor.similar_items.find, asked.kind, column, asked.n, candidates)
    worker.metrics.record_list(found.source, str(champion.pointer.version), "similar")
    items = [
        {"item_id": predictor.item_ids[found_column], "rank": rank, "score": score}
        for rank, (found_column, score) in enumerate(zip(found.item_columns, found.scores, strict=True), 1)
    ]
    return json_answer(
        {
            "item_id": item_id,
            "kind": asked.kind,
            "items": items,
            "model": champion.pointer.model,
            "version": champion.pointer.version,
            "strategy": found.source,
            "request_id": request_ids.current(),
            "milliseconds": round((time.perf_counter() - start) * 1000, 3),
        }
    )
