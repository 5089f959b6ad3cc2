"""The weighted blend of models that see different things."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import field_validator

from recommenders.errors import choices
from recommenders.events.histories import Histories
from recommenders.models.ensembles.ensemble import Composed
from recommenders.models.popularity import Popularity
from recommenders.models.recommender import ModelConfig

BLENDED = ("neural_collaborative", "content_based", "collaborative_filtering")
TIE_BREAK = 1e-4  # weight of popularity: orders equals, moves next to nothing else


class HybridConfig(ModelConfig):
    """How much each member counts; the weights are taken relative to their sum."""

    model_weights: dict[str, float] = dict(zip(BLENDED, (0.4, 0.3, 0.3), strict=True))

    @field_validator("model_weights")
    @classmethod
    def _weights_make_sense(cls, weights: dict[str, float]) -> dict[str, float]:
        if unknown := sorted(set(weights) - set(BLENDED)):
            raise ValueError(f"unknown member {', '.join(unknown)}; {choices(unknown[0], BLENDED)}")
        if not all(0 <= weight < np.inf for weight in weights.values()) or not any(weights.values()):
            raise ValueError("weights must be 0 or more, and at least one of them more than 0")
        return weights


class Hybrid(Composed):
    """Per buyer, each member's scores are standardised over the items, and their weighted sum orders the items.

    A weight then buys the same spread of every member, whatever scale its scores have, and a member that is sure of
    a few items (far above its mean) can say so, which ranks or a scaling to [0, 1] would hide.

    Members that know nothing of a buyer, or could not learn from the log, drop out and the others' weights grow to fill
    their place; where none is left, popularity decides.
    """

    name = "hybrid"
    Config = HybridConfig
    config: HybridConfig

    scans_cheaply: ClassVar[bool] = False

    def wanted(self) -> list[str]:
        """Popularity, and the members that have a weight."""
        return [Popularity.name, *(name for name, weight in self.config.model_weights.items() if weight > 0)]

    def score(self, user_rows: NDArray[np.int32], histories: Histories) -> NDArray[np.float32]:
        """(n, n_items): the weighted mean of the members' standardised scores, in standard deviations."""
        popular = self.members_[Popularity.name].score(user_rows, histories)  # of each user: `by` may be category
        total = np.zeros((len(user_rows), 1), dtype=np.float32)
        scores = np.zeros((len(user_rows), len(self.items_)), dtype=np.float32)
        for name, member in self.members_.items():
            weight = self.config.model_weights.get(name, 0.0)
            if weight > 0:
                share = (weight * member.knows(user_rows, histories)).astype(np.float32)[:, None]
                scores += share * standardised(member.score(user_rows, histories))
                total += share
        scores /= np.maximum(total, np.float32(1e-12))
        return scores + np.float32(TIE_BREAK) * standardised(popular)


def standardised(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each row with mean 0 and standard deviation 1; a constant row becomes 0. Shape is kept."""
    centred: NDArray[np.float32] = scores - scores.mean(axis=1, keepdims=True)
    spread = centred.std(axis=1, keepdims=True)
    centred /= np.where(spread > 0, spread, np.float32(1.0))
    return centred
