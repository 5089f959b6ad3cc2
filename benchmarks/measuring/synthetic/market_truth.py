"""The expected DCG of lists by the true purchase probabilities of the simulated market, without one window's noise."""

from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from recommenders.evaluation.rank import Lists
from recommenders.evaluation.tasks.task import EvaluationTask
from recommenders.events.ids import IdMap
from recommenders.simulation.config import WorldConfig
from recommenders.simulation.purchase_model import World, make_world
from recommenders.simulation.truth import BLOCK, any_purchase_probability, history, purchase_probabilities

Values = NDArray[np.float64]


def window_probabilities(
    scale: float, seed: int, case: EvaluationTask, items: IdMap, cut: datetime, days: int
) -> Values:
    """(n_users, n_items) the probability that each user of a task buys each item in the window.

    scale, seed: of the market that made the log; it is simulated again. cut, days: start and length of the window.
    """
    world = _world(scale, seed)
    users, columns = (ids.astype(np.int64) - 1 for ids in (case.user_ids, items.ids))
    return np.concatenate([batch[:, columns] for _, batch in purchase_probabilities(world, cut, days, users)])


def buyer_probabilities(scale: float, seed: int, case: EvaluationTask, cut: datetime, days: int) -> Values:
    """(n_users,) the probability that each user of a task buys anything in the window. The arguments are as above."""
    world, users = _world(scale, seed), case.user_ids.astype(np.int64) - 1
    parts = [users[start : start + BLOCK] for start in range(0, len(users), BLOCK)]
    return np.concatenate([any_purchase_probability(world, history(world, part, cut), days) for part in parts])


def _world(scale: float, seed: int) -> World:
    with threadpool_limits(limits=1):  # as for its files: another order of summation would give another market
        return make_world(WorldConfig.scaled(scale, seed))


def expected_dcg(lists: Lists, probabilities: Values) -> Values:
    """(n_users,) the expected DCG of lists over all windows that the market may produce. It is exact.

    lists: (n_users, k) columns of `probabilities`. A bought item gains 1 / log2(rank + 1), as in NDCG.
    """
    gains = np.take_along_axis(probabilities, np.maximum(lists, 0), axis=1) * (lists >= 0)
    found: Values = (gains / np.log2(np.arange(2, lists.shape[1] + 2))).sum(axis=1)
    return found
