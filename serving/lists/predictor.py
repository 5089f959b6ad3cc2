"""Makes recommendation lists from a bundle and a request: input user id and history, output ranked items.

An unknown user is never an error. This process imports no torch, mlflow or pyarrow.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from recommenders.events.histories import Histories
from recommenders.math.ranked import Ranked
from recommenders.models import catalog
from recommenders.models.calibration import Kind
from recommenders.storage.feedback_position import Position
from serving.lists.precomputed import DECIMALS, PrecomputedLists
from serving.lists.served_lists import ServedLists
from serving.lists.similar_items import SimilarItems

Strategy = Literal["known_user", "history", "popularity"]
Scene = Literal["for_you", "reorder", "discover", "basket"]

KINDS: dict[Scene, Kind] = {"for_you": "all", "reorder": "reorder", "discover": "discovery", "basket": "cold_start"}
OTHERS: dict[Strategy, Kind] = {"history": "cold_start", "popularity": "popularity"}  # whatever the scene
EVENT_WEIGHT = 1.0  # of one event in a request's history: a purchase


@dataclass(frozen=True)
class Prediction:
    """Items, best first.

    `scores` are those of the model, in descending order. `probabilities` say how likely the user buys each item; None
    if the model is not calibrated. `unknown_items` are the ids of the history that were ignored.
    """

    item_ids: list[str]
    scores: list[float]
    probabilities: list[float] | None
    strategy: Strategy
    unknown_items: list[str]


@dataclass(frozen=True, eq=False)
class Query:
    """A user, as the model knows them, and what the list is for."""

    user_row: int  # of the training log; -1 for a cold-start user
    known: Histories  # (1, n_items): the stored events of the user, then those of the request
    n_stored: int  # number of stored events
    scene: Scene
    eligible: NDArray[np.bool_] | None  # (n_items,) the only items that may be in the list; None: all

    @property
    def new_items(self) -> bool | None:
        """Whether items of the history are left out; None: as the log's users do not buy an item again."""
        return None if self.scene == "for_you" else True

    def without(self, column: int, stays_out: bool) -> "Query":
        """The query if the events of an item did not exist. stays_out: the item does not become a candidate by that."""
        kept = self.known.item_columns != column
        n_stored = int(kept[: self.n_stored].sum())
        eligible = allowed_without(self.eligible, [column], self.known.n_items) if stays_out else self.eligible
        row = self.user_row if n_stored else -1
        return Query(row, self.known.select(kept), n_stored, self.scene, eligible)


