"""Makes the list of a stored answer again, from what is stored with it, and compares the two."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from serving.endpoints.predict import answered_items, predict
from serving.feedback.stored_answer import StoredAnswer
from serving.lists.predictor import Predictor
from serving.web.predict_request import PredictRequest


@dataclass(frozen=True)
class Replay:
    """The items of an answer, as they were answered and as they are made again."""

    served: Sequence[Mapping[str, Any]]
    again: Sequence[Mapping[str, Any]]

    @property
    def equal(self) -> bool:
        """Whether both are equal byte for byte: the same items, order and scores."""
        return orjson.dumps(self.served) == orjson.dumps(self.again)


def replay(answer: StoredAnswer, predictor: Predictor) -> Replay:
    """The answer made again. predictor: of the version that made it."""
    return Replay(answer.items, make_list(answer, predictor, answer.recent, answer.answered_at))


def make_list(answer: StoredAnswer, predictor: Predictor, recent: Sequence[str], clock: int) -> list[dict[str, Any]]:
    """The items for the request of a stored answer, by any model, for other events of the user or at another time."""
    request = PredictRequest.model_validate_json(answer.request)
    return answered_items(request, predict(predictor, request, recent, clock))
