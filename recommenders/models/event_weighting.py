"""How much each pair of buyer and item counts for models that learn from a matrix of pairs."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array

from recommenders.events.histories import DAY, Histories
from recommenders.events.interactions import Interactions
from recommenders.models.recommender import ModelConfig

FAINT = 1e-6  # summed weights below it are taken for none: their reciprocals would be beyond single precision
ONE_EVENT = np.float32(np.log(2.0))  # log(1 + 1)


class EventValuesConfig(ModelConfig):
    """How the events of a pair add up.

    Where each pair has one event, `log` equals `binary`; where buyers come back, the tenth purchase says less than the
    first. Old events fade where the log tells ages; two half-lives in its span leave last season in sight.
    """

    values: Literal["log", "binary"] = "log"  # log2(1 + summed weights), or 1
    events: Literal["decayed", "summed"] = "decayed"
    half_life_days: float | None = Field(default=None, gt=0)  # None: half_lives of them make the log's span
    half_lives: float = Field(default=2.0, gt=0)


class Known(NamedTuple):
    """A buyer's items, ascending and distinct, and what each counts; (m,) both."""

    item_columns: NDArray[np.int64]
    values: NDArray[np.float32]


@dataclass(frozen=True)
class EventValues:
    """The rule as it was settled for one log."""

    values: Literal["log", "binary"]
    half_life_days: float  # inf: nothing fades

    @classmethod
    def settled(cls, config: EventValuesConfig, interactions: Interactions) -> "EventValues":
        """The rule of a configuration; nothing fades in a log that does not tell the age of its events."""
        span = float(interactions.ages().max(initial=0.0))
        fades = config.events == "decayed" and span > 0
        return cls(config.values, (config.half_life_days or span / config.half_lives) if fades else np.inf)

    def learned(self, interactions: Interactions) -> csr_array:
        """(n_users, n_items) float32 of a log: an event's weight halves every half-life before the newest event."""
        weights = interactions.weights
        if np.isfinite(self.half_life_days):
            weights = (weights * 0.5 ** (interactions.ages() / self.half_life_days)).astype(np.float32)
        pairs = (interactions.user_rows, interactions.item_columns)
        matrix = csr_array((weights, pairs), shape=interactions.shape, dtype=np.float32)
        matrix.sum_duplicates()
        return self._valued(matrix)

    def known(self, histories: Histories) -> csr_array:
        """(n, n_items) float32 of some buyers.

        Ages count from each buyer's own newest event: what a sleeping buyer likes is told by the same items as ever.
        """
        return csr_array(self._known(histories), shape=histories.shape)

    def known_of_one(self, history: Histories) -> Known:
        """The only row of known(), without building a matrix."""
        values, columns, _ = self._known(history)
        return Known(columns, values)

    def _known(self, histories: Histories) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
        """The parts of known()."""
        sums, items = histories.sums(self._weights(histories)), histories.known_items
        seen = sums > FAINT
        if not seen.all():
            sums, items = sums[seen], items.select(seen)
        return self._worth(sums), items.item_columns, items.indptr

    def _weights(self, histories: Histories) -> NDArray[np.float32]:
        if not np.isfinite(self.half_life_days) or not len(histories.item_columns):
            return histories.weights
        newest = histories.timestamps[np.maximum(histories.indptr[1:] - 1, 0)]
        days = (np.repeat(newest, histories.counts) - histories.timestamps) / DAY
        faded: NDArray[np.float32] = (histories.weights * np.exp2(days / -self.half_life_days)).astype(np.float32)
        return faded

    def _worth(self, sums: NDArray[np.float32]) -> NDArray[np.float32]:
        worth = np.ones_like(sums) if self.values == "binary" else np.log1p(sums) / ONE_EVENT
        return worth.astype(np.float32, copy=False)

    def _valued(self, matrix: csr_array) -> csr_array:
        matrix.data[matrix.data <= FAINT] = 0.0
        matrix.eliminate_zeros()
        matrix.data = self._worth(matrix.data)
        return matrix
