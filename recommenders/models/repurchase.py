"""Repurchase model: logistic regression for the probability that a user buys a known item again."""

from collections.abc import Iterator
from dataclasses import fields
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from recommenders.errors import UnsuitableError
from recommenders.events.histories import Histories
from recommenders.events.interactions import Interactions
from recommenders.features.repurchase import REPURCHASE_FEATURES, ItemRepurchase, Pairs
from recommenders.models.popularity import decayed_sums
from recommenders.models.recommender import BLOCK, ModelConfig, Recommender, TrainingOptions
from recommenders.models.search_space import Range, SearchSpace
from recommenders.splitting.windows import time_windows

if TYPE_CHECKING:
    from recommenders.features.items import ItemFeatures

TIE_BREAK = 1e-6  # weight of popularity: ranks the items new to the user, after all known items
ITEM_FIELDS = tuple(field.name for field in fields(ItemRepurchase))
TOLERANCE = 1e-8  # of the gradient of the mean loss


class RepurchaseConfig(ModelConfig):
    """The training windows at the end of the log, and the regression."""

    horizon_days: float | None = Field(
        default=None,
        gt=0,
        description="Length of a training window in days, at most a quarter of the log's span; null: the length of "
        "the test window, or a twelfth of the span if the log has none.",
    )
    n_windows: int = Field(default=3, ge=1, description="Number of consecutive training windows at the end of the log.")
    half_life_days: float | None = Field(
        default=None,
        gt=0,
        description="Days in which the weight of an event halves in the features `recent_amount`, `demand` and "
        "`trend`; null: a twelfth of the log's span, at least a day.",
    )
    reg: float = Field(default=1.0, gt=0, description="L2 penalty of the regression, on standardised features.")
    max_pairs: int = Field(
        default=1_000_000,
        ge=1,
        description="Maximum number of pairs of user and item that train the regression; a random sample if there "
        "are more.",
    )

    search_space: ClassVar[SearchSpace] = {
        "n_windows": Range(low=1, high=6),
        "half_life_days": Range(low=7.0, high=365.0, log=True),
        "reg": Range(low=0.01, high=100.0, log=True),
    }


