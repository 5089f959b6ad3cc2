"""A bundle and a request -> ranked items.

Never an error for a user that is not known; no torch, mlflow or pyarrow in this process.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from recommenders.events.histories import Histories
from recommenders.events.interactions import Interactions
from recommenders.events.sale_periods import ALWAYS, OnSale
from recommenders.models import catalog
from recommenders.models.ensembles.ensemble import Composed
from recommenders.models.popularity import Popularity
from recommenders.models.recommender import Ranked, Recommender

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


class Lists:
    """What is served of a fitted model, to one user who asks or to all of them at once (serving.batch).

    Users of whom the model knows nothing are served by popularity, by the member of a hybrid that was evaluated with
    it. An item is in a list only while it is on sale, whatever the protocol of evaluation counts.
    """

    def __init__(self, model: Recommender) -> None:
        self.model = model
        self.popularity = popularity_of(model)
        self._on_sale = OnSale(model.available_, ALWAYS.min, ALWAYS.max)
        if model.sale_periods_ is not None:
            self._on_sale = OnSale(model.available_, 0, 0)  # holds at no moment: the first answer renews it

    def on_sale(self, moment: int | None = None) -> NDArray[np.bool_]:
        """(n_items,) what may be recommended at the moment, microseconds since 1970, UTC.

        By default that is now, or the newest event the model knows, if the log reaches further than the clock.
        """
        if moment is None:
            moment = max(time.time_ns() // 1000, self.model.as_of_)
        known = self._on_sale
        if not known.since <= moment < known.until and self.model.sale_periods_ is not None:
            known = self.model.sale_periods_.at(moment)
            known = self._on_sale = known._replace(items=known.items & self.model.available_)
        return known.items

    def best(
        self, user_rows: NDArray[np.int32], histories: Histories, k: int, moment: int | None = None
    ) -> tuple[Ranked, NDArray[np.bool_]]:
        """The k best items of each user, and whose list is by popularity alone, (n,).

        A model that ranks fewer items is followed by the most popular others, with its lowest score.
        """
        on_sale = self.on_sale(moment)
        usable = self._usable(user_rows, histories)
        model = self.model if usable.all() else self.popularity
        ranked = model.recommend(user_rows, histories, k, on_sale)
        if usable.any() and not usable.all():
            own = self.model.recommend(user_rows[usable], histories[np.flatnonzero(usable)], k, on_sale)
            ranked.item_columns[usable], ranked.scores[usable] = own
        for place in np.flatnonzero(usable & (ranked.item_columns[:, -1] < 0)).tolist():
            self._fill(ranked, place, histories[place : place + 1], on_sale)
        return ranked, ~usable

    def _usable(self, user_rows: NDArray[np.int32], histories: Histories) -> NDArray[np.bool_]:
        usable = self.model.knows(user_rows, histories) & (histories.counts > 0)
        return usable if self.model.handles_new_users else usable & (user_rows >= 0)

    def _fill(self, ranked: Ranked, place: int, history: Histories, on_sale: NDArray[np.bool_]) -> None:
        """Puts the most popular items behind the last of a short list."""
        columns, scores = ranked.item_columns[place], ranked.scores[place]
        n_found = int((columns >= 0).sum())
        left = on_sale.copy()
        left[columns[:n_found]] = False
        nobody = np.full(1, -1, dtype=np.int32)
        rest = self.popularity.recommend(nobody, history, len(columns) - n_found, left).item_columns[0]
        columns[n_found:] = rest
        lowest = scores[n_found - 1] if n_found else np.float32(0.0)
        scores[n_found:] = np.where(rest >= 0, lowest, np.float32(-np.inf))


class Predictor:
    """One loaded model. Its arrays are only read, so threads may share it.

    Strategies: `known_buyer` ranks by the training row, the stored history and the request's events after it;
    `history` ranks a cold-start user by the request's history alone; `popularity` is for whom nothing is known.
    """

    def __init__(self, bundle_folder: Path) -> None:
        """Raises BundleError if the folder holds no whole bundle."""
        self.model = catalog.load(bundle_folder)
        self.lists = Lists(self.model)
        self._item_ids: list[str] = self.model.items_.ids.tolist()
        self._nothing = Histories.of_lists([[]], len(self._item_ids))

    def predict(self, user_id: str, history: Sequence[str], n: int, moment: int | None = None) -> Prediction:
        """min(n, number of candidates) items, of those on sale at the moment (Lists.on_sale); by default now."""
        found = [self.model.items_.row(item_id) for item_id in history]
        unknown = [item_id for item_id, column in zip(history, found, strict=True) if column < 0]
        row, known = self._known(user_id, np.array([column for column in found if column >= 0], dtype=np.int32))
        ranked, by_popularity = self.lists.best(np.array([row], dtype=np.int32), known, n, moment)
        columns = [column for column in ranked.item_columns[0].tolist() if column >= 0]
        strategy: Strategy = "popularity" if by_popularity[0] else "known_buyer" if row >= 0 else "history"
        scores = ranked.scores[0].tolist()[: len(columns)]
        return Prediction([self._item_ids[column] for column in columns], scores, strategy, unknown)

    def warm(self) -> None:
        """One answer of each kind, so that no user pays for the first touch of an array."""
        unknown, known = "\0", self.model.users_.ids[:1].tolist()
        for user_id in (unknown, *known):
            self.predict(user_id, self._item_ids[:3], 10)
            self.predict(user_id, [], 10)

    def _known(self, user_id: str, columns: NDArray[np.int32]) -> tuple[int, Histories]:
        """The training row (-1 if it never bought) and all that is known of the buyer, the request's events last."""
        row = self.model.users_.row(user_id)
        stored = self.model.histories_[row : row + 1] if row >= 0 else self._nothing
        known = stored if not len(columns) else _continued(stored, columns, self.model.as_of_)
        return (row if len(stored.item_columns) else -1), known


def popularity_of(model: Recommender) -> Popularity:
    """The popularity that was evaluated with the model: itself or a hybrid's member.

    For any other model it is the default, of the events that the model has learned from.
    """
    if isinstance(model, Popularity):
        return model
    if isinstance(model, Composed) and isinstance(member := model.members_.get(Popularity.name), Popularity):
        return member
    known = model.histories_
    log = Interactions(
        *(model.users_, model.items_, known.rows.astype(np.int32), known.item_columns, known.timestamps),
        *(known.weights, known.weights, model.available_, model.repeat_, model.dated_),
        sale_periods=model.sale_periods_,
    )
    return Popularity().fit(log)


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
