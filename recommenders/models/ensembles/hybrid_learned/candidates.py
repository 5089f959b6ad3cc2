"""What the base models of a log propose, and the features of each pair of a user and a proposed item."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recommenders.events.histories import Histories
from recommenders.events.interactions import Interactions
from recommenders.models.ensembles.hybrid_learned.config import HybridLearnedConfig
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
from recommenders.models.recommender import Recommender

if TYPE_CHECKING:
    from recommenders.features.items import ItemFeatures

N_REFERENCES = 256  # items that stand for all others where a base model scores only candidates


@dataclass(eq=False)
class Candidates:
    """The base models of one log, and what features need of that log.

    A base model that scores all items cheaply proposes its best ones; the others score the candidates alone.
    """

    config: HybridLearnedConfig
    base_models: dict[str, Recommender]
    item_facts: NDArray[np.float32]  # (n_items, len(ITEM_FACTS))
    intervals: NDArray[np.float32]  # (n_items,) days
    categories: NDArray[np.int32]  # (n_items,)
    references: NDArray[np.int32]  # (N_REFERENCES,) item columns
    horizon: float  # days
    available: NDArray[np.bool_]  # (n_items,) what may be recommended
    repeat: bool
    dated: bool
    as_of: int  # microseconds

    @classmethod
    def of(
        cls,
        config: HybridLearnedConfig,
        base_models: dict[str, Recommender],
        log: Interactions,
        features: "ItemFeatures | None",
    ) -> "Candidates":
        """Base models that are fitted on this log."""
        horizon = float(log.horizon_days or max(float(log.ages().max(initial=0)) / 10, 1.0))
        names = np.zeros(len(log.items), np.int64) if features is None else features.categories
        sold = np.bincount(log.item_columns, minlength=len(log.items)) + 1.0
        size = min(N_REFERENCES, len(sold))
        drawn = np.random.default_rng(config.seed).choice(len(sold), size, replace=False, p=sold / sold.sum())
        return cls(
            config,
            base_models,
            item_facts(log, horizon),
            usual_intervals(log, horizon),
            np.unique(names, return_inverse=True)[1].astype(np.int32),
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
    ) -> tuple[Looks, NDArray[np.int32]]:
        """The scores of the base models that score all items, and their candidates, (n, m), -1 past the last of a user.

        k: how many candidates must be found where there are so many; 0 asks for scores alone. exclude_known: None asks
        for the best of all items and half as many of the new ones, as training does.
        """
        names = [name for name, model in self.base_models.items() if model.scans_cheaply]
        scores = np.empty((len(names), *histories.shape), dtype=np.float32)
        for place, name in enumerate(names):
            scores[place] = self.base_models[name].score(user_rows, histories)
        width = max(self.config.n_candidates, REFERENCE, k)
        closed = [(..., np.flatnonzero(~allowed))]
        known = [*closed, (slice(None), histories.rows, histories.item_columns)]
        usual = best_of_each(scores, width, closed if self.repeat else known)
        looks = looks_of(names, scores, usual[1])
        if not k:
            return looks, np.empty((len(user_rows), 0), np.int32)
        proposed = usual
        if self.repeat == bool(exclude_known):  # the reference was looked for among other items
            proposed = best_of_each(scores, width, known if exclude_known else closed)
        parts = [found_columns(*proposed)]
        if exclude_known is None and self.repeat:
            parts.append(found_columns(*best_of_each(scores, max(1, width // 2), known)))
        return looks, unique_rows(np.hstack(parts), len(allowed))

    def features(
        self, user_rows: NDArray[np.int32], histories: Histories, columns: NDArray[np.int32], looks: Looks
    ) -> NDArray[np.float32]:
        """(n_pairs, n_features) of the pairs with a column of 0 or more, row by row; order: feature_names()."""
        rows, places = np.nonzero(columns >= 0)
        items = columns[rows, places]
        habits = Habits(histories, user_rows >= 0, self.as_of, self.dated, self.horizon)
        said = looks.relative(rows, items)
        for name, model in self.base_models.items():
            if name not in said:
                said[name] = self._asked(model, user_rows, histories, columns)[rows, places]
        return np.hstack(
            [
                np.stack([said[name] for name in self.base_models], axis=1),
                self.item_facts[items],
                habits.buyers[rows],
                habits.pairs(rows, items, self.intervals, self.categories),
            ]
        )

    def _asked(
        self, model: Recommender, user_rows: NDArray[np.int32], histories: Histories, columns: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        """(n, m): a base model's relative scores of some items; items drawn by sales stand for all of them."""
        n_references = len(self.references)
        references = np.broadcast_to(self.references, (len(columns), n_references))
        scores = model.score_items(user_rows, histories, np.hstack([references, columns.clip(min=0)]))
        share = min(n_references, max(1, round(n_references * REFERENCE / max(len(self.item_facts), 1))))
        best = -np.partition(-scores[:, :n_references], share - 1, axis=1)[:, share - 1 : share]
        zero = scores[:, :n_references].mean(axis=1, keepdims=True)
        unit = best - zero
        return np.asarray((scores[:, n_references:] - zero) / np.where(unit > 0, unit, np.float32(1.0)))

    def feature_names(self) -> list[str]:
        """The columns of features()."""
        return [*self.base_models, *ITEM_FACTS, *BUYER_FACTS, *PAIR_FACTS]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What features need of the log, for a bundle."""
        return {
            "item_facts": self.item_facts,
            "intervals": self.intervals,
            "categories": self.categories,
            "references": self.references,
            "horizon": np.array([self.horizon]),
        }
