"""Recommendation lists for all known users at once, as a table."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from recommenders.errors import ConfigurationError
from recommenders.models.calibration import Kind
from recommenders.models.recommender import Recommender
from serving.lists.predictor import DECIMALS
from serving.lists.served_lists import ServedLists

if TYPE_CHECKING:
    import pyarrow as pa


def batch_recommendations(model: Recommender, k: int) -> "pa.Table":
    """The k best items of every user of the training log: user_id, rank (from 1), item_id, score.

    The score is the probability that the user buys the item; null if the model is not calibrated.

    At most n_users * k rows; fewer if there are fewer candidates. The lists are those that the service returns now for
    a known user without new events; they hold only items that are on sale now. Raises ConfigurationError if k < 1.
    """
    import pyarrow as pa

    if k < 1:
        raise ConfigurationError(f"batch k: got {k}; allowed: a whole number from 1")
    n_users, lists = len(model.users_), ServedLists(model)
    with threadpool_limits(1):  # as in the service: two threads add the terms of a product in another order
        ranked, by_popularity = lists.recommend(np.arange(n_users, dtype=np.int32), model.histories_, k)
    scores = np.full(ranked.scores.shape, np.nan)
    masks: dict[Kind, NDArray[np.bool_]] = {"all": ~by_popularity, "popularity": by_popularity}
    for kind, mask in masks.items():
        if (found := lists.probabilities(kind, ranked.scores[mask])) is not None:
            scores[mask] = found.astype(np.float64).round(DECIMALS)
    rows, positions = np.nonzero(ranked.item_columns >= 0)  # row by row, best first
    return pa.table(
        {
            "user_id": pa.array(model.users_.ids[rows].tolist(), pa.string()),
            "rank": pa.array(positions + 1, pa.int32()),
            "item_id": pa.array(model.items_.ids[ranked.item_columns[rows, positions]].tolist(), pa.string()),
            "score": pa.array(scores[rows, positions], pa.float64(), from_pandas=True),
        }
    )
