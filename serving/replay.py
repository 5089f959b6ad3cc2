"""Makes the list of a stored answer again, from what is stored with it, and compares the two."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from recommenders.errors import DataError
from serving.endpoints.list_making import answered_items, eligible_items, predict, steering_of, users_of
from serving.feedback.stored_answer import StoredAnswer
from serving.lists.predictor import Predictor
from serving.steering.catalogue.files import Catalogue
from serving.steering.catalogue.served_items import ServedItems
from serving.steering.rules.rule_types import Rules
from serving.steering.rules.rules_of_model import BoundRules
from serving.web.answers import UnavailableError
from serving.web.predict_request import PredictRequest
from serving.web.validation import InvalidRequestError


@dataclass(frozen=True)
class Replay:
    """The items of an answer, as they were answered and as they are made again."""

    served: Sequence[Mapping[str, Any]]
    again: Sequence[Mapping[str, Any]]

    @property
    def equal(self) -> bool:
        """Whether both are equal byte for byte: the same items, order and scores."""
        return orjson.dumps(self.served) == orjson.dumps(self.again)


def replay(
    answer: StoredAnswer, predictor: Predictor, catalogue: Catalogue | None = None, rules: Rules | None = None
) -> Replay:
    """The answer made again. predictor: of the version that made it. catalogue, rules: those that the answer names."""
    return Replay(answer.items, make_list(answer, predictor, answer.recent, answer.answered_at, catalogue, rules))


def make_list(
    answer: StoredAnswer,
    predictor: Predictor,
    recent: Sequence[str],
    clock: int,
    catalogue: Catalogue | None = None,
    rules: Rules | None = None,
) -> list[dict[str, Any]]:
    """The items for the request of a stored answer, by any model, for other events of the user or at another time.

    Raises DataError if the catalogue has not the fields and filters of the request, or if they need one and it is None;
    RulesError if the rules do not fit the catalogue.
    """
    request = PredictRequest.model_validate_json(answer.request)
    items = ServedItems(catalogue, predictor.model.items_) if catalogue else None
    try:
        eligible = eligible_items(items, request)
    except (InvalidRequestError, UnavailableError) as error:
        raise DataError(f"answer {answer.request_id} cannot be made again: {error}") from error
    bound = BoundRules(rules, items, predictor.model.items_) if rules else None
    steering = steering_of(bound, request, clock, answer.request_id)
    made = predict(predictor, request, recent, clock, eligible, steering, users_of(items), answer.since)
    return answered_items(request, made, items)
