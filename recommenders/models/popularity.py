"""Popularity baseline: ranks items by the weighted number of their events. Every other model must beat it."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array

from recommenders.errors import ConfigurationError
from recommenders.events.histories import Histories
from recommenders.events.interactions import Interactions
from recommenders.models.calibration import BANDS, RankedUsers
from recommenders.models.recommender import ModelConfig, Recommender, TrainingOptions

if TYPE_CHECKING:
    from recommenders.features.items import ItemFeatures


class PopularityConfig(ModelConfig):
    """Which events count and how much, and whether the ranking depends on the user's categories."""

    events: Literal["summed", "decayed"] = Field(
        default="decayed",
        description="`summed`: all events count the same. `decayed`: the weight of an event halves every "
        "`half_life_days`; in a log without dates all events count the same.",
    )
    window_days: float | None = Field(
        default=None, gt=0, description="Only events of the last so many days count; null: all events."
    )
    half_life_days: float | None = Field(
        default=None,  # a month in a log of a year
        gt=0,
        description="Days in which the weight of an event halves; null: a twelfth of the log's span, at least a day.",
    )
    by: Literal["all", "category"] = Field(
        default="all",
        description="`all`: one ranking for all users. `category`: popularity times the user's preference for the "
        "category of the item.",
    )


class Popularity(Recommender):
    """Ranks items by the summed weight of their events. All users get the same list unless `by` is category."""

    name = "popularity"
    Config = PopularityConfig
    config: PopularityConfig
    handles_new_users: ClassVar[bool] = True

    popularity_: NDArray[np.float32]  # (n_items,)
    categories_: NDArray[np.int32]  # (n_items,) category numbers; empty unless `by` is category

    def _fit(self, interactions: Interactions, features: "ItemFeatures | None", options: TrainingOptions) -> None:
        half_life = self.config.half_life_days if self.config.events == "decayed" else np.inf
        self.popularity_ = decayed_sums(interactions, half_life, self.config.window_days).astype(np.float32)
        self.categories_ = np.zeros(0, dtype=np.int32)
        if self.config.by == "category":
            if features is None:
                raise ConfigurationError(
                    "popularity by category needs item features and got none; pass features=encode_items(items, ids), "
                    "or set by: all"
                )
            self.categories_ = np.unique(features.categories, return_inverse=True)[1].astype(np.int32)

    def score(self, user_rows: NDArray[np.int32], histories: Histories) -> NDArray[np.float32]:
        """(n, n_items): the popularity of each item; by category, times the user's preference for its category."""
        if not len(self.categories_):
            return np.tile(self.popularity_, (len(user_rows), 1))
        return np.asarray(self.popularity_ * self._preference(histories)[:, self.categories_], dtype=np.float32)

    def _preference(self, histories: Histories) -> NDArray[np.float64]:
        """(n, n_categories): the category's share of the user's purchases / its share of all users' purchases.

        One pseudo-purchase, spread as the purchases of all users are, is added to each user. So no preference is 0.
        """
        sizes = np.bincount(self.categories_, self.popularity_)
        overall = (sizes + 1e-9) / (sizes + 1e-9).sum()
        places = histories.rows * len(overall) + self.categories_[histories.item_columns]
        bought = np.bincount(places, histories.weights, minlength=len(histories) * len(overall))
        bought = bought.reshape(len(histories), len(overall))
        return np.asarray((bought + overall) / (bought.sum(axis=1, keepdims=True) + 1.0) / overall)

    def shares(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores as shares of the summed popularity of all items: they do not grow with the log."""
        return scores / np.float32(max(float(self.popularity_.sum(dtype=np.float64)), 1e-9))

    def ranked_users(self, relevant: csr_array, candidates: NDArray[np.bool_]) -> RankedUsers:
        """The list of a user without data, for each of n users, to calibrate it. Its scores are shares.

        relevant: (n, n_items), the items that each user bought. candidates: (n_items,).
        """
        nothing, n = Histories.from_lists([[]], relevant.shape[1]), relevant.shape[0]
        columns, scores = self.recommend(np.array([-1], np.int32), nothing, BANDS[-1], candidates)
        return RankedUsers.of(np.repeat(columns, n, axis=0), np.repeat(self.shares(scores), n, axis=0), relevant)

    def covers(self, user_rows: NDArray[np.int32], histories: Histories) -> NDArray[np.bool_]:
        """True for every user: popularity needs no data of the user."""
        return np.ones(len(user_rows), dtype=np.bool_)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The popularity of each item, and the categories if `by` is category."""
        return {"popularity": self.popularity_, "categories": self.categories_}

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """The inverse of arrays()."""
        self.popularity_, self.categories_ = arrays["popularity"], arrays["categories"]


def decayed_sums(
    interactions: Interactions, half_life_days: float | None = None, window_days: float | None = None
) -> NDArray[np.float64]:
    """Returns (n_items,), the summed event weights of each item, halved every half_life_days (None: a twelfth of the
    log's span, at least a day; inf: never). Counts only events of the last window_days (None: all).
    """
    ages = interactions.ages()
    half_life = half_life_days or max(float(ages.max(initial=0)) / 12, 1.0)
    weights = interactions.weights * 0.5 ** (ages / half_life)
    if window_days is not None:
        weights[ages > window_days] = 0.0
    return np.asarray(np.bincount(interactions.item_columns, weights, len(interactions.items)), dtype=np.float64)
