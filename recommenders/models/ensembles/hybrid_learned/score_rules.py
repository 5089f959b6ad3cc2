"""Score rules of hybrid_learned: per kind of pair, use the ranker, the best base model, or the mean of the two.

Trees do not extrapolate. If the log has grown since the training windows, or the season has changed, a base model can
rank better than the trees. So each kind of pair is validated on a window that was not used to train the ranker. The
ranker stays unless it is clearly worse: among the rules within one standard error of the best, the one nearest to the
ranker is chosen (the one-standard-error rule, Breiman et al. 1984). A rule that ranks all items worse than the ranker
is never chosen, whatever it gains in one view.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommenders.features.ranking import PAIR_FEATURES, USER_FEATURES
from recommenders.math.top_k import top_k
from recommenders.metrics import ranking
from recommenders.metrics.ranking import K

KINDS = ("bought", "new", "cold_start")  # known user, bought item; known user, new item; cold-start user
VIEWS = ("all", "reorder", "discovery")
OWN_VIEW = {"bought": "reorder", "new": "discovery", "cold_start": "all"}  # a kind is validated on it and on "all"
SHARES = (0.0, 0.5, 1.0)  # of the base model: ranker only, mean, base model only
SHIFTS = (0.0, -0.25, -0.5)  # of the scores of new items; a larger shift would remove them from the lists
FLOOR = 1e-3  # lower bound of relative scores (tenth best: 1) before the logarithm
MIN_USERS = 30  # with fewer users the standard error is unreliable and the ranker stays

Scores = NDArray[np.float32]
Views = Mapping[str, NDArray[np.float64]]  # view -> NDCG@10 of each user, (n_users,), nan where nothing is relevant


class ScoreRule(NamedTuple):
    """score = (1 - share) ranker + share (intercept + slope log(base score)) + shift; share 0: the ranker only."""

    share: float = 0.0
    column: int = 0  # of the base model in the features
    intercept: float = 0.0
    slope: float = 0.0
    shift: float = 0.0


class ScoreRules(NamedTuple):
    """One rule for each of KINDS."""

    bought: ScoreRule = ScoreRule()
    new: ScoreRule = ScoreRule()
    cold_start: ScoreRule = ScoreRule()

    def apply(self, scores: Scores, features: Scores, n_base_models: int) -> Scores:
        """(n_pairs,): the scores after the rules. features: (n_pairs, n_features), from Candidates.features()."""
        if not any(rule.share or rule.shift for rule in self):
            return scores
        kinds = pair_kinds(features, n_base_models)
        for place, rule in enumerate(self):
            if rule.share or rule.shift:
                scores = apply_rule(scores, features, kinds == place, rule)
        return scores

    def to_array(self) -> NDArray[np.float64]:
        """The rules as an array (len(KINDS), 5), for a bundle."""
        return np.array(self, dtype=np.float64)

    @classmethod
    def from_array(cls, array: NDArray[np.float64]) -> "ScoreRules":
        """The inverse of to_array()."""
        return cls(*(ScoreRule(float(share), int(column), *map(float, rest)) for share, column, *rest in array))


@dataclass(frozen=True, eq=False)
class ValidationUsers:
    """Users of a validation window, their candidates, and the items they bought in the window."""

    columns: NDArray[np.int32]  # (n, m) item columns of the candidates, -1 past the last
    features: Scores  # (n_pairs, n_features) of the pairs with a column of 0 or more, row by row
    known: csr_array  # (n, n_items) items bought before the window
    relevant: csr_array  # (n, n_items) ones

    @cached_property
    def _relevant_by_view(self) -> tuple[csr_array, csr_array]:
        """The relevant items that were bought before, and those that are new; (n, n_items) each."""
        reorder = csr_array(self.relevant.multiply(self.known.astype(bool)))
        discovery = csr_array(self.relevant - reorder)
        for part in (reorder, discovery):
            part.eliminate_zeros()
            part.sort_indices()
        return reorder, discovery

    @cached_property
    def is_new(self) -> NDArray[np.bool_]:
        """(n_pairs,): whether the item is new to the user."""
        rows, places = np.nonzero(self.columns >= 0)
        items, n_items = self.columns[rows, places].astype(np.int64), self.known.shape[1]
        bought = np.repeat(np.arange(self.known.shape[0]), np.diff(self.known.indptr)) * n_items + self.known.indices
        return ~np.isin(rows * n_items + items, bought)

    def views(self, scores: Scores, repeat: bool) -> Views:
        """Returns NDCG@10 of the lists by scores (n_pairs,), per view. With `repeat`: all items, bought and new items.

        Without `repeat` items bought before are left out, so there is only the view of new items.
        """
        reorder, discovery = self._relevant_by_view
        new = self._top_items(scores, self.is_new)
        if not repeat:
            return {"discovery": ranking.ndcg(new, discovery)}
        everything = self._top_items(scores, np.ones(len(scores), dtype=np.bool_))
        return {
            "all": ranking.ndcg(everything, self.relevant),
            "reorder": ranking.ndcg(everything, reorder),
            "discovery": ranking.ndcg(new, discovery),
        }

    def ranked(self, scores: Scores, allowed: NDArray[np.bool_], k: int) -> tuple[NDArray[np.int32], Scores]:
        """Lists of the k best pairs of a mask (n_pairs,): item columns (n, k), with -1, and scores, with -inf."""
        padded = np.full(self.columns.shape, -np.inf, dtype=np.float32)
        padded[self.columns >= 0] = np.where(allowed, scores, np.float32(-np.inf))
        places, best = top_k(padded, k)
        found = np.take_along_axis(self.columns, places.clip(min=0).astype(np.int64), axis=1)
        return np.where(np.isneginf(best), np.int32(-1), found), best

    def _top_items(self, scores: Scores, allowed: NDArray[np.bool_]) -> NDArray[np.int32]:
        return self.ranked(scores, allowed, K)[0]


def pair_kinds(features: Scores, n_base_models: int) -> NDArray[np.int64]:
    """(n_pairs,): the position in KINDS of each pair."""
    first = features.shape[1] - len(PAIR_FEATURES)
    is_known = features[:, first - len(USER_FEATURES) + USER_FEATURES.index("user_known")] > 0
    bought = features[:, first + PAIR_FEATURES.index("pair_orders")] > 0
    return np.where(is_known, np.where(bought, 0, 1), 2)


def apply_rule(scores: Scores, features: Scores, mask: NDArray[np.bool_], rule: ScoreRule) -> Scores:
    """(n_pairs,): the scores after the rule is applied to the pairs of a mask (n_pairs,)."""
    base = rule.intercept + rule.slope * _log_scores(features[mask, rule.column])
    found = scores.copy()
    found[mask] = (1 - rule.share) * scores[mask] + rule.share * base + rule.shift
    return found


def _log_scores(relative: Scores) -> NDArray[np.float64]:
    return np.log(np.maximum(relative.astype(np.float64), FLOOR))


def choose_rules(
    scores: Scores, users: ValidationUsers, kinds: Sequence[str], n_base_models: int, repeat: bool
) -> dict[str, ScoreRule]:
    """Returns kind -> rule. The users must be held-out users of the ranker, or users of a later window.

    scores: (n_pairs,), of the ranker. The rules are chosen one kind after the other; earlier rules are applied first.
    """
    if len(users.columns) < MIN_USERS:
        return {}
    places = pair_kinds(users.features, n_base_models)
    base_views = [users.views(users.features[:, column], repeat) for column in range(n_base_models)]

    def best_base_model(view: str) -> int:
        return max(range(n_base_models), key=lambda column: float(np.nanmean(base_views[column][view])))

    found: dict[str, ScoreRule] = {}
    for kind in kinds:
        own = OWN_VIEW[kind] if repeat else "discovery"
        mask = places == KINDS.index(kind)
        if not mask.any() or np.isnan(base_views[0][own]).all():
            continue
        found[kind] = _best_share(scores, users, mask, best_base_model(own), own, repeat)
        scores = apply_rule(scores, users.features, mask, found[kind])
    if repeat and {"bought", "new"} <= found.keys():
        mask = places == KINDS.index("new")
        shift = _best_shift(scores, users, mask)
        found["new"] = found["new"]._replace(shift=shift)
        scores = apply_rule(scores, users.features, mask, ScoreRule(shift=shift))
    # the rules together must not be worse than a single base model for all kinds
    column = best_base_model("all" if repeat else "discovery")
    base_scores = users.features[:, column]
    together = [_mean_of_views(users.views(found_scores, repeat), set(VIEWS)) for found_scores in (scores, base_scores)]
    if found and _first_close_to_best(np.stack(together)):
        return dict.fromkeys(kinds, ScoreRule(1.0, column, 0.0, 1.0))
    return found


def _best_share(
    scores: Scores, users: ValidationUsers, mask: NDArray[np.bool_], column: int, own: str, repeat: bool
) -> ScoreRule:
    """The rule for the pairs of a mask (n_pairs,): the ranker, the base model of a column, or the mean of the two.

    Only rules that do not lower the mean NDCG over all items are compared. own: the view of this kind of pair.
    """
    logs, ranker = _log_scores(users.features[mask, column]), scores[mask].astype(np.float64)
    spread = float(logs.var())
    slope = float(np.mean((logs - logs.mean()) * (ranker - ranker.mean()))) / spread if spread > 0 else 0.0
    if slope <= 0:  # ranker and base model disagree: no common scale
        return ScoreRule()
    intercept = float(ranker.mean() - slope * logs.mean())
    rules = [ScoreRule(share, column, intercept, slope) for share in SHARES]
    views = [users.views(apply_rule(scores, users.features, mask, rule), repeat) for rule in rules]
    main = "all" if repeat else "discovery"
    means = [float(np.nanmean(found[main])) for found in views]
    allowed = [place for place, mean in enumerate(means) if mean >= means[0]]
    values = np.stack([_mean_of_views(views[place], {own, "all"}) for place in allowed])
    return rules[allowed[_first_close_to_best(values)]]


def _best_shift(scores: Scores, users: ValidationUsers, new: NDArray[np.bool_]) -> float:
    """The shift of new items: among those that do not worsen the lists of all items, the best for repeat purchases.

    A ranker expects as many first purchases as in its training windows. In a log that has grown there are fewer.
    """
    shifted = [users.views(apply_rule(scores, users.features, new, ScoreRule(shift=shift)), True) for shift in SHIFTS]
    everything, reorder = (np.stack([views[name] for views in shifted]) for name in ("all", "reorder"))
    harmless = np.flatnonzero(_close_to_best(everything))
    return SHIFTS[harmless[_close_to_best(reorder[harmless]).argmax()]]


def _first_close_to_best(values: NDArray[np.float64]) -> int:
    """The first ranking whose mean metric is within one standard error of the best. values: (n_rankings, n_users)."""
    return int(_close_to_best(values).argmax())


def _close_to_best(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(n_rankings,): is the mean metric within one standard error of the best? values: (n_rankings, n_users)."""
    values = values[:, ~np.isnan(values[0])]
    behind = values[values.mean(axis=1).argmax()] - values
    return np.asarray(behind.mean(axis=1) <= behind.std(axis=1) / np.sqrt(values.shape[1]))


def _mean_of_views(views: Views, names: set[str]) -> NDArray[np.float64]:
    """(n_users,): the mean NDCG over the named views in which the user has relevant items; nan if there is none."""
    values = np.stack([found for name, found in views.items() if name in names])
    defined = ~np.isnan(values)
    return np.where(defined.any(axis=0), np.nansum(values, axis=0) / np.maximum(defined.sum(axis=0), 1), np.nan)
