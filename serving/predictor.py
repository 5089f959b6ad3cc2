"""A bundle and a request -> ranked items.

Never an error for a stranger; no torch, mlflow or pyarrow in this process.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from recommenders.datasets.histories import Histories
from recommenders.models import catalog

Strategy = Literal["known_buyer", "history", "popularity"]

EVENT_WEIGHT = 1.0  # of one event in a request's history: a purchase


@dataclass(frozen=True)
class Prediction:
    """Items, best first, with scores that never rise.

    `unknown_items` are the ids of the history that were ignored.
    """

    item_ids: list[str]
    scores: list[float]
    strategy: Strategy
    unknown_items: list[str]


class Predictor:
    """One loaded model. Its arrays are only read, so threads may share it.

    Strategies: `known_buyer` ranks by the training row, the stored history and the request's events after it;
    `history` ranks a stranger by the request's history alone; `popularity` is for whom nothing is known.
    """

    def __init__(self, bundle_folder: Path) -> None:
        """Raises BundleError if the folder holds no whole bundle."""
        self.model = catalog.load(bundle_folder)
        self._item_ids: list[str] = self.model.items_.ids.tolist()
        known = self.model.histories_
        sales = np.bincount(known.item_columns, known.weights, minlength=known.n_items)
        on_sale = np.flatnonzero(self.model.available_)
        self._popular = on_sale[np.argsort(-sales[on_sale], kind="stable")].astype(np.int32)  # best first
        self._sales = sales.astype(np.float32)
        self._nothing = Histories.of_lists([[]], known.n_items)

    def predict(self, user_id: str, history: Sequence[str], n: int) -> Prediction:
        """min(n, number of candidates) items.

        A model that ranks fewer is followed by the most popular ones.
        """
        found = [self.model.items_.row(item_id) for item_id in history]
        unknown = [item_id for item_id, column in zip(history, found, strict=True) if column < 0]
        columns = np.array([column for column in found if column >= 0], dtype=np.int32)
        row, known = self._known(user_id, columns)
        excluded = known.item_columns if not self.model.repeat_ else np.empty(0, dtype=np.int32)
        rows = np.array([row], dtype=np.int32)
        if not self._usable(rows, known):
            ranked, scores = self._most_popular(n, excluded)
            strategy: Strategy = "popularity"
        else:
            ranked, scores = self._ranked(rows, known, n, excluded)
            strategy = "known_buyer" if row >= 0 else "history"
        return Prediction([self._item_ids[c] for c in ranked], scores, strategy, unknown)

    def warm(self) -> None:
        """One answer of each kind, so that no buyer pays for the first touch of an array."""
        stranger, buyers = "\0", self.model.users_.ids[:1].tolist()
        for user_id in (stranger, *buyers):
            self.predict(user_id, self._item_ids[:3], 10)
            self.predict(user_id, [], 10)

    def _known(self, user_id: str, columns: NDArray[np.int32]) -> tuple[int, Histories]:
        """The training row (-1 if it never bought) and all that is known of the buyer, the request's events last."""
        row = self.model.users_.row(user_id)
        stored = self.model.histories_[row : row + 1] if row >= 0 else self._nothing
        known = stored if not len(columns) else _continued(stored, columns, self.model.as_of_)
        return (row if len(stored.item_columns) else -1), known

    def _usable(self, rows: NDArray[np.int32], known: Histories) -> bool:
        if not known.counts[0] or (rows[0] < 0 and not self.model.handles_new_users):
            return False
        return bool(self.model.knows(rows, known)[0])

    def _ranked(
        self, rows: NDArray[np.int32], known: Histories, n: int, excluded: NDArray[Any]
    ) -> tuple[list[int], list[float]]:
        best = self.model.recommend(rows, known, n)
        columns: list[int] = [c for c in best.item_columns[0].tolist() if c >= 0]
        scores: list[float] = best.scores[0].tolist()[: len(columns)]
        if len(columns) < n:
            rest, _ = self._most_popular(n - len(columns), np.concatenate([excluded, columns]))
            columns += rest
            scores += [min(scores, default=0.0)] * len(rest)  # they come last, whatever their popularity
        return columns, scores

    def _most_popular(self, n: int, excluded: NDArray[Any]) -> tuple[list[int], list[float]]:
        columns = self._popular[: n + len(excluded)]
        if len(excluded):
            columns = columns[~np.isin(columns, excluded)]
        columns = columns[:n]
        return columns.tolist(), self._sales[columns].tolist()


def _continued(stored: Histories, columns: NDArray[np.int32], now: int) -> Histories:
    """One buyer's history, followed by an event for each of the columns."""
    n_new = len(columns)
    return Histories(
        np.array([0, len(stored.item_columns) + n_new]),
        np.concatenate([stored.item_columns, columns]),
        np.concatenate([stored.timestamps, np.full(n_new, now)]),
        np.concatenate([stored.weights, np.full(n_new, EVENT_WEIGHT, dtype=np.float32)]),
        stored.n_items,
    )
