"""A ranker over the candidates of all members, grown on earlier windows of the log."""

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from recommenders.errors import choices
from recommenders.events.histories import Histories
from recommenders.events.interactions import Interactions
from recommenders.math.top_k import top_k
from recommenders.models.ensembles.ensemble import Composed
from recommenders.models.ensembles.hybrid_learned.choice import Choices
from recommenders.models.ensembles.hybrid_learned.features import (
    BUYER_FACTS,
    ITEM_FACTS,
    PAIR_FACTS,
    Habits,
    item_facts,
    usual_intervals,
)
from recommenders.models.ensembles.hybrid_learned.member_scores import (
    REFERENCE,
    Looks,
    best_of_each,
    found_columns,
    looks_of,
    unique_rows,
)
from recommenders.models.ensembles.hybrid_learned.rankers import Rankers
from recommenders.models.popularity import Popularity
from recommenders.models.recommender import ModelConfig, Ranked, Recommender, Tracker

if TYPE_CHECKING:
    from recommenders.features.items import ItemFeatures

MEMBERS = (
    "popularity",
    "content_based",
    "collaborative_filtering",
    "linear_items",
    "implicit_factors",
    "sequential",
    "reorder",
    "neural_collaborative",
)
N_REFERENCES = 256  # items that stand for all others where a member scores only candidates
CELLS = 20_000_000  # scores (buyers x items x members) held at once


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


