"""Computes all metrics of given recommendation lists, per user, per item and over all lists."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from recommenders.evaluation.rank import Lists, Score, rank_scores
from recommenders.evaluation.tasks.task import EvaluationTask, TaskView
from recommenders.events.histories import Histories
from recommenders.features.items import ItemFeatures
from recommenders.metrics import ranking
from recommenders.metrics.popularity import novelty, popularity_lift, serendipity
from recommenders.metrics.variety import covered, diversity, exposure, gini, personalisation

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PopularityBaseline:
    """The popularity of items in the training log: the reference for novelty, serendipity and popularity lift."""

    users_per_item: NDArray[np.int64]  # (n_items,) number of users of each item
    n_users: int
    expected: dict[bool, Lists]  # exclude known items? -> (n_users of the task, k) lists of the most popular items

    @classmethod
    def from_log(cls, log: Histories, task: EvaluationTask, views: Mapping[str, TaskView], k: int) -> Self:
        """log: the training histories of the models, (n_users of the log, n_items)."""
        users_per_item = np.bincount(log.matrix.indices, minlength=log.n_items)
        popular = users_per_item.astype(np.float32)
        masks = {view.exclude_known for view in views.values()}
        expected = rank_scores(lambda rows, _: np.tile(popular, (len(rows), 1)), task, masks, k)
        return cls(users_per_item, max(len(log), 1), expected)


def accuracy_from_scores(
    score: Score, task: EvaluationTask, views: Mapping[str, TaskView], k: int
) -> dict[str, dict[str, Values]]:
    """View -> "metric@k" -> one value per user, (n_users,): the accuracy of a full ranking by the scores of `score`.

    score: (user_rows, histories) -> (n, n_items) float32, which is overwritten; called for a block of users at a time.
    """
    ranked = rank_scores(score, task, {view.exclude_known for view in views.values()}, k)
    return {name: ranking.all_metrics(ranked[view.exclude_known], view.relevant) for name, view in views.items()}


def per_user(
    ranked: Lists, task: EvaluationTask, view: TaskView, features: ItemFeatures | None, baseline: PopularityBaseline
) -> dict[str, Values]:
    """ "metric@k" -> one value per user, (n_users,), nan if undefined; diversity only if there are item features."""
    k = ranked.shape[1]
    found = ranking.all_metrics(ranked, view.relevant)
    if features is not None:
        found[f"diversity@{k}"] = diversity(ranked, features.vectors)
    return found | {
        f"novelty@{k}": novelty(ranked, baseline.users_per_item, baseline.n_users),
        f"serendipity@{k}": serendipity(ranked, view.relevant, baseline.expected[view.exclude_known]),
        f"popularity_lift@{k}": popularity_lift(ranked, baseline.users_per_item, task.histories.matrix),
    }


def per_item(ranked: Lists, task: EvaluationTask) -> dict[str, Values]:
    """ "metric@k" -> one value per candidate item: coverage is their mean."""
    return {f"coverage@{ranked.shape[1]}": covered(ranked, task.candidates)}


def overall(ranked: Lists, task: EvaluationTask) -> dict[str, float]:
    """ "metric@k" -> one value over all lists, nan if undefined."""
    k, n_items = ranked.shape[1], len(task.candidates)
    single = len(ranked) < 2
    return {
        f"personalisation@{k}": np.nan if single else float(personalisation(ranked, n_items).mean()),
        f"gini@{k}": gini(exposure(ranked, n_items)[task.candidates]),
    }
