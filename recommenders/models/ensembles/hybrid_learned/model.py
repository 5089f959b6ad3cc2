"""A ranker over the candidates of all members, grown on earlier windows of the log."""

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from recommenders.events.histories import Histories
from recommenders.events.interactions import Interactions
from recommenders.math.top_k import top_k
from recommenders.models.ensembles.ensemble import Composed
from recommenders.models.ensembles.hybrid_learned.candidates import Candidates
from recommenders.models.ensembles.hybrid_learned.choice import Choices
from recommenders.models.ensembles.hybrid_learned.config import HybridLearnedConfig
from recommenders.models.ensembles.hybrid_learned.member_scores import (
    Looks,
)
from recommenders.models.ensembles.hybrid_learned.rankers import Rankers
from recommenders.models.recommender import Ranked, Tracker

if TYPE_CHECKING:
    from recommenders.features.items import ItemFeatures
CELLS = 20_000_000  # scores (buyers x items x members) held at once


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
    candidates_: Candidates

    def wanted(self) -> list[str]:
        """The configured members."""
        return list(self.config.members)

    def worth_fitting(self, interactions: Interactions) -> list[str]:
        """Without those that take minutes where each of several windows would cost another fit of them."""
        from recommenders.models.catalog import model_class

        if not interactions.dated or self.config.n_windows == 1:
            return self.wanted()
        return [name for name in self.wanted() if not model_class(name).dear_to_fit]

    def _learn(self, interactions: Interactions, features: "ItemFeatures | None", tracker: Tracker | None) -> None:
        self.candidates_ = Candidates.of(self.config, self.members_, interactions, features)
        if not hasattr(self, "rankers_"):
            from recommenders.models.ensembles.hybrid_learned.training import (  # scikit-learn, never needed to answer
                fit_rankers,
            )

            self.candidates_, self.rankers_, self.choices_ = fit_rankers(self.candidates_, interactions, features)
            self.members_ = self.candidates_.base_models

    def copy_rankers(self, other: "HybridLearned") -> None:
        """Ranks as another model of the same recipe does, which was fitted on an earlier cut of the same log."""
        self.rankers_, self.choices_ = other.rankers_, other.choices_

    def _recommend_block(
        self,
        user_rows: NDArray[np.int32],
        histories: Histories,
        k: int,
        candidates: NDArray[np.bool_],
        exclude_known: bool,
    ) -> Ranked:
        """What no member proposes is not ranked; each proposes k items at least."""
        looks, columns = self.candidates_.propose(user_rows, histories, k, candidates, exclude_known)
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
            looks, _ = self.candidates_.propose(rows, known, 0, self.available_, not self.repeat_)
            scores.append(self._ranked_scores(rows, known, item_columns[block], looks))
        return np.concatenate(scores)

    def _scored_together(self, n: int) -> list[slice]:
        size = int(np.clip(CELLS // max(1, len(self.items_) * len(self.members_)), 1, 512))
        return [slice(start, start + size) for start in range(0, n, size)]

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
        features = self.candidates_.features(user_rows, histories, columns, looks)
        ranked = self.rankers_.score(features, user_rows[rows] >= 0)
        scores[rows, places] = self.choices_.apply(ranked, features, len(self.members_))
        return scores

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The trees, and what features need of the log."""
        return {
            **self.rankers_.arrays(),
            "choices": self.choices_.to_array(),
            **self.candidates_.arrays(),
        }

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """The inverse of arrays()."""
        self.rankers_, self.choices_ = Rankers.of_arrays(arrays), Choices.from_array(arrays["choices"])
        self.candidates_ = Candidates(
            self.config,
            self.members_,
            arrays["item_facts"],
            arrays["intervals"],
            arrays["categories"],
            arrays["references"],
            float(arrays["horizon"][0]),
            self.available_,
            self.repeat_,
            self.dated_,
            self.as_of_,
        )
