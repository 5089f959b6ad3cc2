"""Whether the ranker of hybrid_learned, its best base model or the mean of the two orders a kind of pair.

Trees do not extrapolate: where a log has grown since the windows they learned from, or another season has begun, a base
model may order items better than they do. So each kind of pair is looked at on a window that the ranker did not learn
from, and the ranker has to keep up there. Where it is not clearly behind, it stays: of the choices within one standard
error of the best the one nearest to the ranker is taken (the one-standard-error rule, Breiman et al. 1984).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommenders.math.top_k import top_k
from recommenders.metrics import ranking
from recommenders.metrics.ranking import K
from recommenders.models.ensembles.hybrid_learned.features import BUYER_FACTS, PAIR_FACTS

KINDS = ("bought", "new", "cold_start")  # pairs of a known user and an item it bought, or did not; of another user
VIEWS = ("all", "reorder", "discovery")
OWN_VIEW = {"bought": "reorder", "new": "discovery", "cold_start": "all"}  # each kind is judged by it and by "all"
SHARES = (0.0, 0.5, 1.0)  # of the base model: the ranker alone, their mean, the base model alone
SHIFTS = (0.0, -0.25, -0.5)  # of new items among those bought before; further, and lists would show nothing new
FLOOR = 1e-3  # relative scores are compared by their logarithm; below this share of the tenth best all are alike
MIN_USERS = 30  # with fewer, a standard error means little and the ranker stays

Scores = NDArray[np.float32]
Views = Mapping[str, NDArray[np.float64]]  # view -> NDCG@10 of each user, (n_users,), nan where nothing is relevant


class Choice(NamedTuple):
    """score = (1 - share) ranker + share (intercept + slope log(base model)) + shift; share 0 is the ranker alone."""

    share: float = 0.0
    column: int = 0  # of the base model among the features
    intercept: float = 0.0
    slope: float = 0.0
    shift: float = 0.0


class Choices(NamedTuple):
    """One for each of KINDS."""

    bought: Choice = Choice()
    new: Choice = Choice()
    cold_start: Choice = Choice()

    def apply(self, scores: Scores, features: Scores, n_members: int) -> Scores:
        """(n_pairs,) the scores after the choices; features (n_pairs, n_features) as of HybridLearned.features()."""
        if not any(choice.share or choice.shift for choice in self):
            return scores
        kinds = kinds_of(features, n_members)
        for place, choice in enumerate(self):
            if choice.share or choice.shift:
                scores = mixed(scores, features, kinds == place, choice)
        return scores

    def to_array(self) -> NDArray[np.float64]:
        """(len(KINDS), 5), for a bundle."""
        return np.array(self, dtype=np.float64)

    @classmethod
    def from_array(cls, array: NDArray[np.float64]) -> "Choices":
        """The inverse of to_array()."""
        return cls(*(Choice(float(share), int(column), *map(float, rest)) for share, column, *rest in array))


@dataclass(frozen=True, eq=False)
class Asked:
    """Users of a window, all their candidates, and what they wanted."""

    columns: NDArray[np.int32]  # (n, m) item columns of the candidates, -1 past the last
    features: Scores  # (n_pairs, n_features) of the pairs with a column of 0 or more, row by row
    known: csr_array  # (n, n_items) what the users had bought
    wanted: csr_array  # (n, n_items) ones

    @cached_property
    def _wanted_apart(self) -> tuple[csr_array, csr_array]:
        """What was wanted and bought before, and what was wanted and new; (n, n_items) each."""
        reorder = csr_array(self.wanted.multiply(self.known.astype(bool)))
        discovery = csr_array(self.wanted - reorder)
        for part in (reorder, discovery):
            part.eliminate_zeros()
            part.sort_indices()
        return reorder, discovery

    @cached_property
    def _is_new(self) -> NDArray[np.bool_]:
        """(n_pairs,) whether the user had not bought the item."""
        rows, places = np.nonzero(self.columns >= 0)
        items, n_items = self.columns[rows, places].astype(np.int64), self.known.shape[1]
        bought = np.repeat(np.arange(self.known.shape[0]), np.diff(self.known.indptr)) * n_items + self.known.indices
        return ~np.isin(rows * n_items + items, bought)

    def views(self, scores: Scores, repeat: bool) -> Views:
        """NDCG@10 of lists by scores (n_pairs,): over all items and, where users come back to items, apart by whether
        the item was bought before. Without `repeat` what was bought is left out.
        """
        reorder, discovery = self._wanted_apart
        new = self._lists(scores, self._is_new)
        if not repeat:
            return {"discovery": ranking.ndcg(new, discovery)}
        everything = self._lists(scores, np.ones(len(scores), dtype=np.bool_))
        return {
            "all": ranking.ndcg(everything, self.wanted),
            "reorder": ranking.ndcg(everything, reorder),
            "discovery": ranking.ndcg(new, discovery),
        }

    def _lists(self, scores: Scores, allowed: NDArray[np.bool_]) -> NDArray[np.int32]:
        padded = np.full(self.columns.shape, -np.inf, dtype=np.float32)
        padded[self.columns >= 0] = np.where(allowed, scores, np.float32(-np.inf))
        places, best = top_k(padded, K)
        found = np.take_along_axis(self.columns, places.clip(min=0).astype(np.int64), axis=1)
        return np.where(np.isneginf(best), np.int32(-1), found)


def kinds_of(features: Scores, n_members: int) -> NDArray[np.int64]:
    """(n_pairs,) the place in KINDS of each pair."""
    first = features.shape[1] - len(PAIR_FACTS)
    is_known = features[:, first - len(BUYER_FACTS) + BUYER_FACTS.index("buyer_known")] > 0
    bought = features[:, first + PAIR_FACTS.index("pair_orders")] > 0
    return np.where(is_known, np.where(bought, 0, 1), 2)


def mixed(scores: Scores, features: Scores, some: NDArray[np.bool_], choice: Choice) -> Scores:
    """(n_pairs,) the scores where a choice is applied to some of the pairs."""
    member = choice.intercept + choice.slope * _logs(features[some, choice.column])
    found = scores.copy()
    found[some] = (1 - choice.share) * scores[some] + choice.share * member + choice.shift
    return found


def _logs(relative: Scores) -> NDArray[np.float64]:
    return np.log(np.maximum(relative.astype(np.float64), FLOOR))


def choose(scores: Scores, asked: Asked, kinds: Sequence[str], n_members: int, repeat: bool) -> dict[str, Choice]:
    """Kind -> the choice, for pairs of users whom the ranker did not learn from, or of a later window.

    scores: (n_pairs,) the ranker's. One kind after the other, each with the choices before it in force.
    """
    if len(asked.columns) < MIN_USERS:
        return {}
    places = kinds_of(asked.features, n_members)
    members = [asked.views(asked.features[:, column], repeat) for column in range(n_members)]

    def best_member(view: str) -> int:
        return max(range(n_members), key=lambda column: float(np.nanmean(members[column][view])))

    found: dict[str, Choice] = {}
    for kind in kinds:
        own = OWN_VIEW[kind] if repeat else "discovery"
        some = places == KINDS.index(kind)
        if not some.any() or np.isnan(members[0][own]).all():
            continue
        judge = partial(_mean_of_views, asked, repeat, {own, "all"})
        found[kind] = _best_share(scores, asked.features, some, best_member(own), judge)
        scores = mixed(scores, asked.features, some, found[kind])
    if repeat and {"bought", "new"} <= found.keys():
        some = places == KINDS.index("new")
        shift = _shift(scores, asked, some)
        found["new"] = found["new"]._replace(shift=shift)
        scores = mixed(scores, asked.features, some, Choice(shift=shift))
    # what was chosen kind by kind must not lose to one base model that orders them all
    column = best_member("all" if repeat else "discovery")
    judge = partial(_mean_of_views, asked, repeat, set(VIEWS))
    if found and _nearest_to_best(np.stack([judge(scores), judge(asked.features[:, column])])):
        return dict.fromkeys(kinds, Choice(1.0, column, 0.0, 1.0))
    return found


def _best_share(
    scores: Scores,
    features: Scores,
    some: NDArray[np.bool_],
    column: int,
    judge: Callable[[Scores], NDArray[np.float64]],
) -> Choice:
    """judge: scores of all pairs -> how good each user's list is, (n_users,), nan for who wanted nothing."""
    logs, own = _logs(features[some, column]), scores[some].astype(np.float64)
    spread = float(logs.var())
    slope = float(np.mean((logs - logs.mean()) * (own - own.mean()))) / spread if spread > 0 else 0.0
    if slope <= 0:  # the two contradict each other: no common scale
        return Choice()
    intercept = float(own.mean() - slope * logs.mean())
    choices = [Choice(share, column, intercept, slope) for share in SHARES]
    return choices[_nearest_to_best(np.stack([judge(mixed(scores, features, some, choice)) for choice in choices]))]


