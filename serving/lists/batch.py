"""Recommendation lists for all known users at once, as a table."""

from typing import TYPE_CHECKING

import numpy as np

from recommenders.errors import ConfigurationError
from recommenders.models.recommender import Recommender
from serving.lists.precomputed import DECIMALS, UNKNOWN, PrecomputedLists

if TYPE_CHECKING:
    import pyarrow as pa


def batch_recommendations(model: Recommender, stored: PrecomputedLists, k: int) -> "pa.Table":
    """The k best items of every user of the training log: user_id, rank (from 1), item_id, score.

    stored: the lists of all users, made by the same model. The score is the probability that the user buys the item;
    null if the model is not calibrated. At most n_users * k rows; fewer if there are fewer candidates. The lists are
    those that the service returns now for a known user without new events; they hold only items that are on sale now.
    Raises ConfigurationError if k is below 1 or above the length of the stored lists.
    """
    import pyarrow as pa

    if not 1 <= k <= stored.depth:
        raise ConfigurationError(f"batch k: got {k}; allowed: a whole number from 1 to {stored.depth}")
    columns, probabilities = stored.columns[:, :k], stored.probabilities[:, :k]
    scores = np.where(probabilities == UNKNOWN, np.nan, probabilities / 10**DECIMALS)
    rows, positions = np.nonzero(columns >= 0)  # row by row, best first
    return pa.table(
        {
            "user_id": pa.array(model.users_.ids[rows].tolist(), pa.string()),
            "rank": pa.array(positions + 1, pa.int32()),
            "item_id": pa.array(model.items_.ids[columns[rows, positions]].tolist(), pa.string()),
            "score": pa.array(scores[rows, positions], pa.float64(), from_pandas=True),
        }
    )
