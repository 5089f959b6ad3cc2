"""Learned hybrid: a ranker over the candidates of all base models, trained on earlier windows of the log."""

from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from recommenders.events.histories import Histories
from recommenders.events.interactions import Interactions
from recommenders.math.ranked import Ranked
from recommenders.math.top_k import top_k
from recommenders.models.ensembles.ensemble import Ensemble
from recommenders.models.ensembles.hybrid_learned.attribution import attribute
from recommenders.models.ensembles.hybrid_learned.base_scores import REFERENCE, BaseScores
from recommenders.models.ensembles.hybrid_learned.candidates import Candidates
from recommenders.models.ensembles.hybrid_learned.config import HybridLearnedConfig
from recommenders.models.ensembles.hybrid_learned.rankers import Rankers
from recommenders.models.ensembles.hybrid_learned.score_rules import ScoreRules
from recommenders.models.recommender import TrainingOptions

if TYPE_CHECKING:
    from recommenders.features.items import ItemFeatures
MAX_SCORES = 20_000_000  # scores (users x items x base models) in memory at once


class HybridLearned(Ensemble):
    """Two stages: base models propose their best items; boosted trees rank them by base scores and other features.

    Base models that score the catalogue cheaply propose candidates; the others only score the candidates. A base score
    is scaled so that the mean item of the user has 0 and the base model's tenth best item 1. So scores are comparable
    across users, base models and data sets. Friedman 2001; Covington et al. 2016 (two stages).
    """

    name = "hybrid_learned"
    Config = HybridLearnedConfig
    config: HybridLearnedConfig

    ranks_candidates: ClassVar[bool] = True

    rankers_: Rankers
    score_rules_: ScoreRules  # where a base model replaces the ranker, or is averaged with it
    candidates_: Candidates

    def base_model_names(self) -> list[str]:
        """The configured base models."""
        return list(self.config.base_models)

    def required_models(self, interactions: Interactions) -> list[str]:
        """All base models; without the expensive ones if several windows would require one more fit each."""
        from recommenders.models.all_models import model_class

        if not interactions.dated or self.config.n_windows == 1:
            return self.base_model_names()
        return [name for name in self.base_model_names() if not model_class(name).expensive_to_fit]

    @property
    def longest_list(self) -> int:
        """A longer list makes the base models propose more items."""
        return max(self.config.n_candidates, REFERENCE)

    def _fit_top(self, interactions: Interactions, features: "ItemFeatures | None", options: TrainingOptions) -> None:
        from recommenders.models.ensembles.hybrid_learned.training import (  # XGBoost, not needed to score
            fit_rankers,
        )

        candidates = Candidates.from_log(self.config, self.base_models_, interactions, features)
        trained = fit_rankers(candidates, interactions, features, options)
        self.candidates_, self.rankers_, self.score_rules_, self.calibration_ = trained
        self.base_models_ = self.candidates_.base_models

    def _refit_top(
        self, fitted: Self, interactions: Interactions, features: "ItemFeatures | None", options: TrainingOptions
    ) -> None:
        """Keeps the rankers, unless a base model is missing that they rely on."""
        if len(self.base_models_) < len(fitted.base_models_):
            self._fit_top(interactions, features, options)
            return
        self.candidates_ = Candidates.from_log(self.config, self.base_models_, interactions, features)
        self.rankers_, self.score_rules_ = fitted.rankers_, fitted.score_rules_

    def _recommend_block(
        self,
        user_rows: NDArray[np.int32],
        histories: Histories,
        k: int,
        candidates: NDArray[np.bool_],
        exclude_known: bool,
        eligible: NDArray[np.bool_],
    ) -> Ranked:
        """Ranks only eligible items that a base model proposes; each base model proposes at least k, if there are k."""
        base_scores, columns = self.candidates_.propose(user_rows, histories, k, candidates, exclude_known, eligible)
        scores = self._ranked_scores(user_rows, histories, columns, base_scores)
        places, best = top_k(np.where(columns >= 0, scores, np.float32(-np.inf)), k)
        found = columns[np.arange(len(columns))[:, None], places]
        return Ranked(np.where(best == -np.inf, np.int32(-1), found), best)

    def score(self, user_rows: NDArray[np.int32], histories: Histories) -> NDArray[np.float32]:
        """(n, n_items): the ranker's log odds of every item. recommend() scores far fewer."""
        everything = np.broadcast_to(np.arange(len(self.items_), dtype=np.int32), histories.shape)
        return self.score_items(user_rows, histories, everything)

    def score_items(
        self, user_rows: NDArray[np.int32], histories: Histories, item_columns: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        """(n, m): the ranker's log odds that the user will buy the item."""
        scores = [np.empty((0, item_columns.shape[1]), np.float32)]
        for block in self._score_blocks(len(user_rows)):
            rows, known = user_rows[block], histories[block]
            base_scores, _ = self.candidates_.propose(rows, known, 0, self.available_, not self.repeat_)
            scores.append(self._ranked_scores(rows, known, item_columns[block], base_scores))
        return np.concatenate(scores)

    def contributions(
        self,
        user_row: int,
        history: Histories,
        item_columns: NDArray[np.int32],
        candidates: NDArray[np.bool_],
        exclude_known: bool,
        k: int,
    ) -> dict[str, NDArray[np.float64]]:
        """Source -> its part of the score of each item, relative to the mean candidate (attribution.py)."""
        rows = np.array([user_row], dtype=np.int32)
        base_scores, proposed = self.candidates_.propose(rows, history, k, candidates, exclude_known)
        columns = np.union1d(proposed[proposed >= 0], item_columns).astype(np.int32)
        features = self.candidates_.features(rows, history, columns[None], base_scores)
        trees = self.rankers_.known if user_row >= 0 else self.rankers_.cold_start
        places = np.searchsorted(columns, item_columns)
        return attribute(trees, self.score_rules_, features, places, list(self.base_models_))

    def _score_blocks(self, n: int) -> list[slice]:
        size = int(np.clip(MAX_SCORES // max(1, len(self.items_) * len(self.base_models_)), 1, 512))
        return [slice(start, start + size) for start in range(0, n, size)]

    def _ranked_scores(
        self,
        user_rows: NDArray[np.int32],
        histories: Histories,
        columns: NDArray[np.int32],
        base_scores: BaseScores,
    ) -> NDArray[np.float32]:
        """(n, m): the rankers' scores of the pairs with a column of 0 or more, 0 elsewhere."""
        rows, places = np.nonzero(columns >= 0)
        scores = np.zeros(columns.shape, dtype=np.float32)
        features = self.candidates_.features(user_rows, histories, columns, base_scores)
        ranked = self.rankers_.score(features, user_rows[rows] >= 0)
        scores[rows, places] = self.score_rules_.apply(ranked, features, len(self.base_models_))
        return scores

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The trees, the score rules, and the statistics of the log that the features need."""
        return {
            **self.rankers_.arrays(),
            "score_rules": self.score_rules_.to_array(),
            **self.candidates_.arrays(),
        }

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """The inverse of arrays()."""
        self.rankers_, self.score_rules_ = Rankers.from_arrays(arrays), ScoreRules.from_array(arrays["score_rules"])
        self.candidates_ = Candidates(
            self.config,
            self.base_models_,
            arrays["item_features"],
            arrays["intervals"],
            arrays["categories"],
            arrays["references"],
            float(arrays["horizon"][0]),
            self.available_,
            self.repeat_,
            self.dated_,
            self.as_of_,
        )
