"""Makes recommendation lists from a bundle and a request: input user id and history, output ranked items.

An unknown user is never an error. This process imports no torch, mlflow or pyarrow.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from recommenders.events.histories import Histories
from recommenders.models import catalog
from recommenders.models.calibration import Kind
from recommenders.models.recommender import Ranked
from recommenders.storage.feedback_position import Position
from serving.lists.precomputed import PrecomputedLists
from serving.lists.served_lists import ServedLists

Strategy = Literal["known_user", "history", "popularity"]
Scene = Literal["for_you", "reorder", "discover", "basket"]

KINDS: dict[Scene, Kind] = {"for_you": "all", "reorder": "reorder", "discover": "discovery", "basket": "cold_start"}
OTHERS: dict[Strategy, Kind] = {"history": "cold_start", "popularity": "popularity"}  # whatever the scene
DECIMALS = 6  # of a probability in an answer
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


class Predictor:
    """One loaded model. Its arrays are only read, so threads may share it.

    Strategies: `known_user` ranks by the training row, the stored history and the request's events after it;
    `history` ranks for a cold-start user by the request's history alone; `popularity` serves users without either.
    """

    def __init__(self, bundle_folder: Path) -> None:
        """Raises BundleError if the folder holds no complete bundle."""
        self.model = catalog.load(bundle_folder)
        self.lists = ServedLists(self.model)
        self._item_ids: list[str] = self.model.items_.ids.tolist()
        self.precomputed: PrecomputedLists | None = None  # of the same bundle; the watcher sets it
        self._covered: tuple[NDArray[np.bool_], bool] | None = None  # the newest mask of items on sale: see _stored()
        self._no_history = Histories.from_lists([[]], len(self._item_ids))

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
        rows = [self.model.items_.row(item_id) for item_id in history]
        unknown = [item_id for item_id, column in zip(history, rows, strict=True) if column < 0]
        columns = np.array([column for column in rows if column >= 0], dtype=np.int32)
        row, known = self._known(user_id, columns) if scene != "basket" else self._basket(columns)
        excluded = np.array([column for id_ in exclude if (column := self.model.items_.row(id_)) >= 0], dtype=np.int32)
        plain = scene == "for_you" and eligible is None and not len(columns)
        if scene == "reorder":
            ranked = self.lists.reorder(row, known, n, moment, excluded, eligible)
            by_popularity = np.array([False])
        elif plain and (stored := self._stored(row, n, moment, excluded)):
            ranked, by_popularity = stored
        else:
            new_items = None if scene == "for_you" else True
            users = np.array([row], dtype=np.int32)
            ranked, by_popularity = self.lists.recommend(users, known, n, moment, new_items, excluded, eligible)
        items = [self._item_ids[column] for column in ranked.item_columns[0].tolist() if column >= 0]
        strategy: Strategy = "popularity" if by_popularity[0] else "known_user" if row >= 0 else "history"
        kind = KINDS[scene] if strategy == "known_user" else OTHERS[strategy]
        found = self.lists.probabilities(kind, ranked.scores[:, : len(items)])
        probabilities = None if found is None else [round(value, DECIMALS) for value in found[0].tolist()]
        return Prediction(items, ranked.scores[0].tolist()[: len(items)], probabilities, strategy, unknown)

    def warm_up(self) -> None:
        """Makes one list of each kind, so that no request pays for the first access to an array."""
        unknown, known = "\0", self.model.users_.ids[:1].tolist()
        for user_id in (unknown, *known):
            self.predict(user_id, self._item_ids[:3], 10)
            self.predict(user_id, [], 10)

    def _stored(
        self, row: int, n: int, moment: int | None, excluded: NDArray[np.int32]
    ) -> tuple[Ranked, NDArray[np.bool_]] | None:
        """The list of a known user without newer events from the precomputed lists; None if they may lack an item."""
        exactly = self.model.ranks_candidates  # without an item, it would propose and may list another one
        if self.precomputed is None or row < 0 or (exactly and len(excluded)):
            return None
        on_sale = self.lists.on_sale(moment)
        if self._covered is None or self._covered[0] is not on_sale:
            self._covered = on_sale, self.precomputed.covers(on_sale, exactly)
        if not self._covered[1]:
            return None
        if len(excluded):
            on_sale = on_sale.copy()
            on_sale[excluded] = False
        ranked = self.precomputed.best(row, n, on_sale)
        return None if ranked is None else (ranked, self.precomputed.by_popularity[row : row + 1])

    def _basket(self, columns: NDArray[np.int32]) -> tuple[int, Histories]:
        """A cold-start user whose history are the items of a basket."""
        return -1, append_events(self._no_history, columns, self.model.as_of_)

    def _known(self, user_id: str, columns: NDArray[np.int32]) -> tuple[int, Histories]:
        """The training row (-1 for a user without training events) and the history, the request's events last."""
        row = self.model.users_.row(user_id)
        stored = self.model.histories_[row : row + 1] if row >= 0 else self._no_history
        known = stored if not len(columns) else append_events(stored, columns, self.model.as_of_)
        return (row if len(stored.item_columns) else -1), known


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
