"""Makes the list for a request of POST /predict: from the request and the stored events to the items as answered."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from recommenders.clock import now_us
from serving.endpoints.worker import Worker
from serving.feedback.stored_answer import StoredAnswer
from serving.web.answers import UnavailableError
from serving.web.predict_request import PredictRequest, Scene, as_sent, as_text, unknown_as_sent, uses_numeric_ids

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from serving.champion.pointer import Pointer
    from serving.champion.watcher import Champion
    from serving.lists.cache.list_cache import ListCache
    from serving.lists.predictor import Prediction, Predictor
    from serving.steering.catalogue.attributes import AttributeTable
    from serving.steering.catalogue.served_items import ServedItems
    from serving.steering.rules.active_rules import Steering
    from serving.steering.rules.rules_of_model import BoundRules
    from serving.traffic.metrics.counters import Endpoint


@dataclass(frozen=True, eq=False)
class Made:
    """A list, and what it was made from."""

    request_id: str
    asked: PredictRequest
    sent: str  # the JSON of the request
    clock: int  # microseconds since 1970, UTC
    recent: Sequence[str]  # item ids of the user's stored events
    eligible: "NDArray[np.bool_] | None"
    steering: "Steering | None"
    prediction: "Prediction"
    items: list[dict[str, Any]]  # as they are answered
    since: int | None = None  # of an erased user: only events after this time count


def make(
    worker: Worker,
    champion: "Champion",
    asked: PredictRequest,
    sent: str,
    request_id: str,
) -> Made:
    """The list for a request, now. sent: its JSON."""
    recent: Sequence[str] = ()
    since = None
    if worker.feedback:
        since = worker.feedback.erased_at(as_text(asked.user_id))  # before the events, see RecentEvents.erased_at()
        recent = worker.feedback.recent_items(as_text(asked.user_id), champion.feedback_position)
    return make_at(champion, asked, sent, request_id, recent, now_us(), since, worker.cache)


def make_at(
    champion: "Champion",
    asked: PredictRequest,
    sent: str,
    request_id: str,
    recent: Sequence[str],
    clock: int,
    since: int | None = None,
    cache: "ListCache | None" = None,
) -> Made:
    """The list for a request at a time. recent: item ids of the user's stored events. clock: microseconds, UTC.

    request_id: empty for a list without exploration. since: when the user was erased, if ever. cache: where the list
    may be, and is stored, unless it depends on the request id.
    """
    eligible = eligible_items(champion.items, asked)
    steering = steering_of(champion.rules, asked, clock, request_id)
    made_from = (asked, recent, clock, eligible, steering, users_of(champion.items), since)
    is_explored = steering is not None and steering.draw is not None
    prediction = prepared(champion.predictor, *made_from) if cache else None
    if prediction is None and cache and not is_explored:
        parts = _parts(champion, asked, recent, clock, steering, since)
        live = partial(predict, champion.predictor, *made_from)
        prediction = cache.list_for(as_text(asked.user_id), parts, live)
    if prediction is None:
        prediction = predict(champion.predictor, *made_from)
    items = answered_items(asked, prediction, champion.items)
    return Made(request_id, asked, sent, clock, recent, eligible, steering, prediction, items, since)


def prepared(
    predictor: "Predictor",
    asked: PredictRequest,
    recent: Sequence[str],
    clock: int,
    eligible: "NDArray[np.bool_] | None",
    steering: "Steering | None",
    users: "AttributeTable | None",
    since: int | None,
) -> "Prediction | None":
    """The list, if it is in memory because it was made for all known users. The arguments are those of predict()."""
    is_changed = asked.scene != "for_you" or asked.history or asked.exclude or asked.diversity or recent
    if is_changed or eligible is not None or steering is not None or since is not None:
        return None
    moment = predictor.lists.moment(clock)
    return predictor.prepared(as_text(asked.user_id), asked.n_recommendations, moment)


def _parts(
    champion: "Champion",
    asked: PredictRequest,
    recent: Sequence[str],
    clock: int,
    steering: "Steering | None",
    since: int | None,
) -> list[object]:
    """All that a list is made from besides the user, as a cache needs it: see serving.lists.cache.list_cache.

    The time counts only by the items on sale and the rules that are active.
    """
    predictor, items, rules = champion.predictor, champion.items, champion.rules
    return [
        champion.pointer.bundle_sha256,
        predictor.precomputed.version if predictor.precomputed else "",  # a list made from them may differ by rounding
        items.version if items else "",
        rules.version if rules else "",
        [each.rule.name for each in steering.active] if steering else [],
        predictor.lists.sale_period(predictor.lists.moment(clock)),
        recent,
        since,
        asked.model_dump_json(),
    ]


def record(worker: Worker, champion: "Champion", made: Made, endpoint: "Endpoint" = "predict") -> None:
    """Counts a list, and stores it in the feedback store."""
    pointer, strategy = champion.pointer, made.prediction.strategy
    worker.metrics.record_list(strategy, str(pointer.version), endpoint)
    worker.metrics.record_rules(made.prediction.effects)
    if worker.feedback:
        user_id, catalogue = as_text(made.asked.user_id), champion.items.version if champion.items else ""
        made_by = (made.asked.scene, strategy, pointer.model, pointer.version)
        rules = champion.rules.version if champion.rules else ""
        made_from = (made.sent, made.recent, made.items)
        answer = StoredAnswer(made.request_id, made.clock, user_id, *made_by, *made_from, catalogue, rules, made.since)
        worker.feedback.store_answer(answer)


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


def users_of(items: "ServedItems | None") -> "AttributeTable | None":
    """The attributes of all users, by which a user without a history gets a list; None without a catalogue."""
    return items.catalogue.users if items else None


def steering_of(rules: "BoundRules | None", request: PredictRequest, clock: int, request_id: str) -> "Steering | None":
    """What the rules of the shop ask of the list for a request; None if no rule is active. clock: of the answer.

    A list with reasons is not explored: they are about the model's ranks.
    """
    if rules is None:
        return None
    user_id, scene, n = as_text(request.user_id), request.scene, request.n_recommendations
    return rules.steering(user_id, scene, n, clock, request.context, "" if request.explain else request_id)


def predict(
    predictor: "Predictor",
    request: PredictRequest,
    recent: Sequence[str],
    clock: int,
    eligible: "NDArray[np.bool_] | None" = None,
    steering: "Steering | None" = None,
    users: "AttributeTable | None" = None,
    since: int | None = None,
) -> "Prediction":
    """The list for a request at a time, in microseconds since 1970, UTC.

    recent: item ids of the user's stored events, which come before those of the request. eligible: from
    eligible_items(). steering: from steering_of(). users: from users_of(). since: when the user was erased, if ever.
    """
    user_id, history, scene, exclude = user_of(request, recent)
    moment = predictor.lists.moment(clock)
    among = (scene, exclude, eligible, steering, users, since, request.diversity)
    return predictor.predict(user_id, history, request.n_recommendations, moment, *among)


def user_of(request: PredictRequest, recent: Sequence[str]) -> tuple[str, list[str], Scene, list[str]]:
    """The user id, the history after the stored events, the scene and the excluded items, as Predictor takes them."""
    history = [as_text(id_) for id_ in request.history]
    if request.scene != "basket":
        history = [*recent, *history]
    return as_text(request.user_id), history, request.scene, [as_text(id_) for id_ in request.exclude]


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
    for item, names in zip(answered, prediction.rules, strict=False):  # without rules there are none
        if names:
            item["rules"] = list(names)
    for item, propensity in zip(answered, prediction.propensities, strict=False):
        if propensity is not None:
            item["propensity"] = propensity
    if items and request.fields:
        for item, item_id in zip(answered, prediction.item_ids, strict=True):
            item["fields"] = items.values(item_id, request.fields)
    return answered
