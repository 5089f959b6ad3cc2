"""Popularity baseline: ranks items by the weighted number of their events. Every other model must beat it.

Beside it: the popularity among users with the same attributes, for users without a history (Segments).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array

from recommenders.errors import ConfigurationError
from recommenders.events.histories import Histories
from recommenders.events.ids import IdMap
from recommenders.events.interactions import Interactions
from recommenders.models.calibration import BANDS, RankedUsers
from recommenders.models.recommender import ModelConfig, Recommender, TrainingOptions
from recommenders.models.search_space import Choice, Range, SearchSpace
from recommenders.storage.bundle import pack_strings, unpack_strings

if TYPE_CHECKING:
    from recommenders.features.items import ItemFeatures

SEGMENTS = "segments."  # prefix of the names of their arrays in a bundle
MATRIX = ("data", "indices", "indptr")


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

    search_space: ClassVar[SearchSpace] = {
        "half_life_days": Range(low=1.0, high=365.0, log=True),
        "by": Choice(choices=("all", "category")),
    }


@dataclass(frozen=True, eq=False)
class SegmentCounts:
    """The events of the users who have each value of one attribute."""

    values: IdMap
    counts: csr_array  # (n_values, n_items) float64: summed event weights
    strength: float  # weight of the events that are added to each segment, spread as those of all users are

    def row(self, value: str | None) -> int:
        """The row of a value; -1 if it is unknown, or if no user with it has an event that counts."""
        row = self.values.row(value) if value is not None else -1
        return row if row >= 0 and self.counts.data[self.counts.indptr[row] : self.counts.indptr[row + 1]].any() else -1

    def of(self, row: int) -> NDArray[np.float64]:
        """(n_items,) the weights of one row."""
        places = slice(self.counts.indptr[row], self.counts.indptr[row + 1])
        found = np.zeros(self.counts.shape[1])
        found[self.counts.indices[places]] = self.counts.data[places]
        return found


@dataclass(frozen=True, eq=False)
class Segments:
    """The popularity of items among users with the same attributes. recommenders.training.segments fits it."""

    counts: Mapping[str, SegmentCounts]  # by attribute

    @property
    def attributes(self) -> list[str]:
        """The names of the attributes, sorted."""
        return sorted(self.counts)

    def known(self, attributes: Mapping[str, str | None]) -> dict[str, str]:
        """Those attributes of a user whose value other users with events have; {} if there are none."""
        return {
            name: value
            for name in self.attributes
            if (value := attributes.get(name)) is not None and self.counts[name].row(value) >= 0
        }

    def scores(self, popularity: NDArray[np.float32], attributes: Mapping[str, str]) -> NDArray[np.float32]:
        """(n_items,) segment_popularity() for attributes that known() returned."""
        used = [self.counts[name] for name in self.attributes if name in attributes]
        rows = [part.of(part.row(attributes[name])) for name, part in zip(sorted(attributes), used, strict=True)]
        found = segment_popularity(popularity.astype(np.float64), rows, [part.strength for part in used])
        return found.astype(np.float32)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The counts as named arrays, for a bundle."""
        found: dict[str, NDArray[Any]] = {}
        for name, part in self.counts.items():
            matrix = {key: getattr(part.counts, key) for key in MATRIX}
            known = {**pack_strings(part.values.ids), **matrix, "strength": np.array([part.strength])}
            found |= {f"{SEGMENTS}{name}.{key}": array for key, array in known.items()}
        return found

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], n_items: int) -> "Segments | None":
        """The inverse of arrays(), which ignores other arrays; None if there are none."""
        counts = {}
        for key in arrays:
            if key.startswith(SEGMENTS) and key.endswith(".strength"):
                start = key.removesuffix("strength")
                values = IdMap(unpack_strings({part: arrays[start + part] for part in ("bytes", "ends")}))
                matrix = csr_array(tuple(arrays[start + part] for part in MATRIX), shape=(len(values), n_items))
                name = start.removeprefix(SEGMENTS).removesuffix(".")
                counts[name] = SegmentCounts(values, matrix, float(arrays[key][0]))
        return cls(counts) if counts else None


