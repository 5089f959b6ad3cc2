"""What hybrid_learned can be set to."""

from typing import TYPE_CHECKING

from pydantic import Field, field_validator

from recommenders.errors import choices
from recommenders.models.popularity import Popularity
from recommenders.models.recommender import ModelConfig

if TYPE_CHECKING:
    pass


MEMBERS = (
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
    """Whose candidates are ranked, and how the ranker is grown."""

    members: tuple[str, ...] = MEMBERS
    n_candidates: int = Field(default=40, ge=1)  # of each member
    n_windows: int = Field(default=3, ge=1)  # earlier windows to learn from, each begun half a horizon before the next
    max_users: int = Field(default=6000, ge=1)  # learned from in each window
    stranger_share: float = Field(default=0.25, ge=0, le=1)  # of them seen as strangers, by their items alone
    trees: int = Field(default=120, ge=1)  # of each ranker
    depth: int = Field(default=5, ge=1, le=8)
    learning_rate: float = Field(default=0.06, gt=0)

    @field_validator("members")
    @classmethod
    def _members_exist(cls, members: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [name for name in members if name not in MEMBERS]:
            raise ValueError(f"unknown member {', '.join(unknown)}; {choices(unknown[0], MEMBERS)}")
        if twice := sorted({name for name in members if members.count(name) > 1}):
            raise ValueError(f"{', '.join(twice)} is there more than once; name each member once")
        if Popularity.name not in members or len(members) < 2:
            raise ValueError("allowed: popularity, which ranks for users without a history, and at least one other")
        return members
