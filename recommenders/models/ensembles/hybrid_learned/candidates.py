"""The candidates that base models propose for users, and the ranker features of each user-candidate pair."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recommenders.events.histories import Histories
from recommenders.events.interactions import Interactions
from recommenders.features.ranking import (
    ITEM_FEATURES,
    PAIR_FEATURES,
    USER_FEATURES,
    UserPairFeatures,
    category_numbers,
    feature_horizon_days,
    mean_item_intervals,
    ranker_item_features,
)
from recommenders.models.ensembles.hybrid_learned.base_scores import (
    REFERENCE,
    BaseScores,
    base_scores_of,
    candidate_columns,
    penalties_of,
    top_k_per_model,
    unique_rows,
)
from recommenders.models.ensembles.hybrid_learned.config import HybridLearnedConfig
from recommenders.models.recommender import Recommender

if TYPE_CHECKING:
    from recommenders.features.items import ItemFeatures

N_REFERENCES = 256  # sampled items that represent the catalogue for base models that score candidates only


@dataclass(eq=False)
class Candidates:
    """The base models fitted on one log, and the statistics of that log that the features need.

    A base model that scores the catalogue cheaply proposes its best items. The others only score the candidates.
    """

    config: HybridLearnedConfig
    base_models: dict[str, Recommender]
    item_features: NDArray[np.float32]  # (n_items, len(ITEM_FEATURES))
    intervals: NDArray[np.float32]  # (n_items,) days
    categories: NDArray[np.int32]  # (n_items,)
    references: NDArray[np.int32]  # (N_REFERENCES,) item columns
    horizon: float  # days
    available: NDArray[np.bool_]  # (n_items,) which items may be recommended
    repeat: bool
    dated: bool
    as_of: int  # microseconds
    _newest: tuple[NDArray[np.bool_], NDArray[np.float32]] | None = field(default=None, init=False)  # of _penalties()

    @classmethod
    def from_log(
        cls,
        config: HybridLearnedConfig,
        base_models: dict[str, Recommender],
        log: Interactions,
        features: "ItemFeatures | None",
    ) -> "Candidates":
        """The candidates of base models that are fitted on this log."""
        horizon = feature_horizon_days(log)
        names = np.full(len(log.items), "") if features is None else features.categories
        sold = np.bincount(log.item_columns, minlength=len(log.items)) + 1.0
        size = min(N_REFERENCES, len(sold))
        drawn = np.random.default_rng(config.seed).choice(len(sold), size, replace=False, p=sold / sold.sum())
        return cls(
            config,
            base_models,
            ranker_item_features(log, horizon),
            mean_item_intervals(log, horizon),
            category_numbers(names),
            drawn.astype(np.int32),
            horizon,
            log.available,
            log.repeat,
            log.dated,
            int(log.timestamps.max(initial=0)),
        )

    def propose(
        self,
        user_rows: NDArray[np.int32],
        histories: Histories,
        k: int,
        allowed: NDArray[np.bool_],
        exclude_known: bool | None,
        eligible: NDArray[np.bool_] | None = None,
    ) -> tuple[BaseScores, NDArray[np.int32]]:
        """Returns the scores of the base models that score all items, and their candidates, (n, m), padded with -1.

        k: the minimum number of candidates, if there are so many; 0: scores only. exclude_known: None, as in training,
        proposes the best of all items and half as many of the items new to the user. eligible: the allowed items that
        are proposed, by default all; the scale of the scores is that of all allowed items, as in training.
        """
        names = [name for name, model in self.base_models.items() if model.scores_catalogue_cheaply]
        scores = np.empty((len(names), *histories.shape), dtype=np.float32)
        for place, name in enumerate(names):
            scores[place] = self.base_models[name].score(user_rows, histories)
        width = max(self.config.n_candidates, REFERENCE, k)
        penalties, bought = self._penalties(allowed), (histories.rows, histories.item_columns)
        top = top_k_per_model(scores, width, penalties, None if self.repeat else bought)
        base_scores = base_scores_of(names, scores, top[1])
        if not k:
            return base_scores, np.empty((len(user_rows), 0), np.int32)
        proposed = top
        eligible = allowed if eligible is None else eligible
        narrower = eligible is not allowed and not np.array_equal(eligible, allowed)
        if narrower:
            penalties = penalties_of(eligible)
        if narrower or self.repeat == bool(exclude_known):  # `top` was taken among other items
            proposed = top_k_per_model(scores, width, penalties, bought if exclude_known else None)
        found = candidate_columns(*proposed)
        if exclude_known is None and self.repeat:
            new = candidate_columns(*top_k_per_model(scores, max(1, width // 2), penalties, bought))
            found = np.hstack([found, new])
        return base_scores, unique_rows(found, len(allowed))

    def _penalties(self, allowed: NDArray[np.bool_]) -> NDArray[np.float32]:
        """penalties_of() the allowed items; remembered for the newest mask, mostly that of the items on sale."""
        newest = self._newest
        if newest is None or newest[0] is not allowed:
            newest = self._newest = allowed, penalties_of(allowed)
        return newest[1]

    def features(
        self, user_rows: NDArray[np.int32], histories: Histories, columns: NDArray[np.int32], base_scores: BaseScores
    ) -> NDArray[np.float32]:
        """(n_pairs, n_features), in the order of feature_names(). Pairs: columns of 0 or more, row by row."""
        rows, places = np.nonzero(columns >= 0)
        items = columns[rows, places]
        user_pairs = UserPairFeatures(histories, user_rows >= 0, self.as_of, self.dated, self.horizon)
        n_base = len(self.base_models)
        first_user, first_pair = n_base + len(ITEM_FEATURES), -len(PAIR_FEATURES)
        found = np.empty((len(self.feature_names()), len(rows)), dtype=np.float32)  # the trees read it by feature
        relative = base_scores.relative(rows, items)
        for place, (name, model) in enumerate(self.base_models.items()):
            if name not in relative:
                relative[name] = self._score_candidates(model, user_rows, histories, columns)[rows, places]
            found[place] = relative[name]
        found[n_base:first_user] = self.item_features[items].T
        found[first_user:first_pair] = user_pairs.users[rows].T
        found[first_pair:] = user_pairs.pairs(rows, items, self.intervals, self.categories).T
        return found.T

    def _score_candidates(
        self, model: Recommender, user_rows: NDArray[np.int32], histories: Histories, columns: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        """(n, m): a base model's relative scores of some items. Items sampled by sales represent the catalogue."""
        n_references = len(self.references)
        references = np.broadcast_to(self.references, (len(columns), n_references))
        scores = model.score_items(user_rows, histories, np.hstack([references, columns.clip(min=0)]))
        share = min(n_references, max(1, round(n_references * REFERENCE / max(len(self.item_features), 1))))
        best = -np.partition(-scores[:, :n_references], share - 1, axis=1)[:, share - 1 : share]
        zero = scores[:, :n_references].mean(axis=1, keepdims=True)
        unit = best - zero
        return np.asarray((scores[:, n_references:] - zero) / np.where(unit > 0, unit, np.float32(1.0)))

    def feature_names(self) -> list[str]:
        """The names of the columns of features()."""
        return [*self.base_models, *ITEM_FEATURES, *USER_FEATURES, *PAIR_FEATURES]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The statistics of the log that the features need, for a bundle."""
        return {
            "item_features": self.item_features,
            "intervals": self.intervals,
            "categories": self.categories,
            "references": self.references,
            "horizon": np.array([self.horizon]),
        }
