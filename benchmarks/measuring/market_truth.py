"""What lists are worth by the simulated market's own law, free of the luck of one window."""

from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from recommenders.evaluation.rank import Lists
from recommenders.evaluation.window import Question
from recommenders.simulation.config import WorldConfig
from recommenders.simulation.orders import make_world
from recommenders.simulation.truth import purchase_probabilities

Values = NDArray[np.float64]


def bought_within(scale: float, seed: int, question: Question, cut: datetime, days: int) -> Values:
    """(n_users, n_items) the probability that each of a question's users buys each item of its log in the window.

    scale, seed: of the market that the log was made from, which is made anew. cut, days: where the window begins, and
    its length.
    """
    with threadpool_limits(limits=1):  # as its files were made: sums in another order would be another market
        world = make_world(WorldConfig.scaled(scale, seed))
    buyers, products = (ids.astype(np.int64) - 1 for ids in (question.case.user_ids, question.log.items.ids))
    return np.concatenate([chance[:, products] for _, chance in purchase_probabilities(world, cut, days, buyers)])


def expected_dcg(lists: Lists, bought: Values) -> Values:
    """(n_users,) the mean DCG over all windows that the market might have made, of (n_users, k) columns of `bought`.

    An item that is bought gains 1 over the binary logarithm of its place plus 1, as in NDCG, so the mean is exact.
    """
    gains = np.take_along_axis(bought, np.maximum(lists, 0), axis=1) * (lists >= 0)
    found: Values = (gains / np.log2(np.arange(2, lists.shape[1] + 2))).sum(axis=1)
    return found