class Repurchase(Recommender):
    """score = the probability that the user, if active, buys a known item within the horizon; other items get 0.

    A logistic regression on repurchase features (frequency, mean interval, time overdue; see features/repurchase.py).
    The features of each user-item pair are those at the beginning of a window, the label is whether the user bought
    the item in the window. The training windows are at the end of the log; scoring uses features as of the end of the
    log, so nothing leaks. Bhagat et al. 2018 (repeat purchases by rate and time since the last); Faggioli et al. 2020
    (recency-aware repeat consumption).
    """

    name = "repurchase"
    Config = RepurchaseConfig
    config: RepurchaseConfig
    handles_new_users: ClassVar[bool] = True

    coefficients_: NDArray[np.float64]  # (1 + len(REPURCHASE_FEATURES),), the intercept first
    item_repurchase_: ItemRepurchase
    half_life_: float  # days
    popularity_: NDArray[np.float32]  # (n_items,) in [0, TIE_BREAK]

    def memory_needed(self, interactions: Interactions) -> float:
        """Bytes: the features of the pairs of a window, some copies of the log, a block of scores."""
        pairs = min(self.config.max_pairs, len(interactions))
        return (
            (64.0 + 24.0 * len(REPURCHASE_FEATURES)) * len(interactions)
            + 32.0 * len(REPURCHASE_FEATURES) * pairs
            + 12.0 * BLOCK * len(interactions.items)
        )

    def _fit(self, interactions: Interactions, features: "ItemFeatures | None", options: TrainingOptions) -> None:
        if not interactions.repeat:
            raise UnsuitableError(
                "repurchase learns from repeat purchases; got a log declared to have none (repeat is false); "
                "disable the model, or declare repeat: true if there are some"
            )
        span = max(float(interactions.ages().max(initial=0.0)), 1.0)
        self.half_life_ = self.config.half_life_days or max(span / 12, 1.0)
        examples = [self._examples(*window) for window in self._windows(interactions, span)]
        pair_features = np.concatenate([np.zeros((0, len(REPURCHASE_FEATURES))), *(part[0] for part in examples)])
        labels = np.concatenate([np.zeros(0), *(part[1] for part in examples)])
        self.coefficients_ = _regression(*self._sample(pair_features, labels), self.config.reg)
        pairs = Pairs(self.histories_[:], self.as_of_, self.dated_)  # a view: its cached arrays are freed with it
        self.item_repurchase_ = ItemRepurchase.from_pairs(pairs, self.half_life_)
        sums = decayed_sums(interactions)
        self.popularity_ = (TIE_BREAK * sums / max(float(sums.max(initial=0.0)), 1e-30)).astype(np.float32)

    def _windows(self, log: Interactions, span: float) -> Iterator[tuple[Histories, Histories, int]]:
        """Yields for each window the histories before it, those within it, and its beginning in microseconds.

        Without meaningful times there is one window: the last visit of every user.
        """
        if not self.dated_:
            last = self.histories_[:].visits_ago == 0
            yield self.histories_.select(~last), self.histories_.select(last), self.as_of_
            return
        horizon = min(self.config.horizon_days or log.horizon_days or max(span / 12, 1.0), span / 4)
        for before, within in time_windows(log, self.config.n_windows, horizon, step=horizon):
            if before.any() and within.any():
                past = log.select(before)
                yield past.histories(), log.select(within).histories(), int(log.timestamps[within].min())

    def _examples(
        self, past: Histories, future: Histories, now: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Features and labels (bought in the window or not) of the pairs of users with a purchase in the window."""
        pairs = Pairs(past, now, self.dated_)
        features = pairs.features(ItemRepurchase.from_pairs(pairs, self.half_life_), self.half_life_)
        active = future.counts[pairs.rows] > 0
        bought = np.unique(future.rows * past.n_items + future.item_columns)
        labels = np.isin(pairs.rows * past.n_items + pairs.item_columns, bought)
        return features[active], labels[active].astype(np.float64)

    def _sample(
        self, features: NDArray[np.float64], labels: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        if len(labels) <= self.config.max_pairs:
            return features, labels
        chosen = np.random.default_rng(self.config.seed).choice(len(labels), self.config.max_pairs, replace=False)
        return features[chosen], labels[chosen]

    def score(self, user_rows: NDArray[np.int32], histories: Histories) -> NDArray[np.float32]:
        """(n, n_items): probabilities of known items, almost 0 for others. Does not use user_rows."""
        scores = self.popularity_[None].repeat(len(histories), axis=0)
        pairs = Pairs(histories, self.as_of_, self.dated_)
        logits = pairs.features(self.item_repurchase_, self.half_life_) @ self.coefficients_[1:] + self.coefficients_[0]
        histories.known_items.add_to(scores, (TIE_BREAK + _sigmoid(logits)).astype(np.float32))
        return scores

    def covers(self, user_rows: NDArray[np.int32], histories: Histories) -> NDArray[np.bool_]:
        """(n,): whether the user has a history, in a log with repeat purchases."""
        return np.asarray((histories.counts > 0) & self.repeat_)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The coefficients, the item statistics, the half-life and popularity."""
        return {
            "coefficients": self.coefficients_,
            **{part: getattr(self.item_repurchase_, part) for part in ITEM_FIELDS},
            "half_life": np.array([self.half_life_]),
            "popularity": self.popularity_,
        }

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """The inverse of arrays()."""
        self.coefficients_, self.popularity_ = arrays["coefficients"], arrays["popularity"]
        self.item_repurchase_ = ItemRepurchase(*(arrays[part] for part in ITEM_FIELDS))
        self.half_life_ = float(arrays["half_life"][0])


def _sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    # Not scipy.special.expit: a process that answers requests would import scipy.special for this line alone.
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logits)))


def _regression(features: NDArray[np.float64], labels: NDArray[np.float64], reg: float) -> NDArray[np.float64]:
    """(1 + n_features,): intercept and slopes of a logistic regression. With equal labels, only purchases count."""
    if not 0 < labels.sum() < len(labels):
        return np.array([-2.0, 1.0, *np.zeros(features.shape[1] - 1)])
    from sklearn.linear_model import LogisticRegression  # scikit-learn is not needed to score
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(features)
    model = LogisticRegression(C=1.0 / reg, solver="newton-cholesky", tol=TOLERANCE)
    model.fit(scaler.transform(features), labels)
    slopes = model.coef_[0] / scaler.scale_
    return np.array([model.intercept_[0] - slopes @ scaler.mean_, *slopes])