def segment_popularity(
    popularity: NDArray[np.float64], segments: Sequence[NDArray[np.float64]], strengths: Sequence[float]
) -> NDArray[np.float64]:
    """(n_items,) the popularity among users who belong to all of the segments; it has the sum of that of all users.

    Of one segment it is the sum of the events of the segment and of `strength` events that are spread as those of all
    users are (a Dirichlet prior). Of several, each multiplies the popularity by the item's smoothed share in it over
    the share in all events (naive Bayes: given the item, the attributes of its buyer are independent). popularity, and
    each of `segments`: (n_items,) summed event weights.
    """
    total, found = popularity.sum(), popularity.copy()
    for counts, strength in zip(segments, strengths, strict=True):
        ratio = np.divide(counts * total, popularity, out=np.zeros_like(popularity), where=popularity > 0)
        found *= (ratio + strength) / (counts.sum() + strength)
    return np.asarray(found * (total / max(found.sum(), 1e-300)))


class Popularity(Recommender):
    """Ranks items by the summed weight of their events. All users get the same list unless `by` is category."""

    name = "popularity"
    Config = PopularityConfig
    config: PopularityConfig
    handles_new_users: ClassVar[bool] = True

    popularity_: NDArray[np.float32]  # (n_items,)
    categories_: NDArray[np.int32]  # (n_items,) category numbers; empty unless `by` is category
    segments_: Segments | None = None  # set when a version is released; None: users without a history get one list

    def _fit(self, interactions: Interactions, features: "ItemFeatures | None", options: TrainingOptions) -> None:
        weights = self.event_weights(interactions)
        self.popularity_ = np.bincount(interactions.item_columns, weights, len(interactions.items)).astype(np.float32)
        self.categories_ = np.zeros(0, dtype=np.int32)
        if self.config.by == "category":
            if features is None:
                raise ConfigurationError(
                    "popularity by category needs item features and got none; pass features=encode_items(items, ids), "
                    "or set by: all"
                )
            self.categories_ = np.unique(features.categories, return_inverse=True)[1].astype(np.int32)

    def event_weights(self, interactions: Interactions) -> NDArray[np.float64]:
        """(n_events,) how much each event counts."""
        half_life = self.config.half_life_days if self.config.events == "decayed" else np.inf
        return decayed_weights(interactions, half_life, self.config.window_days)

    def score(self, user_rows: NDArray[np.int32], histories: Histories) -> NDArray[np.float32]:
        """(n, n_items): the popularity of each item; by category, times the user's preference for its category."""
        if not len(self.categories_):
            return self.popularity_[None].repeat(len(user_rows), axis=0)
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
        """The popularity of each item, the categories if `by` is category, and the segments if there are any."""
        segments = self.segments_.arrays() if self.segments_ else {}
        return {"popularity": self.popularity_, "categories": self.categories_, **segments}

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """The inverse of arrays()."""
        self.popularity_, self.categories_ = arrays["popularity"], arrays["categories"]
        self.segments_ = Segments.from_arrays(arrays, len(self.popularity_))


def decayed_sums(
    interactions: Interactions, half_life_days: float | None = None, window_days: float | None = None
) -> NDArray[np.float64]:
    """(n_items,) the summed decayed_weights() of the events of each item."""
    weights = decayed_weights(interactions, half_life_days, window_days)
    return np.asarray(np.bincount(interactions.item_columns, weights, len(interactions.items)), dtype=np.float64)


def decayed_weights(
    interactions: Interactions, half_life_days: float | None = None, window_days: float | None = None
) -> NDArray[np.float64]:
    """(n_events,) the event weights, halved every half_life_days (None: a twelfth of the log's span, at least a day;
    inf: never). Only events of the last window_days count (None: all).
    """
    ages = interactions.ages()
    half_life = half_life_days or max(float(ages.max(initial=0)) / 12, 1.0)
    weights = interactions.weights * 0.5 ** (ages / half_life)
    if window_days is not None:
        weights[ages > window_days] = 0.0
    return np.asarray(weights)
