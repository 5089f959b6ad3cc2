"""BentoML as it comes, around our predictor: an API with typed arguments, as its quick start shows it.

bentoml serve service:Stock, with BUNDLE in the environment.
"""

import os
from pathlib import Path

import bentoml
from predictor_of import load


@bentoml.service
class Stock:
    """One worker, all settings as they come."""

    def __init__(self) -> None:
        self.predictor = load(Path(os.environ["BUNDLE"]))

    @bentoml.api
    def predict(self, user_id: int, history: list[int] = [], n_recommendations: int = 10) -> dict:  # noqa: B006
        """The list of a user."""
        found = self.predictor.predict(str(user_id), [str(item) for item in history], n_recommendations)
        items = [
            {"item_id": int(item), "score": score} for item, score in zip(found.item_ids, found.scores, strict=True)
        ]
        return {"user_id": user_id, "items": items, "strategy": found.strategy}
