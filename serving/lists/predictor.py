"""Makes recommendation lists from a bundle and a request: input user id and history, output ranked items.

An unknown user is never an error. This process imports no torch, mlflow or pyarrow.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
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
from serving.rules.steering import Effects, RankedItem, Steering

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
    if the model is not calibrated. `unknown_items` are the ids of the history that were ignored. Rules may change the
    order. `rules` names those that placed or moved each item, `effects` states what each active rule did.
    """

    item_ids: list[str]
    scores: list[float]
    probabilities: list[float] | None
    strategy: Strategy
    unknown_items: list[str]
    rules: Sequence[Sequence[str]] = ()
    effects: Effects = field(default_factory=dict)


@dataclass(frozen=True)
class _Asked:
    """The user and the time of one list, in the terms of the model."""

    row: int
    known: Histories
    scene: Scene
    moment: int
    excluded: NDArray[np.int32]
    eligible: NDArray[np.bool_] | None
    new_items: bool | None  # leave out the items of the history; None: as the log's users do not buy an item again
    is_plain: bool  # no filters, and the history is that of the training log: precomputed lists may serve


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
        steering: Steering | None = None,
    ) -> Prediction:
        """min(n, number of candidates) items of those on sale at the moment (ServedLists.on_sale); by default now.

        scene: `for_you`, all items; `reorder`, items of the user's history; `discover`, items that are not in it;
        `basket`, items that go with those of `history`, for any user. exclude: item ids that are not in the list.
        eligible: (n_items,), in the order of the model's items: the only ones that may be in the list; None: all.
        steering: the rules that are active for the request.
        """
        rows = [self.model.items_.row(item_id) for item_id in history]
        unknown = [item_id for item_id, column in zip(history, rows, strict=True) if column < 0]
        columns = np.array([column for column in rows if column >= 0], dtype=np.int32)
        row, known = self._known(user_id, columns) if scene != "basket" else self._basket(columns)
        excluded = np.array([column for id_ in exclude if (column := self.model.items_.row(id_)) >= 0], dtype=np.int32)
        moment = self.lists.moment(time.time_ns() // 1000) if moment is None else moment
        new_items = None if scene == "for_you" else True
        is_plain = not len(columns) and eligible is None
        asked = _Asked(row, known, scene, moment, excluded, eligible, new_items, is_plain)
        if steering is not None:
            return self._steered(asked, steering, n, unknown)
        ranked, by_popularity = self._ranked(asked, n)
        return self._prediction(asked, ranked, by_popularity, unknown)

    def _ranked(self, asked: _Asked, n: int) -> tuple[Ranked, bool]:
        """The n best items, and whether the list is of popularity alone."""
        row, scene, moment, excluded, eligible = asked.row, asked.scene, asked.moment, asked.excluded, asked.eligible
        if scene == "reorder":
            return self.lists.reorder(row, asked.known, n, moment, excluded, eligible), False
        if scene == "for_you" and asked.new_items is None and asked.is_plain:
            stored = self._stored(row, n, moment, excluded, eligible)
            if stored is not None:
                return stored
        users = np.array([row], dtype=np.int32)
        ranked, by_popularity = self.lists.recommend(users, asked.known, n, moment, asked.new_items, excluded, eligible)
        return ranked, bool(by_popularity[0])

    def _steered(self, asked: _Asked, steering: Steering, n: int, unknown: list[str]) -> Prediction:
        """The list by the rules: the model ranks what the rules leave, as often as they need it."""
        by_popularity = False
        bought = np.unique(asked.known.item_columns)
        candidates = self._candidates(asked, steering, bought)
        new_items = False if asked.scene == "for_you" else asked.new_items  # the candidates lack what is not allowed

        def rank(mask: NDArray[np.bool_], k: int) -> list[RankedItem]:
            nonlocal by_popularity
            plain = not (bought.size and mask[bought].any() and not self.model.repeat_)
            among = replace(asked, eligible=mask, new_items=asked.new_items if plain else new_items)
            ranked, by_popularity = self._ranked(among, k)
            columns = ranked.item_columns[0]
            scores = ranked.scores[:, : int((columns >= 0).sum())]
            found = self._probabilities(asked, scores, by_popularity)
            values = [1 / place for place in range(1, len(columns) + 1)] if found is None else found
            pairs = zip(columns.tolist(), scores[0].tolist(), values, strict=False)
            return [RankedItem(column, score, value) for column, score, value in pairs]

        chosen, effects = steering.choose(candidates, bought, n, self.model.longest_list, rank)
        if not chosen:  # no list was made that says which model ranks for the user
            by_popularity = self._ranked(replace(asked, new_items=None), 1)[1]
        columns = np.array([[item.column for item in chosen]], np.int32)
        ranked = Ranked(columns, np.array([[item.score for item in chosen]], np.float32))
        prediction = self._prediction(asked, ranked, by_popularity, unknown)
        return replace(prediction, rules=[item.rules for item in chosen], effects=effects)

    def _candidates(self, asked: _Asked, steering: Steering, bought: NDArray[np.int32]) -> NDArray[np.bool_]:
        """(n_items,) what may be in the list, apart from the rules that exclude items. bought: of the history."""
        found = self.lists.on_sale(asked.moment).copy()
        found[asked.excluded] = False
        if asked.eligible is not None:
            found &= asked.eligible
        own = np.zeros(len(found), np.bool_)
        own[bought] = True
        if asked.scene == "reorder":
            return found & own
        if asked.scene == "for_you":
            return found & steering.bought(bought, self.model.repeat_, len(found))
        return found & ~own

    def _prediction(self, asked: _Asked, ranked: Ranked, by_popularity: bool, unknown: list[str]) -> Prediction:
        items = [self._item_ids[column] for column in ranked.item_columns[0].tolist() if column >= 0]
        scores = ranked.scores[:, : len(items)]
        probabilities = self._probabilities(asked, scores, by_popularity)
        strategy = _strategy(asked, by_popularity)
        return Prediction(items, ranked.scores[0].tolist()[: len(items)], probabilities, strategy, unknown)

    def _probabilities(self, asked: _Asked, scores: NDArray[np.float32], by_popularity: bool) -> list[float] | None:
        strategy = _strategy(asked, by_popularity)
        kind = KINDS[asked.scene] if strategy == "known_user" else OTHERS[strategy]
        found = self.lists.probabilities(kind, scores)
        return None if found is None else [round(value, DECIMALS) for value in found[0].tolist()]

    def warm_up(self) -> None:
        """Makes one list of each kind, so that no request pays for the first access to an array."""
        unknown, known = "\0", self.model.users_.ids[:1].tolist()
        for user_id in (unknown, *known):
            self.predict(user_id, self._item_ids[:3], 10)
            self.predict(user_id, [], 10)

    def _stored(
        self, row: int, n: int, moment: int, excluded: NDArray[np.int32], eligible: NDArray[np.bool_] | None
    ) -> tuple[Ranked, bool] | None:
        """The list of a known user without newer events from the precomputed lists; None if they may lack an item."""
        if self.precomputed is None or row < 0:
            return None
        on_sale = self.lists.on_sale(moment)
        if self._covered is None or self._covered[0] is not on_sale:
            self._covered = on_sale, self.precomputed.covers(on_sale)
        if not self._covered[1]:
            return None
        if len(excluded):
            on_sale = on_sale.copy()
            on_sale[excluded] = False
        allowed = on_sale if eligible is None else on_sale & eligible
        ranked = self.precomputed.best(row, n, allowed)
        return None if ranked is None else (ranked, bool(self.precomputed.by_popularity[row]))

    def _basket(self, columns: NDArray[np.int32]) -> tuple[int, Histories]:
        """A cold-start user whose history are the items of a basket."""
        return -1, append_events(self._no_history, columns, self.model.as_of_)

    def _known(self, user_id: str, columns: NDArray[np.int32]) -> tuple[int, Histories]:
        """The training row (-1 for a user without training events) and the history, the request's events last."""
        row = self.model.users_.row(user_id)
        stored = self.model.histories_[row : row + 1] if row >= 0 else self._no_history
        known = stored if not len(columns) else append_events(stored, columns, self.model.as_of_)
        return (row if len(stored.item_columns) else -1), known


def _strategy(asked: _Asked, by_popularity: bool) -> Strategy:
    return "popularity" if by_popularity else "known_user" if asked.row >= 0 else "history"


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
