"""What a buyer is likely to buy again, and soon."""

from collections.abc import Iterator
from dataclasses import fields
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from recommenders.errors import UnsuitableError
from recommenders.events.histories import Histories
from recommenders.events.interactions import Interactions
from recommenders.features.repurchase import SIGNS, ItemHabits, Pairs
from recommenders.models.popularity import decayed_sums
from recommenders.models.recommender import BLOCK, ModelConfig, Recommender, Tracker

if TYPE_CHECKING:
    from recommenders.features.items import ItemFeatures

TIE_BREAK = 1e-6  # of popularity: orders what the buyer does not know, behind all that it knows
ITEM_PARTS = tuple(field.name for field in fields(ItemHabits))
STEPS = 25  # of Newton's method, which ends long before


class RepurchaseConfig(ModelConfig):
    """From which windows at the end of the log the model learns what a coming purchase looks like."""

    horizon_days: float | None = Field(default=None, gt=0)  # of a window; None: the log's, or a twelfth of its span
    windows: int = Field(default=3, ge=1)  # one behind the other
    half_life_days: float | None = Field(default=None, gt=0)  # of recent_amount; None: a twelfth of the span
    reg: float = Field(default=1.0, gt=0)  # of the regression, in standard deviations of the signs
    max_pairs: int = Field(default=1_000_000, ge=1)  # learned from


