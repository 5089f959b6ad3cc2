"""Recommendation lists for all known users at once, as a table."""

from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import threadpool_limits

from recommenders.errors import ConfigurationError
from recommenders.models.recommender import Recommender
from serving.lists.served_lists import ServedLists

if TYPE_CHECKING:
    import pyarrow as pa


def batch_recommendations(model: Recommender, k: int) -> "pa.Table":
    """The k best items of every user of the training log: user_id, rank (from 1), item_id, score.

    At most n_users * k rows; fewer if there are fewer candidates. The lists are those that the service returns now for
    a known user without new events; they hold only items that are on sale now. Raises ConfigurationError if k < 1.
    """
    import pyarrow as pa

    if k < 1:
        raise ConfigurationError(f"batch k: got {k}; allowed: a whole number from 1")
    n_users = len(model.users_)
    with threadpool_limits(1):  # as in the service: two threads add the terms of a product in another order
        ranked, _ = ServedLists(model).recommend(np.arange(n_users, dtype=np.int32), model.histories_, k)
    rows, positions = np.nonzero(ranked.item_columns >= 0)  # row by row, best first
    return pa.table(
        {
            "user_id": pa.array(model.users_.ids[rows].tolist(), pa.string()),
            "rank": pa.array(positions + 1, pa.int32()),
            "item_id": pa.array(model.items_.ids[ranked.item_columns[rows, positions]].tolist(), pa.string()),
            "score": pa.array(ranked.scores[rows, positions], pa.float32()),
        }
    )
