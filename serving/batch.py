"""Lists for every known buyer at once, as a table."""

from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import threadpool_limits

from recommenders.errors import ConfigurationError
from recommenders.models.recommender import Recommender
from serving.predictor import Lists

if TYPE_CHECKING:
    import pyarrow as pa


def batch_recommendations(model: Recommender, k: int) -> "pa.Table":
    """The k best items of every buyer of the training log: user_id, rank (from 1), item_id, score.

    At most n_users * k rows; fewer where there are fewer candidates.
    The same lists the service gives a known buyer without new events at this moment: an item that is not on sale now
    is in none. Raises ConfigurationError if k < 1.
    """
    import pyarrow as pa

    if k < 1:
        raise ConfigurationError(f"batch k: got {k}; allowed: a whole number from 1")
    n_users = len(model.users_)
    with threadpool_limits(1):  # as the service: two threads sum a product in another order
        ranked, _ = Lists(model).best(np.arange(n_users, dtype=np.int32), model.histories_, k)
    rows, places = np.nonzero(ranked.item_columns >= 0)  # row by row, best first
    return pa.table(
        {
            "user_id": pa.array(model.users_.ids[rows].tolist(), pa.string()),
            "rank": pa.array(places + 1, pa.int32()),
            "item_id": pa.array(model.items_.ids[ranked.item_columns[rows, places]].tolist(), pa.string()),
            "score": pa.array(ranked.scores[rows, places], pa.float32()),
        }
    )
