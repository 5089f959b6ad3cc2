"""What everybody buys: the baseline every other model must beat."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from recommenders.errors import ConfigurationError
from recommenders.events.histories import Histories
from recommenders.events.interactions import Interactions
from recommenders.models.recommender import ModelConfig, Recommender, Tracker

if TYPE_CHECKING:
    from recommenders.features.items import ItemFeatures


class PopularityConfig(ModelConfig):
    """How events add up: `summed` alike, or `decayed`, an event losing half its weight every half_life_days; and whose
    count: those of `all` buyers alike, or the popular items of a `category` the more, the more the buyer buys there.
    """

    events: Literal["summed", "decayed"] = "decayed"
    window_days: float | None = Field(default=None, gt=0)  # only events this close to the end of the log; None: all
    half_life_days: float | None = Field(default=None, gt=0)  # None: a twelfth of the log's span, a month in a year
    by: Literal["all", "category"] = "all"


class Popularity(Recommender):
    """Items by the weight of their events; the same list for every buyer, unless `by` is category."""

    name = "popularity"
    Config = PopularityConfig
    config: PopularityConfig
    handles_new_users: ClassVar[bool] = True

    popularity_: NDArray[np.float32]  # (n_items,)
    categories_: NDArray[np.int32]  # (n_items,) numbers of categories; empty where they do not matter

    def _fit(self, interactions: Interactions, features: "ItemFeatures | None", tracker: Tracker | None) -> None:
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
        """(n, n_items): the popularity of each item; by category, times the buyer's liking of its category."""
        if not len(self.categories_):
            return np.tile(self.popularity_, (len(user_rows), 1))
        return np.asarray(self.popularity_ * self._liking(histories)[:, self.categories_], dtype=np.float32)

    def _liking(self, histories: Histories) -> NDArray[np.float64]:
        """(n, n_categories) the category's share of the buyer's purchases over its share of everybody's.

        The buyer starts with one purchase like everybody's, so that nobody's liking is 0.
        """
        sizes = np.bincount(self.categories_, self.popularity_)
        usual = (sizes + 1e-9) / (sizes + 1e-9).sum()
        places = histories.rows * len(usual) + self.categories_[histories.item_columns]
        bought = np.bincount(places, histories.weights, minlength=len(histories) * len(usual))
        bought = bought.reshape(len(histories), len(usual))
        return np.asarray((bought + usual) / (bought.sum(axis=1, keepdims=True) + 1.0) / usual)

    def knows(self, user_rows: NDArray[np.int32], histories: Histories) -> NDArray[np.bool_]:
        """True: popularity needs to know nothing of a buyer."""
        return np.ones(len(user_rows), dtype=np.bool_)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The popularity of each item, and the categories where they matter."""
        return {"popularity": self.popularity_, "categories": self.categories_}

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """The inverse of arrays()."""
        self.popularity_, self.categories_ = arrays["popularity"], arrays["categories"]


def decayed_sums(
    interactions: Interactions, half_life_days: float | None = None, window_days: float | None = None
) -> NDArray[np.float64]:
    """(n_items,) the weights of each item's events, halved every half_life_days (None: a twelfth of the log's span, at
    least a day; inf: never); only of events in the last window_days (None: all).
    """
    ages = interactions.ages()
    half_life = half_life_days or max(float(ages.max(initial=0)) / 12, 1.0)
    weights = interactions.weights * 0.5 ** (ages / half_life)
    if window_days is not None:
        weights[ages > window_days] = 0.0
    return np.asarray(np.bincount(interactions.item_columns, weights, len(interactions.items)), dtype=np.float64)