class Repurchase(Recommender):
    """score = the probability that the buyer, if it buys at all, buys a known item within the horizon; others get 0.

    A logistic regression on signs of habit (frequency, usual interval, time since due; see habits.py), each pair of
    buyer and item described as of a window's beginning and labelled by what happened in the window. It learns from
    several windows at the end of the log and describes the present as of the log's end, so nothing leaks. Bhagat et
    al. 2018 (repeat purchases by rate and time since the last); Faggioli et al. 2020 (recency-aware habits).
    """

    name = "repurchase"
    Config = RepurchaseConfig
    config: RepurchaseConfig
    handles_new_users: ClassVar[bool] = True

    coefficients_: NDArray[np.float64]  # (1 + len(SIGNS),) the intercept first
    items_habits_: ItemHabits
    half_life_: float  # days
    popularity_: NDArray[np.float32]  # (n_items,) in [0, TIE_BREAK]

    def memory_needed(self, interactions: Interactions) -> float:
        """Bytes: the signs of the pairs of a window, some copies of the log, a block of scores."""
        pairs = min(self.config.max_pairs, len(interactions))
        return (
            (64.0 + 24.0 * len(SIGNS)) * len(interactions)
            + 32.0 * len(SIGNS) * pairs
            + 12.0 * BLOCK * len(interactions.items)
        )

    def _fit(self, interactions: Interactions, features: "ItemFeatures | None", tracker: Tracker | None) -> None:
        if not interactions.repeat:
            raise UnsuitableError(
                "repurchase learns how buyers come back to items, and in this log they do not (repeat is false); "
                "disable the model, or declare repeat: true if they do"
            )
        span = max(float(interactions.ages().max(initial=0.0)), 1.0)
        self.half_life_ = self.config.half_life_days or max(span / 12, 1.0)
        described = [self._described(*window) for window in self._windows(interactions, span)]
        signs = np.concatenate([np.zeros((0, len(SIGNS))), *(part[0] for part in described)])
        labels = np.concatenate([np.zeros(0), *(part[1] for part in described)])
        self.coefficients_ = _regression(*self._sample(signs, labels), self.config.reg)
        pairs = Pairs(self.histories_[:], self.as_of_, self.dated_)  # a view: what is worked out goes with it
        self.items_habits_ = ItemHabits.of(pairs, self.half_life_)
        sums = decayed_sums(interactions)
        self.popularity_ = (TIE_BREAK * sums / max(float(sums.max(initial=0.0)), 1e-30)).astype(np.float32)

    def _windows(self, log: Interactions, span: float) -> Iterator[tuple[Histories, Histories, int]]:
        """The histories before each window, what was bought in it, and when it begins.

        Where ages mean nothing, there is one window: every buyer's last visit.
        """
        if not self.dated_:
            last = self.histories_[:].visits_ago == 0
            yield self.histories_.select(~last), self.histories_.select(last), self.as_of_
            return
        ages = log.ages()
        horizon = min(self.config.horizon_days or log.horizon_days or max(span / 12, 1.0), span / 4)
        for window in range(self.config.windows):
            before, within = ages > (window + 1) * horizon, (ages > window * horizon) & (ages <= (window + 1) * horizon)
            if before.any() and within.any():
                past = log.select(before)
                yield past.histories(), log.select(within).histories(), int(log.timestamps[within].min())

    def _described(
        self, past: Histories, future: Histories, now: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Signs and labels (was it bought in the window) of the pairs of buyers who bought anything in the window."""
        pairs = Pairs(past, now, self.dated_)
        signs = pairs.signs(ItemHabits.of(pairs, self.half_life_), self.half_life_)
        active = future.counts[pairs.rows] > 0
        bought = np.unique(future.rows * past.n_items + future.item_columns)
        labels = np.isin(pairs.rows * past.n_items + pairs.item_columns, bought)
        return signs[active], labels[active].astype(np.float64)

    def _sample(
        self, signs: NDArray[np.float64], labels: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        if len(labels) <= self.config.max_pairs:
            return signs, labels
        chosen = np.random.default_rng(self.config.seed).choice(len(labels), self.config.max_pairs, replace=False)
        return signs[chosen], labels[chosen]

    def score(self, user_rows: NDArray[np.int32], histories: Histories) -> NDArray[np.float32]:
        """(n, n_items): probabilities of what is known, next to nothing for the rest; rows are not used."""
        scores = np.tile(self.popularity_, (len(histories), 1))
        pairs = Pairs(histories, self.as_of_, self.dated_)
        logits = pairs.signs(self.items_habits_, self.half_life_) @ self.coefficients_[1:] + self.coefficients_[0]
        scores[pairs.rows, pairs.item_columns] += (TIE_BREAK + _sigmoid(logits)).astype(np.float32)
        return scores

    def knows(self, user_rows: NDArray[np.int32], histories: Histories) -> NDArray[np.bool_]:
        """(n,) whether there is a history, of a log whose buyers come back."""
        return np.asarray((histories.counts > 0) & self.repeat_)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The regression, what is usual for items, popularity."""
        return {
            "coefficients": self.coefficients_,
            **{part: getattr(self.items_habits_, part) for part in ITEM_PARTS},
            "half_life": np.array([self.half_life_]),
            "popularity": self.popularity_,
        }

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """The inverse of arrays()."""
        self.coefficients_, self.popularity_ = arrays["coefficients"], arrays["popularity"]
        self.items_habits_ = ItemHabits(*(arrays[part] for part in ITEM_PARTS))
        self.half_life_ = float(arrays["half_life"][0])


def _sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logits)))


def _regression(signs: NDArray[np.float64], labels: NDArray[np.float64], reg: float) -> NDArray[np.float64]:
    """(1 + n_signs,) logistic regression by Newton's method; with nothing to learn from, the more often the better."""
    if not 0 < labels.sum() < len(labels):
        return np.array([-2.0, 1.0, *np.zeros(signs.shape[1] - 1)])
    centre, spread = signs.mean(axis=0), signs.std(axis=0)
    spread = np.where(spread > 1e-9, spread, np.inf)  # a sign that never varies says nothing
    inputs = np.concatenate([np.ones((len(signs), 1)), (signs - centre) / spread], axis=1)
    penalty = np.diag([1e-6, *np.full(signs.shape[1], reg)])
    weights = np.zeros(inputs.shape[1])
    for _ in range(STEPS):
        chances = _sigmoid(inputs @ weights)
        curvature = (inputs * (chances * (1.0 - chances))[:, None]).T @ inputs + penalty
        step = np.linalg.solve(curvature, inputs.T @ (labels - chances) - penalty @ weights)
        weights += step
        if np.abs(step).max() < 1e-6:
            break
    slopes = weights[1:] / spread
    return np.array([weights[0] - slopes @ centre, *slopes])