class Predictor:
    """One loaded model. Its arrays are only read, so threads may share it.

    Strategies: `known_user` ranks by the training row, the stored history and the request's events after it;
    `history` ranks for a cold-start user by the request's history alone; `popularity` serves users without either.
    """

    def __init__(self, bundle_folder: Path) -> None:
        """Raises BundleError if the folder holds no complete bundle."""
        self.model = catalog.load(bundle_folder)
        self.lists = ServedLists(self.model)
        self.similar_items = SimilarItems(self.model)
        self.item_ids: list[str] = self.model.items_.ids.tolist()
        self.precomputed: PrecomputedLists | None = None  # of the same bundle; the watcher sets it
        self._covered: tuple[Any, Any, bool, bool] = (None, None, False, False)  # see _covers()
        self._no_history = Histories.from_lists([[]], len(self.item_ids))

    @property
    def feedback_position(self) -> Position | None:
        """The last feedback event that the model was trained on; None: on none."""
        return Position.from_provenance(self.model.provenance)

    def predict(
        self,
        user_id: str,
        history: Sequence[str],
        n: int,
        moment: int | None = None,
        scene: Scene = "for_you",
        exclude: Sequence[str] = (),
        eligible: NDArray[np.bool_] | None = None,
    ) -> Prediction:
        """min(n, number of candidates) items of those on sale at the moment (ServedLists.on_sale); by default now.

        scene: `for_you`, all items; `reorder`, items of the user's history; `discover`, items that are not in it;
        `basket`, items that go with those of `history`, for any user. exclude: item ids that are not in the list.
        eligible: (n_items,), in the order of the model's items: the only ones that may be in the list; None: all.
        """
        is_plain = scene == "for_you" and not history and not exclude and eligible is None
        if is_plain and (found := self._beginning(user_id, n, moment)):
            return found
        query, unknown = self.query(user_id, history, scene, exclude, eligible)
        ranked, by_popularity = self._stored(query, n, moment) or self.rank(query, n, moment)
        items = [self.item_ids[column] for column in ranked.item_columns[0].tolist() if column >= 0]
        strategy: Strategy = "popularity" if by_popularity else "known_user" if query.user_row >= 0 else "history"
        kind = KINDS[scene] if strategy == "known_user" else OTHERS[strategy]
        known = self.lists.probabilities(kind, ranked.scores[:, : len(items)])
        probabilities = None if known is None else [round(value, DECIMALS) for value in known[0].tolist()]
        return Prediction(items, ranked.scores[0].tolist()[: len(items)], probabilities, strategy, unknown)

    def query(
        self,
        user_id: str,
        history: Sequence[str],
        scene: Scene = "for_you",
        exclude: Sequence[str] = (),
        eligible: NDArray[np.bool_] | None = None,
    ) -> tuple[Query, list[str]]:
        """What predict() ranks for, in rows and columns of the model; and the ids of the history that it ignores."""
        found = [self.model.items_.row(item_id) for item_id in history]
        unknown = [item_id for item_id, column in zip(history, found, strict=True) if column < 0]
        new = np.array([column for column in found if column >= 0], dtype=np.int32)
        if excluded := [column for item_id in exclude if (column := self.model.items_.row(item_id)) >= 0]:
            eligible = allowed_without(eligible, excluded, len(self.item_ids))
        row = self.model.users_.row(user_id) if scene != "basket" else -1
        stored = self.model.histories_[row : row + 1] if row >= 0 else self._no_history
        known = stored if not len(new) else append_events(stored, new, self.model.as_of_)
        n_stored = len(stored.item_columns)
        return Query(row if n_stored else -1, known, n_stored, scene, eligible), unknown

    def rank(self, query: Query, k: int, moment: int | None = None) -> tuple[Ranked, bool]:
        """The k best items of those on sale at the moment, and whether the list is one of popularity alone."""
        if query.scene == "reorder":
            return self.lists.reorder(query.user_row, query.known, k, moment, query.eligible), False
        users = np.array([query.user_row], dtype=np.int32)
        ranked, by_popularity = self.lists.recommend(users, query.known, k, moment, query.new_items, query.eligible)
        return ranked, bool(by_popularity[0])

    def warm_up(self) -> None:
        """Makes one list of each kind, so that no request pays for the first access to an array."""
        unknown, known = "\0", self.model.users_.ids[:1].tolist()
        for user_id in (unknown, *known):
            self.predict(user_id, self.item_ids[:3], 10)
            self.predict(user_id, [], 10)

    def _stored(self, query: Query, k: int, moment: int | None) -> tuple[Ranked, bool] | None:
        """rank() of a known user without newer events, from the precomputed lists; None if they may lack an item."""
        row, stored = query.user_row, self.precomputed
        if stored is None or row < 0 or query.scene != "for_you" or query.n_stored < len(query.known.item_columns):
            return None
        exactly = self.model.ranks_candidates  # without an item, it would propose and may list another one
        if exactly and query.eligible is not None:
            return None
        on_sale = self.lists.on_sale(moment)
        if not self._covers(stored, on_sale, exactly):
            return None
        ranked = stored.best(row, k, on_sale if query.eligible is None else on_sale & query.eligible)
        return None if ranked is None else (ranked, bool(stored.by_popularity[row]))

    def _beginning(self, user_id: str, n: int, moment: int | None) -> Prediction | None:
        """The first n items of a precomputed list, if the same items are on sale as when it was made: most requests."""
        row, stored = self.model.users_.row(user_id), self.precomputed
        if stored is None or row < 0 or n > stored.depth:
            return None
        if not self._covers(stored, self.lists.on_sale(moment), exactly=True):
            return None
        columns = [column for column in stored.columns[row, :n].tolist() if column >= 0]
        scores, probabilities = (
            stored.scores[row, : len(columns)].tolist(),
            stored.known_probabilities(row, len(columns)),
        )
        strategy: Strategy = "popularity" if stored.by_popularity[row] else "known_user"
        return Prediction([self.item_ids[column] for column in columns], scores, probabilities, strategy, [])

    def _covers(self, stored: PrecomputedLists, on_sale: NDArray[np.bool_], exactly: bool) -> bool:
        """stored.covers(), which is remembered for the newest mask of items on sale."""
        if self._covered[0] is not on_sale or self._covered[1] is not stored:
            self._covered = on_sale, stored, stored.covers(on_sale, exactly=True), stored.covers(on_sale, exactly=False)
        return self._covered[2 if exactly else 3]


def allowed_without(allowed: NDArray[np.bool_] | None, columns: Sequence[int], n_items: int) -> NDArray[np.bool_]:
    """(n_items,): the allowed items, by default all, without those of some columns."""
    left = np.ones(n_items, np.bool_) if allowed is None else allowed.copy()
    left[columns] = False
    return left


def append_events(stored: Histories, columns: NDArray[np.int32], now: int) -> Histories:
    """One user's history, followed by one event at time `now` for each of the item columns."""
    n_new = len(columns)
    return Histories(
        np.array([0, len(stored.item_columns) + n_new]),
        np.concatenate([stored.item_columns, columns]),
        np.concatenate([stored.timestamps, np.full(n_new, now)]),
        np.concatenate([stored.weights, np.full(n_new, EVENT_WEIGHT, dtype=np.float32)]),
        stored.n_items,
    )
