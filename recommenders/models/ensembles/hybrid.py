"""Weighted sum of the standardised scores of several base models."""

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from recommenders.errors import choices
from recommenders.events.histories import Histories
from recommenders.models.ensembles.ensemble import Ensemble
from recommenders.models.popularity import Popularity
from recommenders.models.recommender import ModelConfig
from recommenders.models.search_space import Range, SearchSpace

BASE_MODELS = ("neural_collaborative", "content_based", "collaborative_filtering")
TIE_BREAK = 1e-4  # weight of popularity: breaks ties and changes almost nothing else


class HybridConfig(ModelConfig):
    """The weight of each base model. Only the weights relative to their sum matter."""

    model_weights: dict[str, float] = Field(
        default=dict(zip(BASE_MODELS, (0.4, 0.3, 0.3), strict=True)),
        description="Weight of each base model: a number of 0 or more, at least one of them above 0. The base models "
        f"are {', '.join(f'`{name}`' for name in BASE_MODELS)}; one that is not named has weight 0.",
    )

    search_space: ClassVar[SearchSpace] = {f"model_weights.{name}": Range(low=0.0, high=1.0) for name in BASE_MODELS}

    @field_validator("model_weights")
    @classmethod
    def _weights_make_sense(cls, weights: dict[str, float]) -> dict[str, float]:
        if unknown := sorted(set(weights) - set(BASE_MODELS)):
            raise ValueError(f"unknown base model {', '.join(unknown)}; {choices(unknown[0], BASE_MODELS)}")
        if not all(0 <= weight < np.inf for weight in weights.values()) or not any(weights.values()):
            raise ValueError("weights must be 0 or more, and at least one of them more than 0")
        return weights


class Hybrid(Ensemble):
    """For each user, the scores of each base model are standardised over the items and summed with weights.

    So a weight has the same effect for every base model, whatever the scale of its scores. A few items far above the
    mean keep their distance, which ranks or a scaling to [0, 1] would remove.

    A base model that does not cover a user, or that was skipped, gets weight 0; the other weights are scaled up. If no
    base model is left, popularity ranks the items.
    """

    name = "hybrid"
    Config = HybridConfig
    config: HybridConfig

    def base_model_names(self) -> list[str]:
        """Popularity, and the base models with a weight above 0."""
        return [Popularity.name, *(name for name, weight in self.config.model_weights.items() if weight > 0)]

    def score(self, user_rows: NDArray[np.int32], histories: Histories) -> NDArray[np.float32]:
        """(n, n_items): the weighted mean of the standardised base scores, in standard deviations."""
        popular = self.base_models_[Popularity.name].score(user_rows, histories)  # per user: `by` may be category
        scores = np.zeros((len(user_rows), len(self.items_)), dtype=np.float32)
        total = np.zeros((len(user_rows), 1), dtype=np.float32)
        for _, share, part in self._weighted(user_rows, histories):
            scores += part
            total += share
        scores /= np.maximum(total, np.float32(1e-12))
        return scores + np.float32(TIE_BREAK) * standardised(popular)

    def _weighted(
        self, user_rows: NDArray[np.int32], histories: Histories
    ) -> Iterator[tuple[str, NDArray[np.float32], NDArray[np.float32]]]:
        """The name of each base model, its weight for each user (n, 1), and its weighted scores (n, n_items)."""
        for name, model in self.base_models_.items():
            weight = self.config.model_weights.get(name, 0.0)
            if weight > 0:
                share = (weight * model.covers(user_rows, histories)).astype(np.float32)[:, None]
                yield name, share, share * standardised(model.score(user_rows, histories))

    def contributions(
        self,
        user_row: int,
        history: Histories,
        item_columns: NDArray[np.int32],
        candidates: NDArray[np.bool_],
        exclude_known: bool,
        k: int,
    ) -> dict[str, NDArray[np.float64]]:
        """Base model -> its weighted standardised scores; popularity has the part that breaks ties."""
        rows = np.array([user_row], dtype=np.int32)
        parts = list(self._weighted(rows, history))
        total = max(sum(float(share[0, 0]) for _, share, _ in parts), 1e-12)
        found = {name: part[0, item_columns].astype(np.float64) / total for name, _, part in parts}
        popular = standardised(self.base_models_[Popularity.name].score(rows, history))
        return found | {Popularity.name: TIE_BREAK * popular[0, item_columns].astype(np.float64)}


def standardised(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each row scaled to mean 0 and standard deviation 1, in the same shape. A constant row becomes 0."""
    centred: NDArray[np.float32] = scores - scores.mean(axis=1, keepdims=True)
    spread = centred.std(axis=1, keepdims=True)
    centred /= np.where(spread > 0, spread, np.float32(1.0))
    return centred
