"""The weight of each (user, item) pair for models of a pair matrix: summed event weights with decay -> pair weights."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array

from recommenders.events.histories import Histories
from recommenders.events.interactions import Interactions
from recommenders.models.recommender import ModelConfig

EPSILON = 1e-6  # smaller summed weights count as 0: their reciprocals would exceed single precision
LOG_OF_ONE_EVENT = np.float32(np.log(2.0))  # log(1 + 1)


class EventWeightingConfig(ModelConfig):
    """How the events of a pair add up.

    If each pair has one event, `log` equals `binary`; with repeat purchases, the tenth purchase adds less than the
    first. Old events decay if the log has dates; two half-lives in its span keep the last season visible.
    """

    values: Literal["log", "binary"] = Field(
        default="log",
        description="Weight of a pair of user and item with events. `log`: log2(1 + summed event weights). "
        "`binary`: 1.",
    )
    events: Literal["decayed", "summed"] = Field(
        default="decayed",
        description="`decayed`: old events count less; in a log without dates all events count the same. "
        "`summed`: all events count the same.",
    )
    half_life_days: float | None = Field(
        default=None,
        gt=0,
        description="Days in which the weight of an event halves; null: the log's span divided by `n_half_lives`.",
    )
    n_half_lives: float = Field(
        default=2.0, gt=0, description="Number of half-lives in the log's span, if `half_life_days` is null."
    )


class WeightedItems(NamedTuple):
    """The items of a user, ascending and distinct, and their weights; (m,) both."""

    item_columns: NDArray[np.int64]
    weights: NDArray[np.float32]


@dataclass(frozen=True)
class EventWeighting:
    """The weighting of one log."""

    values: Literal["log", "binary"]
    half_life_days: float  # inf: no decay

    @classmethod
    def from_log(cls, config: EventWeightingConfig, interactions: Interactions) -> "EventWeighting":
        """The weighting of a configuration for a log; no decay in a log without ages of events."""
        span = float(interactions.ages().max(initial=0.0))
        decays = config.events == "decayed" and span > 0
        return cls(config.values, (config.half_life_days or span / config.n_half_lives) if decays else np.inf)

    def log_matrix(self, interactions: Interactions) -> csr_array:
        """(n_users, n_items) float32 of a log: an event's weight halves every half-life before the newest event."""
        weights = interactions.weights
        if np.isfinite(self.half_life_days):
            weights = (weights * 0.5 ** (interactions.ages() / self.half_life_days)).astype(np.float32)
        pairs = (interactions.user_rows, interactions.item_columns)
        matrix = csr_array((weights, pairs), shape=interactions.shape, dtype=np.float32)
        matrix.sum_duplicates()
        return self._with_pair_weights(matrix)

    def history_matrix(self, histories: Histories) -> csr_array:
        """(n, n_items) float32 of some users.

        Ages count from each user's own newest event, so a user's weights do not change while the user is inactive.
        """
        return csr_array(self._history_entries(histories), shape=histories.shape)

    def weighted_items(self, history: Histories) -> WeightedItems:
        """The only row of history_matrix(), without building a matrix."""
        weights, columns, _ = self._history_entries(history)
        return WeightedItems(columns, weights)

    def _history_entries(
        self, histories: Histories
    ) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
        """Data, columns and indptr of history_matrix()."""
        sums, items = histories.sums(self._event_weights(histories)), histories.known_items
        kept = sums > EPSILON
        if not kept.all():
            sums, items = sums[kept], items.select(kept)
        return self._pair_weights(sums), items.item_columns, items.indptr

    def _event_weights(self, histories: Histories) -> NDArray[np.float32]:
        if not np.isfinite(self.half_life_days) or not len(histories.item_columns):
            return histories.weights
        decayed: NDArray[np.float32] = (histories.weights * np.exp2(histories.days_ago / -self.half_life_days)).astype(
            np.float32
        )
        return decayed

    def _pair_weights(self, sums: NDArray[np.float32]) -> NDArray[np.float32]:
        weights = np.ones_like(sums) if self.values == "binary" else np.log1p(sums) / LOG_OF_ONE_EVENT
        return weights.astype(np.float32, copy=False)

    def _with_pair_weights(self, matrix: csr_array) -> csr_array:
        matrix.data[matrix.data <= EPSILON] = 0.0
        matrix.eliminate_zeros()
        matrix.data = self._pair_weights(matrix.data)
        return matrix
