"""POST /predict, a list for a user; and POST /predict/batch, lists for many users."""

import asyncio
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from serving.endpoints.reasons import answered_reasons, reasons_for
from serving.feedback.stored_answer import StoredAnswer
from serving.web.answers import UnavailableError, answer_or_problem, json_answer
from serving.web.body import read_body
from serving.web.predict_request import (
    PredictRequest,
    Scene,
    as_sent,
    as_text,
    parse,
    parse_batch,
    unknown_as_sent,
    uses_numeric_ids,
)
from serving.worker import Worker

if TYPE_CHECKING:
    from serving.champion_watcher import Champion
    from serving.lists.predictor import Prediction, Predictor
    from serving.pointer import Pointer


def routes(worker: Worker) -> list[BaseRoute]:
    """The routes of lists."""

    async def predict_batch(request: Request) -> Response:
        request_id = secrets.token_hex(8)
        return await answer_or_problem(batch(worker, request, request_id), request_id)

    return [
        Route("/predict", Predict(worker), methods=["POST"]),
        Route("/predict/batch", predict_batch, methods=["POST"]),
    ]


class Predict:
    """POST /predict. An ASGI endpoint: Starlette calls it without the wrappers that a function gets."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The entry point that ASGI defines."""
        start = time.perf_counter()
        request_id = secrets.token_hex(8)
        response = await answer_or_problem(self._answer(Request(scope, receive), request_id, start), request_id)
        self._worker.metrics.record_request(response.status_code, time.perf_counter() - start)
        await response(scope, receive, send)

    async def _answer(self, request: Request, request_id: str, start: float) -> Response:
        champion = self._worker.champion
        body = await read_body(request)
        if champion is None:
            raise UnavailableError(self._worker.unavailable_reason())
        asked = parse(body, request.headers.get("content-type", ""))
        return json_answer(await answer(self._worker, champion, asked, body.decode(), request_id, start))


async def batch(worker: Worker, request: Request, request_id: str) -> Response:
    """The answers to the requests of POST /predict/batch, in their order, by one version."""
    start, champion = time.perf_counter(), worker.champion
    body = await read_body(request)
    if champion is None:
        raise UnavailableError(worker.unavailable_reason())
    answers = []
    for asked in parse_batch(body, request.headers.get("content-type", "")):
        sent, began = asked.model_dump_json(exclude_unset=True), time.perf_counter()
        answers.append(await answer(worker, champion, asked, sent, secrets.token_hex(8), began))
        await asyncio.sleep(0)  # other requests are answered between two lists
    milliseconds = round((time.perf_counter() - start) * 1000, 3)
    return json_answer({"answers": answers, "request_id": request_id, "milliseconds": milliseconds})


async def answer(
    worker: Worker, champion: "Champion", asked: PredictRequest, sent: str, request_id: str, start: float
) -> dict[str, Any]:
    """The content of the answer to a request, which is stored too. sent: its JSON. start: by perf_counter."""
    feedback, pointer = worker.feedback, champion.pointer
    recent = feedback.recent_items(as_text(asked.user_id)) if feedback else []
    clock = time.time_ns() // 1000
    prediction = predict(champion.predictor, asked, recent, clock)
    items = answered_items(asked, prediction)
    worker.metrics.record_list(prediction.strategy, str(pointer.version))
    if feedback:
        made_by = (asked.scene, prediction.strategy, pointer.model, pointer.version)
        user_id = as_text(asked.user_id)
        feedback.store_answer(StoredAnswer(request_id, clock, user_id, *made_by, sent, recent, items))
    if asked.explain:
        predictor = champion.predictor
        query, _ = predictor.query(*user_of(asked, recent))
        reasons = await reasons_for(predictor, query, asked.n_recommendations, predictor.lists.moment(clock))
        numbers = uses_numeric_ids(asked)
        items = [{**item, "reasons": answered_reasons(one, numbers)} for item, one in zip(items, reasons, strict=True)]
    return answer_of(pointer, asked, prediction, items, request_id, start)


def answer_of(
    pointer: "Pointer",
    request: PredictRequest,
    prediction: "Prediction",
    items: Sequence[Mapping[str, Any]],
    request_id: str,
    start: float,
) -> dict[str, Any]:
    """The content of an answer. start: of the request, by perf_counter."""
    return {
        "user_id": request.user_id,
        "items": items,
        "model": pointer.model,
        "version": pointer.version,
        "strategy": prediction.strategy,
        "scene": request.scene,
        "unknown_items": unknown_as_sent(request.history, set(prediction.unknown_items)),
        "request_id": request_id,
        "milliseconds": round((time.perf_counter() - start) * 1000, 3),
    }


def predict(predictor: "Predictor", request: PredictRequest, recent: Sequence[str], clock: int) -> "Prediction":
    """The list for a request at a time, in microseconds since 1970, UTC.

    recent: item ids of the user's stored events, which come before those of the request.
    """
    user = user_of(request, recent)
    return predictor.predict(*user[:2], request.n_recommendations, predictor.lists.moment(clock), *user[2:])


def user_of(request: PredictRequest, recent: Sequence[str]) -> tuple[str, list[str], Scene, list[str]]:
    """The user id, the history after the stored events, the scene and the excluded items, as Predictor takes them."""
    history = [as_text(id_) for id_ in request.history]
    if request.scene != "basket":
        history = [*recent, *history]
    return as_text(request.user_id), history, request.scene, [as_text(id_) for id_ in request.exclude]


def answered_items(request: PredictRequest, prediction: "Prediction") -> list[dict[str, Any]]:
    """The items of a list as they are answered, best first."""
    numbers = uses_numeric_ids(request)
    return [
        {"item_id": as_sent(item_id, numbers), "rank": rank, "score": score}
        for rank, (item_id, score) in enumerate(zip(prediction.item_ids, prediction.scores, strict=True), 1)
    ]
