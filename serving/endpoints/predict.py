"""POST /predict: a list for a user."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from serving.web import request_ids
from serving.web.answers import UnavailableError, answer_or_problem, json_answer
from serving.web.body import read_body
from serving.web.deadline import deadline_seconds
from serving.web.predict_request import PredictRequest, as_sent, as_text, parse, unknown_as_sent, uses_numeric_ids
from serving.worker import Worker

if TYPE_CHECKING:
    from serving.champion_watcher import Champion


def routes(worker: Worker) -> list[BaseRoute]:
    """The routes of lists."""
    return [Route("/predict", Predict(worker), methods=["POST"])]


class Predict:
    """POST /predict. An ASGI endpoint: Starlette calls it without the wrappers that a function gets."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The entry point that ASGI defines."""
        start = time.perf_counter()
        response = await answer_or_problem(self._answer(Request(scope, receive), start))
        await response(scope, receive, send)

    async def _answer(self, request: Request, start: float) -> Response:
        champion = self._worker.champion
        body = await read_body(request)
        if champion is None:
            raise UnavailableError(self._worker.unavailable_reason())
        seconds = deadline_seconds(request.headers, self._worker.settings.deadline_ms)
        return await self._worker.turns.take(lambda: self._list(champion, body, request, start), seconds)

    def _list(self, champion: "Champion", body: bytes, request: Request, start: float) -> Response:
        asked = parse(body, request.headers.get("content-type", ""))
        feedback = self._worker.feedback
        recent = feedback.recent_items(as_text(asked.user_id)) if feedback else []
        content, strategy = list_for(champion, asked, request_ids.current(), start, recent)
        self._worker.metrics.record_list(strategy, str(champion.pointer.version))
        return json_answer(content)


def list_for(
    champion: "Champion", request: PredictRequest, request_id: str, start: float, recent: Sequence[str] = ()
) -> tuple[dict[str, Any], str]:
    """The content of the answer, and the strategy that made the list.

    start: of the request, by perf_counter. recent: item ids of the user's stored events, before those of the request.
    """
    history = [as_text(id_) for id_ in request.history]
    if request.scene != "basket":
        history = [*recent, *history]
    prediction = champion.predictor.predict(
        as_text(request.user_id),
        history,
        request.n_recommendations,
        scene=request.scene,
        exclude=[as_text(id_) for id_ in request.exclude],
    )
    numbers = uses_numeric_ids(request)
    content = {
        "user_id": request.user_id,
        "items": [
            {"item_id": as_sent(item_id, numbers), "rank": rank, "score": score}
            for rank, (item_id, score) in enumerate(zip(prediction.item_ids, prediction.scores, strict=True), 1)
        ],
        "model": champion.pointer.model,
        "version": champion.pointer.version,
        "strategy": prediction.strategy,
        "scene": request.scene,
        "unknown_items": unknown_as_sent(request.history, set(prediction.unknown_items)),
        "request_id": request_id,
        "milliseconds": round((time.perf_counter() - start) * 1000, 3),
    }
    return content, prediction.strategy
