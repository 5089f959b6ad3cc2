"""Makes recommendation lists from a bundle and a request: input user id and history, output ranked items.

An unknown user is never an error. This process imports no torch, mlflow or pyarrow.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from recommenders.clock import now_us
from recommenders.events.histories import Histories
from recommenders.math.ranked import Ranked
from recommenders.models import all_models
from recommenders.models.calibration import Kind
from recommenders.storage.feedback_position import Position
from serving.lists.diversity import Similarities, by_marginal_relevance
from serving.lists.precomputed import DECIMALS, PrecomputedLists
from serving.lists.query import Query, Scene, allowed_without, append_events, only_later
from serving.lists.served_lists import ServedLists
from serving.lists.similar_items import SimilarItems
from serving.steering.catalogue.attributes import AttributeTable
from serving.steering.rules.active_rules import Effects, Steered, Steering
from serving.steering.rules.model_ranking import ModelRanking

Strategy = Literal["known_user", "history", "segment", "popularity"]
Fallback = Literal["segment", "popularity"]  # the strategies of lists that the model does not make

KINDS: dict[Scene, Kind] = {"for_you": "all", "reorder": "reorder", "discover": "discovery", "basket": "cold_start"}
# whatever the scene
OTHERS: dict[Strategy, Kind] = {"history": "cold_start", "segment": "segment", "popularity": "popularity"}


@dataclass(frozen=True)
class Prediction:
    """Items, best first.

    `scores` are those of the model, in descending order unless a rule moved items. `probabilities` say how likely the
    user buys each item; None if the model is not calibrated. `unknown_items` are the ids of the history that were
    ignored. `rules` names those that placed or moved each item, `effects` states what each active rule did.
    `propensities` state how likely exploration shows each item at its place; None where it changes nothing.
    """

    item_ids: list[str]
    scores: list[float]
    probabilities: list[float] | None
    strategy: Strategy
    unknown_items: list[str]
    rules: Sequence[Sequence[str]] = ()
    effects: Effects = field(default_factory=dict)
    propensities: Sequence[float | None] = ()


class Predictor:
    """One loaded model. Its arrays are only read, so threads may share it.

    Strategies: `known_user` ranks by the training row, the stored history and the request's events after it;
    `history` ranks for a cold-start user by the request's history alone; `segment` is for cold-start users without a
    history that says something, whose attributes are known; `popularity` serves all others.
    """

    def __init__(self, bundle_folder: Path) -> None:
        """Raises BundleError if the folder holds no complete bundle."""
        self.model = all_models.load(bundle_folder)
        self.lists = ServedLists(self.model)
        self.similar_items = SimilarItems(self.model)
        self._similarities = Similarities(self.model)
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
        steering: Steering | None = None,
        users: AttributeTable | None = None,
        since: int | None = None,
        diversity: float = 0.0,
    ) -> Prediction:
        """min(n, number of candidates) items of those on sale at the moment (ServedLists.on_sale); by default now.

        scene: `for_you`, all items; `reorder`, items of the user's history; `discover`, items that are not in it;
        `basket`, items that go with those of `history`, for any user. exclude: item ids that are not in the list.
        eligible: (n_items,), in the order of the model's items: the only ones that may be in the list; None: all.
        steering: the rules that are active for the request. users: the attributes of users, from the catalogue.
        since: see query(). diversity: from 0, off, to 1.
        """
        is_plain = scene == "for_you" and not history and not exclude and eligible is None and steering is None
        if is_plain and since is None and not diversity and (found := self.prepared(user_id, n, moment)):
            return found
        query, unknown = self.query(user_id, history, scene, exclude, eligible, steering, users, since, diversity)
        if steering is not None or diversity:
            return self._chosen(query, n, moment, unknown)
        return self._prediction(query, *self._listed(query, n, moment, use_stored=True), unknown)

    def prepared(self, user_id: str, n: int, moment: int | None) -> Prediction | None:
        """The list for a request without history, exclusions, filters and rules, if it is in memory: most requests.

        It is the beginning of a precomputed list, if the same items are on sale as when that was made.
        """
        row, stored = self.model.users_.row(user_id), self.precomputed
        if stored is None or row < 0 or n > stored.depth:
            return None
        if not self._covers(stored, self.lists.on_sale(moment), exactly=True):
            return None
        columns = [column for column in stored.columns[row, :n].tolist() if column >= 0]
        scores = stored.scores[row, : len(columns)].tolist()
        probabilities = stored.known_probabilities(row, len(columns))
        strategy: Strategy = "popularity" if stored.by_popularity[row] else "known_user"
        return Prediction([self.item_ids[column] for column in columns], scores, probabilities, strategy, [])

    def query(
        self,
        user_id: str,
        history: Sequence[str],
        scene: Scene = "for_you",
        exclude: Sequence[str] = (),
        eligible: NDArray[np.bool_] | None = None,
        steering: Steering | None = None,
        users: AttributeTable | None = None,
        since: int | None = None,
        diversity: float = 0.0,
    ) -> tuple[Query, list[str]]:
        """What predict() ranks for, in rows and columns of the model; and the ids of the history that it ignores.

        since: of a user who was erased, the time in microseconds since 1970, UTC. Stored events up to it do not count;
        if there are any, the user is a cold-start user. Attributes of the user, which may be of before, do not count.
        """
        found = [self.model.items_.row(item_id) for item_id in history]
        unknown = [item_id for item_id, column in zip(history, found, strict=True) if column < 0]
        new = np.array([column for column in found if column >= 0], dtype=np.int32)
        if excluded := [column for item_id in exclude if (column := self.model.items_.row(item_id)) >= 0]:
            eligible = allowed_without(eligible, excluded, len(self.item_ids))
        row = self.model.users_.row(user_id) if scene != "basket" else -1
        stored = self.model.histories_[row : row + 1] if row >= 0 else self._no_history
        if since is not None:
            (row, stored), users = only_later(row, stored, since), None
        known = stored if not len(new) else append_events(stored, new, self.model.as_of_)
        n_stored = len(stored.item_columns)
        row = row if n_stored else -1
        query = Query(row, known, n_stored, scene, eligible, user_id=user_id, users=users, diversity=diversity)
        return (query if steering is None else query.by(steering, self.model.repeat_)), unknown

    def rank(self, query: Query, k: int, moment: int) -> tuple[Ranked, Fallback | None]:
        """The k best items of those on sale at the moment; and from what the list is, if the model did not make it."""
        if not query.is_steered:
            return self._listed(query, k, moment)
        steered, fallback = self._steered(query, k, moment)
        columns = np.array([[item.column for item in steered.items]], np.int32)
        return Ranked(columns, np.array([[item.score for item in steered.items]], np.float32)), fallback

    def warm_up(self) -> None:
        """Makes one list of each kind, so that no request pays for the first access to an array."""
        unknown, known = "\0", self.model.users_.ids[:1].tolist()
        for user_id in (unknown, *known):
            self.predict(user_id, self.item_ids[:3], 10)
            self.predict(user_id, [], 10)

    def _prediction(self, query: Query, ranked: Ranked, fallback: Fallback | None, unknown: list[str]) -> Prediction:
        items = [self.item_ids[column] for column in ranked.item_columns[0].tolist() if column >= 0]
        found = self.lists.probabilities(_kind(query, fallback), ranked.scores[:, : len(items)])
        probabilities = None if found is None else [round(value, DECIMALS) for value in found[0].tolist()]
        scores = ranked.scores[0].tolist()[: len(items)]
        return Prediction(items, scores, probabilities, _strategy(query, fallback), unknown)

    def _chosen(self, query: Query, n: int, moment: int | None, unknown: list[str]) -> Prediction:
        """The list for a query with diversity, or by rules that are active for it."""
        moment = self.lists.moment(now_us()) if moment is None else moment
        steering, steered = query.steering, Steered([], {})
        if query.is_steered:
            steered, fallback = self._steered(query, n, moment, use_stored=True)
            items, scores = [self.item_ids[one.column] for one in steered.items], [one.score for one in steered.items]
            values = [round(one.probability, DECIMALS) for one in steered.items if one.probability is not None]
            probabilities = values if len(values) == len(items) else None
            strategy, rules = _strategy(query, fallback), [one.rules for one in steered.items]
            propensities = [one.propensity for one in steered.items]
            prediction = Prediction(items, scores, probabilities, strategy, unknown, rules, propensities=propensities)
        else:
            prediction = self._prediction(query, *self._listed(query, n, moment, use_stored=True), unknown)
        if steering is None or not steering.active:
            return prediction
        candidates = query.candidates_without_rules(self.lists.on_sale(moment), self.model.repeat_)
        return replace(prediction, effects=steering.effects(candidates, np.unique(query.known.item_columns), steered))

    def _steered(self, query: Query, k: int, moment: int, use_stored: bool = False) -> tuple[Steered, Fallback | None]:
        """The k items that the rules choose from the model's list; and from what that is, as of rank().

        Diversity puts that list in another order first.
        """
        depth = max(k, self.model.longest_list)
        ranked, fallback = self._listed(query, depth, moment, use_stored)
        kind = _kind(query, fallback)

        def rank(items: NDArray[np.bool_], n: int) -> Ranked:
            return self._listed(replace(query, eligible=items), n, moment)[0]

        def probabilities(scores: NDArray[np.float32]) -> NDArray[np.float32] | None:
            return self.lists.probabilities(kind, scores)

        def order(columns: NDArray[np.int32]) -> Iterator[int]:
            return by_marginal_relevance(len(columns), query.diversity, self._similarities.among(columns).of)

        eligible = query.candidates(self.lists.on_sale(moment), self.model.repeat_)
        listed = ModelRanking(ranked, depth, rank, probabilities, order if query.diversity else None)
        return (query.steering or Steering((), k)).choose(eligible, k, listed), fallback

    def _listed(
        self, query: Query, k: int, moment: int | None, use_stored: bool = False
    ) -> tuple[Ranked, Fallback | None]:
        """rank() without the rules that order a list. use_stored: by the precomputed lists, where they have it."""
        if use_stored and (stored := self._stored(query, k, moment)) is not None:
            return stored
        if query.scene == "reorder":
            return self.lists.reorder(query.user_row, query.known, k, moment, query.eligible), None
        users, among = np.array([query.user_row], dtype=np.int32), (k, moment, query.new_items, query.eligible)
        ranked, by_popularity = self.lists.recommend(users, query.known, *among)
        if not by_popularity[0]:
            return ranked, None
        segments = self.lists.segments
        if query.user_row < 0 and segments and (known := segments.known(query.attributes(segments.attributes))):
            return self.lists.by_segment(known, query.known, *among), "segment"
        return ranked, "popularity"

    def _stored(self, query: Query, k: int, moment: int | None) -> tuple[Ranked, Fallback | None] | None:
        """The list of a known user without newer events, from the precomputed lists; None if they may lack an item."""
        row, stored = query.user_row, self.precomputed
        if stored is None or row < 0 or query.new_items is not None or query.n_stored < len(query.known.item_columns):
            return None
        exactly = self.model.ranks_candidates  # without an item, it would propose and may list another one
        if exactly and query.eligible is not None:
            return None
        on_sale = self.lists.on_sale(moment)
        if not self._covers(stored, on_sale, exactly):
            return None
        ranked = stored.best(row, k, on_sale if query.eligible is None else on_sale & query.eligible)
        return None if ranked is None else (ranked, "popularity" if stored.by_popularity[row] else None)

    def _covers(self, stored: PrecomputedLists, on_sale: NDArray[np.bool_], exactly: bool) -> bool:
        """stored.covers(), which is remembered for the newest mask of items on sale."""
        if self._covered[0] is not on_sale or self._covered[1] is not stored:
            self._covered = on_sale, stored, stored.covers(on_sale, exactly=True), stored.covers(on_sale, exactly=False)
        return self._covered[2 if exactly else 3]


def _strategy(query: Query, fallback: Fallback | None) -> Strategy:
    return fallback or ("known_user" if query.user_row >= 0 else "history")


def _kind(query: Query, fallback: Fallback | None) -> Kind:
    strategy = _strategy(query, fallback)
    return KINDS[query.scene] if strategy == "known_user" else OTHERS[strategy]