def _shift(scores: Scores, asked: Asked, new: NDArray[np.bool_]) -> float:
    """How far new items stand behind: where lists of all items lose nothing by it, as far as it helps repeat purchases.

    A ranker expects as many first purchases as there were in its windows; in a log that has grown they are fewer.
    """
    shifted = [asked.views(mixed(scores, asked.features, new, Choice(shift=shift)), True) for shift in SHIFTS]
    everything, reorder = (np.stack([views[name] for views in shifted]) for name in ("all", "reorder"))
    free = np.flatnonzero(_close_to_best(everything))
    return SHIFTS[free[_close_to_best(reorder[free]).argmax()]]


def _nearest_to_best(judged: NDArray[np.float64]) -> int:
    """The first of some rankings, (n, n_users), whose mean is within one standard error of the best."""
    return int(_close_to_best(judged).argmax())


def _close_to_best(judged: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(n,) which of some rankings, (n, n_users), have a mean within one standard error of the best."""
    judged = judged[:, ~np.isnan(judged[0])]
    behind = judged[judged.mean(axis=1).argmax()] - judged
    return np.asarray(behind.mean(axis=1) <= behind.std(axis=1) / np.sqrt(judged.shape[1]))


def _mean_of_views(asked: Asked, repeat: bool, names: set[str], scores: Scores) -> NDArray[np.float64]:
    """(n_users,) the mean NDCG over the named views in which the user wanted something; nan where there is none."""
    values = np.stack([found for name, found in asked.views(scores, repeat).items() if name in names])
    defined = ~np.isnan(values)
    return np.where(defined.any(axis=0), np.nansum(values, axis=0) / np.maximum(defined.sum(axis=0), 1), np.nan)
