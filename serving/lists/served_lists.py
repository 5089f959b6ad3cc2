"""The lists of a fitted model as they are served: items on sale, and popular items where the model cannot rank."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from recommenders.clock import now_us
from recommenders.events.histories import Histories
from recommenders.events.interactions import Interactions
from recommenders.events.sale_periods import ALWAYS, OnSale
from recommenders.math.ranked import Ranked, mask_and_rank
from recommenders.math.top_k import top_k
from recommenders.models.calibration import Kind
from recommenders.models.popularity import Popularity, Segments
from recommenders.models.recommender import Recommender

FIRST_SCORED = 64  # items of which scores are compared first


class ServedLists:
    """The lists of a fitted model as they are served, for one user or for many at once.

    Users that the model cannot rank for get the list of the popularity model that was evaluated with it. A list holds
    an item only while the item is on sale, whatever the evaluation protocol counts.
    """

    def __init__(self, model: Recommender) -> None:
        self.model = model
        self.popularity = popularity_baseline(model)
        self._on_sale = OnSale(model.available_, ALWAYS.min, ALWAYS.max)
        if model.sale_periods_ is not None:
            self._on_sale = OnSale(model.available_, 0, 0)  # valid at no time: the first request replaces it

    def moment(self, clock: int) -> int:
        """The time of a list: the clock, or the newest event that the model knows if that is later."""
        return max(clock, self.model.as_of_)

    def on_sale(self, moment: int | None = None) -> NDArray[np.bool_]:
        """(n_items,) which items may be recommended at the moment, in microseconds since 1970, UTC.

        The default is moment() of the clock.
        """
        if moment is None:
            moment = self.moment(now_us())
        known = self._on_sale
        if not known.since <= moment < known.until and self.model.sale_periods_ is not None:
            known = self.model.sale_periods_.at(moment)
            known = self._on_sale = known._replace(items=known.items & self.model.available_)
        return known.items

    def sale_period(self, moment: int) -> tuple[int, int]:
        """The time around the moment in which the same items are on sale: its begin (inclusive) and end (exclusive)."""
        self.on_sale(moment)
        return self._on_sale.since, self._on_sale.until

    def recommend(
        self,
        user_rows: NDArray[np.int32],
        histories: Histories,
        k: int,
        moment: int | None = None,
        new_items: bool | None = None,
        eligible: NDArray[np.bool_] | None = None,
    ) -> tuple[Ranked, NDArray[np.bool_]]:
        """The k best items of each user, and (n,) which users got the list of popularity alone.

        These are the users for whom the model cannot rank, and cold-start users for whom it gives all items one score.
        If the model ranks fewer than k items, the most popular other items follow, with the model's lowest score.
        new_items: leave out the items of the history; None: as the log's users do not buy an item again. eligible:
        (n_items,), the items that may be in a list, which changes no score of the others; None: all.
        """
        on_sale = self.on_sale(moment)
        rankable = self.rankable(user_rows, histories)
        model = self.model if rankable.all() else self.popularity
        among = (max(k, 2), on_sale, new_items, eligible)  # a list of one item does not show whether scores differ
        ranked = model.recommend(user_rows, histories, *among)
        if rankable.any() and not rankable.all():
            own = self.model.recommend(user_rows[rankable], histories[np.flatnonzero(rankable)], *among)
            ranked.item_columns[rankable], ranked.scores[rankable] = own
        for place in np.flatnonzero(rankable & (user_rows < 0)).tolist():
            user, history = user_rows[place : place + 1], histories[place : place + 1]
            if _best_are_alike(ranked.scores[place]) and self._scores_alike(user, history, on_sale):
                rankable[place] = False
                ranked.item_columns[place], ranked.scores[place] = self.popularity.recommend(user, history, *among)
        ranked = Ranked(ranked.item_columns[:, :k], ranked.scores[:, :k])
        left = on_sale if eligible is None else on_sale & eligible
        for place in np.flatnonzero(rankable & (ranked.item_columns[:, -1] < 0)).tolist():
            self._fill_up(ranked, place, histories[place : place + 1], left, new_items)
        return ranked, ~rankable

    def by_segment(
        self,
        attributes: Mapping[str, str],
        history: Histories,
        k: int,
        moment: int | None = None,
        new_items: bool | None = None,
        eligible: NDArray[np.bool_] | None = None,
    ) -> Ranked:
        """The k items that users with these attributes bought most. attributes: some that segments.known() returned.

        The scores are in the unit of popularity; the other arguments are those of recommend(), for one user.
        """
        assert self.segments
        scores = self.segments.scores(self.popularity.popularity_, attributes)[None]
        candidates = self.on_sale(moment)
        candidates = candidates if eligible is None else candidates & eligible
        exclude_known = not self.model.repeat_ if new_items is None else new_items
        return mask_and_rank(scores, k, candidates, history.matrix if exclude_known else None)

    @property
    def segments(self) -> Segments | None:
        """The popularity among users with the same attributes; None where that is not better than popularity."""
        return self.popularity.segments_

    def reorder(
        self,
        user_row: int,
        history: Histories,
        k: int,
        moment: int | None = None,
        eligible: NDArray[np.bool_] | None = None,
    ) -> Ranked:
        """The k best items of one user's history; fewer if it has fewer, none if it is empty."""
        columns = np.unique(history.item_columns)
        columns = columns[self.on_sale(moment)[columns]]
        if eligible is not None:
            columns = columns[eligible[columns]]
        users = np.array([user_row], dtype=np.int32)
        model = self.model if self.rankable(users, history).all() else self.popularity
        if not len(columns):
            return Ranked(np.empty((1, 0), np.int32), np.empty((1, 0), np.float32))
        scores = model.score_items(users, history, columns[None].astype(np.int32))
        places, best = top_k(scores, min(k, len(columns)))
        return Ranked(columns[places].astype(np.int32), best)

    def probabilities(self, kind: Kind, scores: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """(n, k): the probability that the user buys each item of a list (models.calibration); None if it is unknown.

        scores: of recommend() or reorder(). kind: what the list has, "popularity" for a list of popularity alone.
        """
        calibration = self.model.calibration_
        if calibration is None:
            return None
        by_share = kind in ("segment", "popularity")
        return calibration.probabilities(kind, self.popularity.shares(scores) if by_share else scores)

    def rankable(self, user_rows: NDArray[np.int32], histories: Histories) -> NDArray[np.bool_]:
        """(n,) for which users the model can rank items."""
        rankable = self.model.covers(user_rows, histories) & (histories.counts > 0)
        return rankable if self.model.handles_new_users else rankable & (user_rows >= 0)

    def _scores_alike(self, user_rows: NDArray[np.int32], history: Histories, on_sale: NDArray[np.bool_]) -> bool:
        """Whether the model gives all items on sale, of which there are two or more, one score for a user."""
        columns = np.flatnonzero(on_sale).astype(np.int32)
        if len(columns) < 2:
            return False
        start, stop, lowest, highest = 0, FIRST_SCORED, np.inf, -np.inf
        while start < len(columns) and (start == 0 or lowest == highest):  # mostly the first items show a difference
            scores = self.model.score_items(user_rows, history, columns[None, start:stop])
            lowest, highest = min(lowest, scores.min()), max(highest, scores.max())
            start, stop = stop, 2 * stop
        return bool(lowest == highest)

    def _fill_up(
        self, ranked: Ranked, place: int, history: Histories, candidates: NDArray[np.bool_], new_items: bool | None
    ) -> None:
        """Appends the most popular candidates to a short list."""
        columns, scores = ranked.item_columns[place], ranked.scores[place]
        n_found = int((columns >= 0).sum())
        left = candidates.copy()
        left[columns[:n_found]] = False
        no_user = np.full(1, -1, dtype=np.int32)
        rest = self.popularity.recommend(no_user, history, len(columns) - n_found, left, new_items).item_columns[0]
        columns[n_found:] = rest
        lowest = scores[n_found - 1] if n_found else np.float32(0.0)
        scores[n_found:] = np.where(rest >= 0, lowest, np.float32(-np.inf))


def _best_are_alike(scores: NDArray[np.float32]) -> bool:
    """Whether the two best scores of a list do not differ, or there is no second one."""
    return bool(scores[0] == scores[1] or np.isneginf(scores[1]))


def popularity_baseline(model: Recommender) -> Popularity:
    """The popularity model that was evaluated with the model: itself, or the one stored in its bundle.

    For a model without one it is the default popularity, fitted on the events that the model was trained on.
    """
    for found in (model, model.base_models_.get(Popularity.name)):
        if isinstance(found, Popularity):
            return found
    known = model.histories_
    log = Interactions(
        *(model.users_, model.items_, known.rows.astype(np.int32), known.item_columns, known.timestamps),
        *(known.weights, known.weights, model.available_, model.repeat_, model.dated_),
        sale_periods=model.sale_periods_,
    )
    return Popularity().fit(log)