class HybridLearned(Composed):
    """Every member proposes its best items; boosted trees order them by what members, habits and trade say.

    Members that score all items cheaply propose; the others are asked about the candidates alone. What a member says
    of an item is told relative to the mean item (0) and to the member's tenth best for this buyer (1), so that
    scores mean the same for every buyer, member and data set. Friedman 2001; Covington et al. 2016 (two stages).
    """

    name = "hybrid_learned"
    Config = HybridLearnedConfig
    config: HybridLearnedConfig

    scans_cheaply: ClassVar[bool] = False
    ranks_candidates: ClassVar[bool] = True

    rankers_: Rankers
    choices_: Choices  # where a base model orders pairs instead of the ranker, or beside it
    item_facts_: NDArray[np.float32]  # (n_items, len(ITEM_FACTS))
    intervals_: NDArray[np.float32]  # (n_items,) days
    categories_: NDArray[np.int32]  # (n_items,)
    references_: NDArray[np.int32]  # (N_REFERENCES,) item columns
    horizon_: float  # days

    def wanted(self) -> list[str]:
        """The configured members."""
        return list(self.config.members)

    def worth_fitting(self, interactions: Interactions) -> list[str]:
        """Without those that take minutes where each of several windows would cost another fit of them."""
        from recommenders.models.catalog import model_class

        if not interactions.dated or self.config.n_windows == 1:
            return self.wanted()
        return [name for name in self.wanted() if not model_class(name).dear_to_fit]

    # -- learning

    def _learn(self, interactions: Interactions, features: "ItemFeatures | None", tracker: Tracker | None) -> None:
        self.look_at(interactions, features)
        taken = getattr(self, "rankers_", None)
        if taken is None:
            from recommenders.models.ensembles.hybrid_learned.training import (
                grow,  # scikit-learn, which answering never needs
            )

            self.rankers_, self.choices_ = grow(self, interactions, features)

    def take_ranker(self, other: "HybridLearned") -> None:
        """Ranks as another model of the same recipe does, which was grown on an earlier cut of the same log."""
        self.rankers_, self.choices_ = other.rankers_, other.choices_

    def look_at(self, interactions: Interactions, features: "ItemFeatures | None") -> None:
        """Gathers what the features need of a log; members stand already."""
        ages = interactions.ages()
        self.horizon_ = float(interactions.horizon_days or max(float(ages.max(initial=0)) / 10, 1.0))
        self.item_facts_ = item_facts(interactions, self.horizon_)
        self.intervals_ = usual_intervals(interactions, self.horizon_)
        names = np.zeros(len(interactions.items), np.int64) if features is None else features.categories
        self.categories_ = np.unique(names, return_inverse=True)[1].astype(np.int32)
        sold = np.bincount(interactions.item_columns, minlength=len(interactions.items)) + 1.0
        rng = np.random.default_rng(self.config.seed)
        size = min(N_REFERENCES, len(sold))
        self.references_ = rng.choice(len(sold), size, replace=False, p=sold / sold.sum()).astype(np.int32)

    # -- answering

    def _recommend_block(
        self,
        user_rows: NDArray[np.int32],
        histories: Histories,
        k: int,
        candidates: NDArray[np.bool_],
        exclude_known: bool,
    ) -> Ranked:
        """What no member proposes is not ranked; each proposes k items at least."""
        looks, columns = self.propose(user_rows, histories, k, candidates, exclude_known)
        scores = self._ranked_scores(user_rows, histories, columns, looks)
        places, best = top_k(np.where(columns >= 0, scores, np.float32(-np.inf)), k)
        found = np.take_along_axis(columns, places.clip(min=0).astype(np.int64), axis=1)
        return Ranked(np.where(np.isneginf(best), np.int32(-1), found), best)

    def score(self, user_rows: NDArray[np.int32], histories: Histories) -> NDArray[np.float32]:
        """(n, n_items): the ranker's log odds of every item; recommend() asks for far fewer."""
        everything = np.broadcast_to(np.arange(len(self.items_), dtype=np.int32), histories.shape)
        return self.score_items(user_rows, histories, everything)

    def score_items(
        self, user_rows: NDArray[np.int32], histories: Histories, item_columns: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        """(n, m): the ranker's log odds that the buyer will want the item."""
        scores = [np.empty((0, item_columns.shape[1]), np.float32)]
        for block in self._scored_together(len(user_rows)):
            rows, known = user_rows[block], histories[block]
            looks, _ = self.propose(rows, known, 0, self.available_, not self.repeat_)
            scores.append(self._ranked_scores(rows, known, item_columns[block], looks))
        return np.concatenate(scores)

    def _scored_together(self, n: int) -> list[slice]:
        size = int(np.clip(CELLS // max(1, len(self.items_) * len(self.members_)), 1, 512))
        return [slice(start, start + size) for start in range(0, n, size)]

    def propose(
        self,
        user_rows: NDArray[np.int32],
        histories: Histories,
        k: int,
        allowed: NDArray[np.bool_],
        exclude_known: bool | None,
    ) -> tuple[Looks, NDArray[np.int32]]:
        """What the members that score all items say, and their candidates, (n, m) with -1 past the last of a buyer.

        k: how many candidates must be found where there are so many; 0 asks for looks alone. exclude_known: None asks
        for the best of all items and half as many of the new ones, as training does.
        """
        names = [name for name, member in self.members_.items() if member.scans_cheaply]
        scores = np.empty((len(names), *histories.shape), dtype=np.float32)
        for place, name in enumerate(names):
            scores[place] = self.members_[name].score(user_rows, histories)
        width = max(self.config.n_candidates, REFERENCE, k)
        closed = [(..., np.flatnonzero(~allowed))]
        known = [*closed, (slice(None), histories.rows, histories.item_columns)]
        usual = best_of_each(scores, width, closed if self.repeat_ else known)
        looks = looks_of(names, scores, usual[1])
        if not k:
            return looks, np.empty((len(user_rows), 0), np.int32)
        proposed = usual
        if self.repeat_ == bool(exclude_known):  # the reference was looked for among other items
            proposed = best_of_each(scores, width, known if exclude_known else closed)
        parts = [found_columns(*proposed)]
        if exclude_known is None and self.repeat_:
            parts.append(found_columns(*best_of_each(scores, max(1, width // 2), known)))
        return looks, unique_rows(np.hstack(parts), len(allowed))

    def _ranked_scores(
        self,
        user_rows: NDArray[np.int32],
        histories: Histories,
        columns: NDArray[np.int32],
        looks: Looks,
    ) -> NDArray[np.float32]:
        """(n, m) the rankers' scores of the pairs with a column of 0 or more, 0 elsewhere."""
        rows, places = np.nonzero(columns >= 0)
        scores = np.zeros(columns.shape, dtype=np.float32)
        features = self.features(user_rows, histories, columns, looks)
        ranked = self.rankers_.score(features, user_rows[rows] >= 0)
        scores[rows, places] = self.choices_.apply(ranked, features, len(self.members_))
        return scores

    def features(
        self,
        user_rows: NDArray[np.int32],
        histories: Histories,
        columns: NDArray[np.int32],
        looks: Looks,
    ) -> NDArray[np.float32]:
        """(n_pairs, n_features) of the pairs with a column of 0 or more, row by row; order: feature_names()."""
        rows, places = np.nonzero(columns >= 0)
        items = columns[rows, places]
        habits = Habits(histories, user_rows >= 0, self.as_of_, self.dated_, self.horizon_)
        said = looks.relative(rows, items)
        for name, member in self.members_.items():
            if name not in said:
                said[name] = self._asked(member, user_rows, histories, columns)[rows, places]
        return np.hstack(
            [
                np.stack([said[name] for name in self.members_], axis=1),
                self.item_facts_[items],
                habits.buyers[rows],
                habits.pairs(rows, items, self.intervals_, self.categories_),
            ]
        )

    def _asked(
        self, member: Recommender, user_rows: NDArray[np.int32], histories: Histories, columns: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        """(n, m): a member's relative scores of some items; items drawn by sales stand for all of them."""
        n_references = len(self.references_)
        references = np.broadcast_to(self.references_, (len(columns), n_references))
        scores = member.score_items(user_rows, histories, np.hstack([references, columns.clip(min=0)]))
        share = min(n_references, max(1, round(n_references * REFERENCE / max(len(self.items_), 1))))
        best = -np.partition(-scores[:, :n_references], share - 1, axis=1)[:, share - 1 : share]
        zero = scores[:, :n_references].mean(axis=1, keepdims=True)
        unit = best - zero
        return np.asarray((scores[:, n_references:] - zero) / np.where(unit > 0, unit, np.float32(1.0)))

    def feature_names(self) -> list[str]:
        """The columns of features()."""
        return [*self.members_, *ITEM_FACTS, *BUYER_FACTS, *PAIR_FACTS]

    # -- on disk

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The trees, and what features need of the log."""
        return {
            **self.rankers_.arrays(),
            "choices": self.choices_.to_array(),
            "item_facts": self.item_facts_,
            "intervals": self.intervals_,
            "categories": self.categories_,
            "references": self.references_,
            "horizon": np.array([self.horizon_]),
        }

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """The inverse of arrays()."""
        self.rankers_, self.choices_ = Rankers.of_arrays(arrays), Choices.from_array(arrays["choices"])
        self.item_facts_, self.intervals_ = arrays["item_facts"], arrays["intervals"]
        self.categories_, self.references_ = arrays["categories"], arrays["references"]
        self.horizon_ = float(arrays["horizon"][0])
