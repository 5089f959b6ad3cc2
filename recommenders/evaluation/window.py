"""A window of a log as a question to models: what they may learn from, who is asked about, what was wanted."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recommenders.datasets.spec import Protocol
from recommenders.errors import DataError
from recommenders.evaluation.rank import Lists, rank
from recommenders.evaluation.tasks.task import Case, make_case
from recommenders.events.interactions import Interactions
from recommenders.features.items import ItemFeatures, encode_items_as_of
from recommenders.metrics.ranking import K, ndcg
from recommenders.models.recommender import Recommender
from recommenders.splitting.temporal import cut_time, split, training_log

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Question:
    """The log before a cut and the features of its items then; and the users of the window after it."""

    log: Interactions
    features: ItemFeatures
    case: Case

    def about(self, some: NDArray[np.int64]) -> "Question":
        """The same question about some of the users, by their places (m,)."""
        case = self.case
        about = replace(
            case,
            user_ids=case.user_ids[some],
            user_rows=case.user_rows[some],
            histories=case.histories[some],
            relevant=case.relevant[some],
        )
        return replace(self, case=about)

    def lists(self, model: Recommender) -> Lists:
        """(n_users, K) a model's lists over all items, in columns of the log; the model has learned from this log."""
        return rank(model, self.case, {"all": self.case.views()["all"]}, K)["all"]

    def ndcg(self, ranked: Lists) -> Values:
        """(n_users,) NDCG@K of lists, nan for a user with nothing relevant."""
        return ndcg(ranked, self.case.relevant)


def question_of(
    interactions: pa.Table, items: pa.Table, protocol: Protocol, part: Literal["validation", "test"] = "test"
) -> Question:
    """The question of a part of the log under its protocol: models learn from the parts before it.

    The test window is never looked at where `part` is validation. Raises DataError where a part is empty, or none of
    its users was seen before.
    """
    parts = split(interactions, protocol)
    before = ["train"] if part == "validation" else ["train", "validation"]
    history = parts.filter(pc.is_in(parts["part"], pa.array(before)))
    if not history.num_rows:
        raise DataError(f"there is nothing to learn from before the {part} window; bring a longer log")
    cut = cut_time(history)
    log = training_log(history, items, protocol, cut)
    features = encode_items_as_of(items, log.items, log.last_event)
    return Question(log, features, make_case(log, parts.filter(pc.field("part") == part), protocol))
