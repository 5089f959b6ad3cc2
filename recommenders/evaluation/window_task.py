"""An evaluation task on a time window of a log: the training log, the users of the window, their relevant items."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recommenders.datasets.spec import Protocol
from recommenders.errors import DataError
from recommenders.evaluation.rank import Lists, rank_users
from recommenders.evaluation.tasks.task import EvaluationTask, make_task
from recommenders.events.interactions import Interactions
from recommenders.features.items import ItemFeatures, encode_items_as_of
from recommenders.metrics.ranking import K, ndcg
from recommenders.models.recommender import Recommender
from recommenders.splitting.temporal import last_time, split, training_log

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class WindowTask:
    """The log before a cut, the item features as of the cut, and the evaluation task of the window after the cut."""

    log: Interactions
    features: ItemFeatures
    task: EvaluationTask

    def for_users(self, users: NDArray[np.int64]) -> "WindowTask":
        """The same task for a subset of the users; users: (m,) positions in the task."""
        task = self.task
        subset = replace(
            task,
            user_ids=task.user_ids[users],
            user_rows=task.user_rows[users],
            histories=task.histories[users],
            relevant=task.relevant[users],
        )
        return replace(self, task=subset)

    def lists(self, model: Recommender) -> Lists:
        """(n_users, K) the lists of a model that was fitted on this log, over all items; item columns of the log."""
        return rank_users(model, self.task, {"all": self.task.views()["all"]}, K)["all"]

    def ndcg(self, ranked: Lists) -> Values:
        """(n_users,) NDCG@K of lists, nan for a user with no relevant item."""
        return ndcg(ranked, self.task.relevant)


def window_task(
    interactions: pa.Table, items: pa.Table, protocol: Protocol, part: Literal["validation", "test"] = "test"
) -> WindowTask:
    """The evaluation task of one part of the log under the protocol. The training log is the parts before it.

    If `part` is "validation", the test window is not used. Raises DataError if a part is empty, or if none of its
    users has earlier events.
    """
    parts = split(interactions, protocol)
    before = ["train"] if part == "validation" else ["train", "validation"]
    history = parts.filter(pc.is_in(parts["part"], pa.array(before)))
    if not history.num_rows:
        raise DataError(f"there are no training events before the {part} window; bring a longer log")
    return task_after(history, parts.filter(pc.field("part") == part), items, protocol)


def task_after(history: pa.Table, window: pa.Table, items: pa.Table, protocol: Protocol) -> WindowTask:
    """The evaluation task of the events of a window. The training log is `history`, the events before the window.

    Raises DataError if there is no history, or if none of the window's users is in it.
    """
    log = training_log(history, items, protocol, last_time(history))
    features = encode_items_as_of(items, log.items, log.last_event)
    return WindowTask(log, features, make_task(log, window, protocol))
