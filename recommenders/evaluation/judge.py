"""Lists that are already made, judged: every metric from one look at them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from recommenders.evaluation.rank import Lists, Score, rank_scores
from recommenders.evaluation.tasks.task import Case, View
from recommenders.events.histories import Histories
from recommenders.features.items import ItemFeatures
from recommenders.metrics import ranking
from recommenders.metrics.popularity import novelty, popularity_lift, serendipity
from recommenders.metrics.variety import covered, diversity, exposure, gini, personalisation

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Crowd:
    """What everybody bought before the lists were made: the measure of what is new, and of what is popular."""

    n_buyers: NDArray[np.int64]  # (n_items,) buyers of each item
    n_users: int
    expected: dict[bool, Lists]  # known items left out? -> (n_users of the case, k): the items with the most buyers

    @classmethod
    def of(cls, log: Histories, case: Case, views: Mapping[str, View], k: int) -> Self:
        """log: all that models learned from, (n_users of the log, n_items)."""
        n_buyers = np.bincount(log.matrix.indices, minlength=log.n_items)
        popular = n_buyers.astype(np.float32)
        masks = {view.exclude_known for view in views.values()}
        expected = rank_scores(lambda rows, _: np.tile(popular, (len(rows), 1)), case, masks, k)
        return cls(n_buyers, max(len(log), 1), expected)


def accuracy_of(score: Score, case: Case, views: Mapping[str, View], k: int) -> dict[str, dict[str, Values]]:
    """View -> "metric@k" -> one value a user, (n_users,): full ranking of whatever `score` says, and nothing else.

    score: (user_rows, histories) -> (n, n_items) float32, which is overwritten; asked for a block of users at a time.
    """
    ranked = rank_scores(score, case, {view.exclude_known for view in views.values()}, k)
    return {name: ranking.all_metrics(ranked[view.exclude_known], view.relevant) for name, view in views.items()}


def per_user(ranked: Lists, case: Case, view: View, features: ItemFeatures | None, crowd: Crowd) -> dict[str, Values]:
    """ "metric@k" -> one value a user, (n_users,), nan where it is undefined; diversity only where items are known."""
    k = ranked.shape[1]
    found = ranking.all_metrics(ranked, view.relevant)
    if features is not None:
        found[f"diversity@{k}"] = diversity(ranked, features.vectors)
    return found | {
        f"novelty@{k}": novelty(ranked, crowd.n_buyers, crowd.n_users),
        f"serendipity@{k}": serendipity(ranked, view.relevant, crowd.expected[view.exclude_known]),
        f"popularity_lift@{k}": popularity_lift(ranked, crowd.n_buyers, case.histories.matrix),
    }


def per_item(ranked: Lists, case: Case) -> dict[str, Values]:
    """ "metric@k" -> one value a candidate item: coverage is their mean."""
    return {f"coverage@{ranked.shape[1]}": covered(ranked, case.candidates)}


def overall(ranked: Lists, case: Case) -> dict[str, float]:
    """ "metric@k" -> one value of all lists together, nan where it is undefined."""
    k, n_items = ranked.shape[1], len(case.candidates)
    alone = len(ranked) < 2
    return {
        f"personalisation@{k}": np.nan if alone else float(personalisation(ranked, n_items).mean()),
        f"gini@{k}": gini(exposure(ranked, n_items)[case.candidates]),
    }
