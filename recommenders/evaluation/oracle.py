"""The metrics of an oracle on the simulated market: it knows the true purchase probabilities, given the past.

The oracle ranks by the true probability of a relevant purchase within the test window
(recommenders.simulation.truth). Relevant is any purchase; in the view "reorder" a purchase of an item that the user
knows, in the view "discovery" a purchase of another item. The oracle compares with the best possible model as follows:

- precision@k: the oracle is optimal. The expected hits of a list are the sum of the probabilities of its items, also
  if purchases of items are correlated, so no other list of k items has more. This also holds among the users who buy
  anything: the condition that a user bought something scales all probabilities of the user in a view by one factor.
- recall@k and NDCG@k divide by a number that depends on how much the user bought. The optimal list orders by
  E[1(bought) / divisor], which differs from the probability only if some items are bought more often in large
  purchases than others. The hit rate may be higher with a list of dissimilar items. For these three metrics the
  oracle is a very good model, but not a proven bound.

These statements are about expected values: in one test window a model may by chance reach more than the oracle.
Perfect knowledge of the window (recommenders.evaluation.criteria.ceilings) is the bound for every list. No model that
is fitted on data before the cut can be expected to reach it.
"""

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from recommenders.datasets.spec import Protocol
from recommenders.evaluation import rank
from recommenders.evaluation.criteria import ceilings
from recommenders.evaluation.statistics.comparison import Interval, mean_interval
from recommenders.evaluation.tasks.task import EvaluationConfig, EvaluationTask, TaskView, make_task
from recommenders.events.interactions import Interactions
from recommenders.math.ranked import mask_and_rank
from recommenders.metrics import ranking
from recommenders.metrics.ranking import K
from recommenders.models.popularity import Popularity
from recommenders.simulation.config import WorldConfig
from recommenders.simulation.purchase_model import World, make_world
from recommenders.simulation.truth import purchase_probabilities
from recommenders.splitting.temporal import cut_time, split, training_log

METRICS = ("precision", "recall", "ndcg", "hit_rate")

Means = dict[str, Interval]  # metric -> mean over users with its interval


@dataclass(frozen=True)
class Ceiling:
    """The metrics of one view: of the oracle, of the popularity model, and the ceilings (perfect knowledge)."""

    oracle: Means
    popularity: Means
    perfect: dict[str, float]
    n_users: int  # users with relevant items


def world_ceilings(
    world: World,
    interactions: pa.Table,
    items: pa.Table,
    protocol: Protocol,
    config: EvaluationConfig | None = None,
) -> dict[str, Ceiling]:
    """View -> its ceiling, on the test window of the simulated world.

    interactions, items: the clean tables of the files that write_world wrote for this world, ids 1, 2 ... The metrics
    are means over the users with relevant items, as in every report. Raises DataError if the log is too short for the
    protocol.
    """
    config = config or EvaluationConfig()
    parts = split(interactions, protocol)
    events = parts.filter(pc.not_equal(parts["part"], "test"))
    log = training_log(events, items, protocol, cut_time(parts))
    task = make_task(log, parts.filter(pc.equal(parts["part"], "test")), protocol)
    views = task.views()
    popular = rank.rank_users(Popularity().fit(log), task, views, K)
    best = oracle_lists(world, task, log, views, interactions, protocol.test_days)
    return {
        name: Ceiling(
            mean_metrics(best[name], view, config),
            mean_metrics(popular[name], view, config),
            ceilings(view.relevant, task.candidates, K),
            int((np.diff(view.relevant.indptr) > 0).sum()),
        )
        for name, view in views.items()
    }


def oracle_metrics(
    scale: float, seed: int, task: EvaluationTask, log: Interactions, interactions: pa.Table, days: int
) -> dict[str, dict[str, float]]:
    """View -> "metric@10" -> the oracle's mean over the users of the task with relevant items in that view.

    scale, seed: of the simulated world of the log's files, which is simulated again; the rest as oracle_lists(). Use
    it in reports only: a model that is fitted or selected with it would use the test data.
    """
    views = task.views()
    with threadpool_limits(limits=1):  # as for the files: another order of summation would give another world
        best = oracle_lists(make_world(WorldConfig.scaled(scale, seed)), task, log, views, interactions, days)
    metrics = {
        name: ranking.all_metrics(best[name], view.relevant) for name, view in views.items() if view.relevant.nnz
    }
    return {name: {metric: float(np.nanmean(v)) for metric, v in values.items()} for name, values in metrics.items()}


def oracle_lists(
    world: World,
    task: EvaluationTask,
    log: Interactions,
    views: dict[str, TaskView],
    interactions: pa.Table,
    days: int,
    k: int = K,
) -> dict[str, NDArray[np.int32]]:
    """View -> (n_users, k) item columns by true probability, best first, -1 after the last candidate.

    The window is the last `days` days of `interactions`, the whole log; `log` holds the events before the window.
    """
    cut = pc.max(interactions["timestamp"]).as_py() - timedelta(days=days)
    user_numbers, item_numbers = _numbers(task.user_ids), _numbers(log.items.ids)
    parts: dict[str, list[NDArray[np.int32]]] = {name: [] for name in views}
    done = 0
    for rows, probability in purchase_probabilities(world, cut, days, user_numbers):
        histories = task.histories[done : done + len(rows)]
        done += len(rows)
        for name, view in views.items():
            scores = probability[:, item_numbers]
            if name == "reorder":  # new items cannot be relevant in this view
                scores = scores * (histories.matrix.toarray() > 0)
            ranked = mask_and_rank(scores, k, task.candidates, histories.matrix if view.exclude_known else None)
            parts[name].append(ranked.item_columns)
    return {name: np.concatenate(lists) for name, lists in parts.items()}


def mean_metrics(ranked: NDArray[np.int32], view: TaskView, config: EvaluationConfig) -> Means:
    """The mean metrics of lists (n_users, k) on one view, with intervals."""
    found = ranking.all_metrics(ranked, view.relevant)
    names = [f"{metric}@{ranked.shape[1]}" for metric in METRICS]
    return {name: mean_interval(found[name], config.n_resamples, seed=config.seed) for name in names}


def _numbers(ids: NDArray[np.str_]) -> NDArray[np.int64]:
    """Row numbers in the simulated world, from the ids in its files."""
    return ids.astype(np.int64) - 1
