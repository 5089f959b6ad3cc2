"""Reasons for the items of a list: the parts of each score, and how a rank changes without some events.

A counterfactual is no estimate: the list is made again by the same model as if the events of an item did not exist, at
the same moment, and for the same scene. Only which items of the history are tried is chosen by an estimate.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recommenders.models.ensembles.ensemble import Ensemble
from serving.lists.predictor import Predictor
from serving.lists.query import Query

MAX_TRIALS = 20  # items of a history that are left out, each by one more ranking
MAX_COUNTERFACTUALS = 3  # of an item of the list


@dataclass(frozen=True)
class Contribution:
    """A part of a score. The source is a base model or a kind of feature."""

    source: str
    amount: float


@dataclass(frozen=True)
class Counterfactual:
    """Without the user's events of an item, a listed item would have another rank; None: it would not be in sight."""

    without: str
    n_events: int
    last_event: int | None  # microseconds since 1970, UTC; None if not known
    rank: int
    rank_without: int | None


@dataclass(frozen=True)
class Reasons:
    """Why an item is in a list."""

    score: float  # of the model
    contributions: list[Contribution]  # they add up to the score; parts of 0 are left out
    counterfactuals: list[Counterfactual]  # largest fall first


class Explanation:
    """The reasons for the items of one list. Between two trials, a worker may answer other requests."""

    def __init__(self, predictor: Predictor, query: Query, k: int, moment: int) -> None:
        """Makes the list of k items again. moment: the one for which it was made."""
        self._predictor, self._query, self._k, self._moment = predictor, query, k, moment
        self._depth = max(k, predictor.model.longest_list)
        ranked, self._fallback = predictor.rank(query, k, moment)
        n_items = int((ranked.item_columns[0] >= 0).sum())
        self._columns: NDArray[np.int32] = ranked.item_columns[0, :n_items]
        self._scores: NDArray[np.float32] = ranked.scores[0, :n_items]
        users = np.array([query.user_row], dtype=np.int32)
        if self._fallback is None and not predictor.lists.rankable(users, query.known)[0]:  # of the scene `reorder`
            self._fallback = "popularity"
        self._trials: dict[int, list[int]] = {}  # item that was left out -> columns of the ranking without it

    def trials(self) -> list[int]:
        """The columns of at most MAX_TRIALS items of the history, those first that the list may depend on most."""
        if self._fallback or not len(self._columns):
            return []
        known, model = self._query.known, self._predictor.model
        estimate = model.influence if isinstance(model, Ensemble) else model.drops
        columns = known.known_items.item_columns
        order = np.argsort(-estimate(known, self._columns.tolist()), axis=0, kind="stable")
        # the first choice of each listed item, then the second of each
        chosen = list(dict.fromkeys(order.ravel().tolist()))[:MAX_TRIALS]
        return [int(column) for column in columns[chosen]]

    def rank_without(self, column: int) -> None:
        """Ranks again as if the events of an item did not exist."""
        stays_out = self._query.excludes_known(self._predictor.model.repeat_)
        ranked, _ = self._predictor.rank(self._query.without(column, stays_out), self._depth, self._moment)
        self._trials[column] = ranked.item_columns[0].tolist()

    def reasons(self) -> list[Reasons]:
        """The reasons for each item of the list, from the trials so far."""
        parts = self._contributions()
        return [
            Reasons(
                float(self._scores[place]),
                [Contribution(source, float(amounts[place])) for source, amounts in parts.items() if amounts[place]],
                self._counterfactuals(place),
            )
            for place in range(len(self._columns))
        ]

    def _counterfactuals(self, place: int) -> list[Counterfactual]:
        """The trials in which the item at a place of the list falls."""
        column, rank, found = int(self._columns[place]), place + 1, []
        for left_out, ranking in self._trials.items():
            rank_without = ranking.index(column) + 1 if column in ranking else None
            if rank_without is None or rank_without > rank:
                found.append(self._counterfactual(left_out, rank, rank_without))
        found.sort(key=lambda one: -(one.rank_without or np.inf))
        return found[:MAX_COUNTERFACTUALS]

    def _counterfactual(self, column: int, rank: int, rank_without: int | None) -> Counterfactual:
        known, model = self._query.known, self._predictor.model
        events = np.flatnonzero(known.item_columns == column)
        stored = events[events < self._query.n_stored] if model.dated_ else events[:0]
        last = int(known.timestamps[stored[-1]]) if len(stored) else None
        return Counterfactual(self._predictor.item_ids[column], len(events), last, rank, rank_without)

    def _contributions(self) -> dict[str, NDArray[np.float64]]:
        """Source -> its part of the score of each item of the list."""
        model, scores = self._predictor.model, self._scores.astype(np.float64)
        if self._fallback:
            return {self._fallback: scores}
        if not isinstance(model, Ensemble):
            return {model.name: scores}
        query, reorder = self._query, self._query.scene == "reorder"
        candidates, exclude_known = self._predictor.lists.on_sale(self._moment), query.excludes_known(model.repeat_)
        if reorder:  # as score_items() scores
            candidates, exclude_known = model.available_, not model.repeat_
        user = (query.user_row, query.known, self._columns, candidates, exclude_known)
        return model.contributions(*user, k=0 if reorder else self._k)
