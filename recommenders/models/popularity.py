"""What everybody buys: the baseline every other model must beat."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from recommenders.datasets.histories import Histories
from recommenders.datasets.interactions import Interactions
from recommenders.models.recommender import ModelConfig, Recommender, Tracker

if TYPE_CHECKING:
    from recommenders.features.items import ItemFeatures


class PopularityConfig(ModelConfig):
    """How events add up: `summed` alike, or `decayed`, an event losing half its weight every half_life_days."""

    events: Literal["summed", "decayed"] = "decayed"
    window_days: float | None = Field(default=None, gt=0)  # only events this close to the end of the log; None: all
    half_life_days: float | None = Field(default=None, gt=0)  # None: a twelfth of the log's span, a month in a year


class Popularity(Recommender):
    """Items by the weight of their events; the same list for every buyer."""

    name = "popularity"
    Config = PopularityConfig
    config: PopularityConfig
    handles_new_users: ClassVar[bool] = True

    popularity_: NDArray[np.float32]  # (n_items,)

    def _fit(self, interactions: Interactions, features: "ItemFeatures | None", tracker: Tracker | None) -> None:
        ages = interactions.ages()
        weights = interactions.weights.astype(np.float64)
        if self.config.events == "decayed":
            weights = weights * 0.5 ** (
                ages / (self.config.half_life_days or max(float(ages.max(initial=0)) / 12, 1.0))
            )
        if self.config.window_days is not None:
            weights = np.where(ages <= self.config.window_days, weights, 0.0)
        totals = np.bincount(interactions.item_columns, weights, minlength=len(interactions.items))
        self.popularity_ = totals.astype(np.float32)

    def score(self, user_rows: NDArray[np.int32], histories: Histories) -> NDArray[np.float32]:
        """(n, n_items): the same row for everyone."""
        return np.tile(self.popularity_, (len(user_rows), 1))

    def knows(self, user_rows: NDArray[np.int32], histories: Histories) -> NDArray[np.bool_]:
        """True: popularity needs to know nothing of a buyer."""
        return np.ones(len(user_rows), dtype=np.bool_)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The popularity of each item."""
        return {"popularity": self.popularity_}

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """The inverse of arrays()."""
        self.popularity_ = arrays["popularity"]
