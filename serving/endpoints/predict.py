"""POST /predict: a list for a user."""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from serving.feedback.stored_answer import StoredAnswer
from serving.web import request_ids
from serving.web.answers import UnavailableError, answer_or_problem, json_answer
from serving.web.body import read_body
from serving.web.deadline import deadline_seconds
from serving.web.predict_request import PredictRequest, as_sent, as_text, parse, unknown_as_sent, uses_numeric_ids
from serving.worker import Worker

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from serving.catalogue.served_items import ServedItems
    from serving.champion_watcher import Champion
    from serving.lists.predictor import Prediction, Predictor
    from serving.pointer import Pointer
    from serving.rules.bound import BoundRules
    from serving.rules.steering import Steering


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
        feedback, pointer, request_id = self._worker.feedback, champion.pointer, request_ids.current()
        user_id, position = as_text(asked.user_id), champion.feedback_position
        recent = feedback.recent_items(user_id, position) if feedback else []
        clock, eligible = time.time_ns() // 1000, eligible_items(champion.items, asked)
        steering = steering_of(champion.rules, asked, clock)
        prediction = predict(champion.predictor, asked, recent, clock, eligible, steering)
        items = answered_items(asked, prediction, champion.items)
        self._worker.metrics.record_list(prediction.strategy, str(pointer.version))
        self._worker.metrics.record_rules(prediction.effects)
        if feedback:
            made_by = (asked.scene, prediction.strategy, pointer.model, pointer.version)
            catalogue = champion.items.version if champion.items else ""
            rules = champion.rules.version if champion.rules else ""
            made_from = (body.decode(), recent, items, catalogue)
            feedback.store_answer(StoredAnswer(request_id, clock, user_id, *made_by, *made_from, rules=rules))
        return json_answer(answer_of(pointer, asked, prediction, items, request_id, start))


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


def eligible_items(items: "ServedItems | None", request: PredictRequest) -> "NDArray[np.bool_] | None":
    """Which items of the model meet the filters of a request; None without filters. items: with their attributes.

    Raises InvalidRequestError for an attribute or condition that is not allowed, UnavailableError without a catalogue.
    """
    if not request.fields and not request.filters:
        return None
    if items is None:
        raise UnavailableError("no catalogue is loaded yet, so there are no fields and filters: see /health")
    conditions = items.check(request.fields, request.filters)
    return items.mask(conditions) if conditions else None


def steering_of(rules: "BoundRules | None", request: PredictRequest, clock: int) -> "Steering | None":
    """What the rules of the shop ask of the list for a request; None if no rule is active. clock: of the answer."""
    if rules is None:
        return None
    return rules.steering(as_text(request.user_id), request.scene, request.n_recommendations, clock)


def predict(
    predictor: "Predictor",
    request: PredictRequest,
    recent: Sequence[str],
    clock: int,
    eligible: "NDArray[np.bool_] | None" = None,
    steering: "Steering | None" = None,
) -> "Prediction":
    """The list for a request at a time, in microseconds since 1970, UTC.

    recent: item ids of the user's stored events, which come before those of the request. eligible: from
    eligible_items(). steering: from steering_of().
    """
    history = [as_text(id_) for id_ in request.history]
    return predictor.predict(
        as_text(request.user_id),
        history if request.scene == "basket" else [*recent, *history],
        request.n_recommendations,
        predictor.lists.moment(clock),
        scene=request.scene,
        exclude=[as_text(id_) for id_ in request.exclude],
        eligible=eligible,
        steering=steering,
    )


def answered_items(
    request: PredictRequest, prediction: "Prediction", items: "ServedItems | None" = None
) -> list[dict[str, Any]]:
    """The items of a list as they are answered, best first. items: with the attributes that the request may name."""
    numbers = uses_numeric_ids(request)
    scores: Sequence[float | None] = prediction.probabilities or [None] * len(prediction.item_ids)
    answered: list[dict[str, Any]] = [
        {"item_id": as_sent(item_id, numbers), "rank": rank, "score": score}
        for rank, (item_id, score) in enumerate(zip(prediction.item_ids, scores, strict=True), 1)
    ]
    for item, names in zip(answered, prediction.rules, strict=False):
        if names:
            item["rules"] = list(names)
    if items and request.fields:
        for item, item_id in zip(answered, prediction.item_ids, strict=True):
            item["fields"] = items.values(item_id, request.fields)
    return answered
