"""The configuration of hybrid_learned."""

from typing import ClassVar

from pydantic import Field, field_validator

from recommenders.errors import choices
from recommenders.models.popularity import Popularity
from recommenders.models.recommender import ModelConfig
from recommenders.models.search_space import Range, SearchSpace

BASE_MODELS = (
    "popularity",
    "content_based",
    "collaborative_filtering",
    "ease",
    "ials",
    "sasrec",
    "repurchase",
    "neural_collaborative",
)


class HybridLearnedConfig(ModelConfig):
    """Which base models propose candidates, and how the ranker is trained."""

    base_models: tuple[str, ...] = Field(
        default=BASE_MODELS,
        description="Names of the base models, each once: `popularity` and at least one other model that is no "
        "ensemble.",
    )
    n_candidates: int = Field(
        default=40,
        ge=1,
        description="Number of items that each base model proposes, if it scores all items at low cost.",
    )
    n_windows: int = Field(
        default=3,
        ge=1,
        description="Number of training windows in a log with dates. Each begins half a window before the next one. "
        "With 1, base models that are expensive to fit take part too.",
    )
    max_users: int = Field(
        default=6000, ge=1, description="Maximum number of known users of each window that train the rankers."
    )
    cold_start_share: float = Field(
        default=0.25,
        ge=0,
        le=1,
        description="Share of the known users of each window that is shown to the rankers as cold-start users, by "
        "items alone.",
    )
    n_estimators: int = Field(default=120, ge=1, description="Number of trees of each ranker.")
    max_depth: int = Field(default=5, ge=1, le=8, description="Maximum depth of a tree.")
    learning_rate: float = Field(default=0.06, gt=0, description="Learning rate of the boosting.")

    search_space: ClassVar[SearchSpace] = {
        "n_candidates": Range(low=20, high=100, log=True),
        "n_estimators": Range(low=60, high=400, log=True),
        "max_depth": Range(low=3, high=7),
        "learning_rate": Range(low=0.02, high=0.2, log=True),
    }

    @field_validator("base_models")
    @classmethod
    def _base_models_exist(cls, base_models: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [name for name in base_models if name not in BASE_MODELS]:
            raise ValueError(f"unknown base model {', '.join(unknown)}; {choices(unknown[0], BASE_MODELS)}")
        if twice := sorted({name for name in base_models if base_models.count(name) > 1}):
            raise ValueError(f"{', '.join(twice)} is there more than once; name each base model once")
        if Popularity.name not in base_models or len(base_models) < 2:
            raise ValueError("allowed: popularity, which ranks for users without a history, and at least one other")
        return base_models
