"""What the best possible model would reach on the simulated market: an oracle that knows the law and the past.

The oracle ranks by the true probability of a relevant purchase within the test window
(recommenders.simulation.truth): any purchase; of the view over reorders one of an item that the buyer knows, of the
view over discovery one of another. What that is best for:

- precision@k. Expected hits of a list are the sum of its items' probabilities, whatever couples the items, so no
  other list of k has more. That holds as well among buyers who buy at all, because knowing that a buyer bought
  something scales all the buyer's probabilities of a view alike.
- recall@k and NDCG@k divide by a number that depends on how much the buyer bought. Their best list orders by
  E[1(bought) / divisor], which differs from the probability only where items differ in how they go with large
  purchases. The hit rate may gain from a list of unlike items. For these three the oracle is a very good model
  rather than a proven bound.

All of it speaks of expectations: on one realised window a lucky model may do better. Perfect knowledge of the window
(recommenders.evaluation.criteria.ceilings) is the bound that holds for every list, and no model that lives before
the cut can expect it.
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
from recommenders.evaluation.comparison import Interval, mean_interval
from recommenders.evaluation.criteria import ceilings
from recommenders.evaluation.tasks.task import Case, EvaluationConfig, View, make_case
from recommenders.events.interactions import Interactions
from recommenders.metrics import ranking
from recommenders.metrics.ranking import K
from recommenders.models.popularity import Popularity
from recommenders.models.recommender import mask_and_rank
from recommenders.simulation.config import WorldConfig
from recommenders.simulation.orders import World, make_world
from recommenders.simulation.truth import purchase_probabilities
from recommenders.splitting.temporal import cut_time, split, training_log

METRICS = ("precision", "recall", "ndcg", "hit_rate")

Judged = dict[str, Interval]  # metric -> mean over buyers with its interval


@dataclass(frozen=True)
class Ceiling:
    """One view: the oracle's figures, popularity's, and those of perfect knowledge of the window."""

    oracle: Judged
    popularity: Judged
    perfect: dict[str, float]
    n_users: int  # with something relevant


def world_ceilings(
    world: World,
    interactions: pa.Table,
    items: pa.Table,
    protocol: Protocol,
    config: EvaluationConfig | None = None,
) -> dict[str, Ceiling]:
    """View -> its ceiling, on the world's own test window.

    interactions, items: the clean tables of the files that write_world made of this world, ids 1, 2 ... The figures
    are means over the buyers with something relevant, as in every report. Raises DataError if the log is too short
    for the protocol.
    """
    config = config or EvaluationConfig()
    parts = split(interactions, protocol)
    events = parts.filter(pc.not_equal(parts["part"], "test"))
    log = training_log(events, items, protocol, cut_time(parts))
    case = make_case(log, parts.filter(pc.equal(parts["part"], "test")), protocol)
    views = case.views()
    popular = rank.rank(Popularity().fit(log), case, views, K)
    best = oracle_lists(world, case, log, views, interactions, protocol.test_days)
    return {
        name: Ceiling(
            judged(best[name], view, config),
            judged(popular[name], view, config),
            ceilings(view.relevant, case.candidates, K),
            int((np.diff(view.relevant.indptr) > 0).sum()),
        )
        for name, view in views.items()
    }


def oracle_figures(
    scale: float, seed: int, case: Case, log: Interactions, interactions: pa.Table, days: int
) -> dict[str, dict[str, float]]:
    """View -> "metric@10" -> the oracle's mean over the buyers of the case with something relevant there.

    scale, seed: of the world whose files the log was read from, which is made anew; the rest as oracle_lists(). It is
    for reports alone: whoever learned or chose by it would know the answers.
    """
    views = case.views()
    with threadpool_limits(limits=1):  # as its files were made: sums in another order would be another world
        best = oracle_lists(make_world(WorldConfig.scaled(scale, seed)), case, log, views, interactions, days)
    found = {name: ranking.all_metrics(best[name], view.relevant) for name, view in views.items() if view.relevant.nnz}
    return {name: {metric: float(np.nanmean(v)) for metric, v in of.items()} for name, of in found.items()}


def oracle_lists(
    world: World, case: Case, log: Interactions, views: dict[str, View], interactions: pa.Table, days: int, k: int = K
) -> dict[str, NDArray[np.int32]]:
    """View -> (n_users, k) item columns by true probability, best first, -1 past the last candidate.

    The window is the last `days` days before the last event of `interactions`, the whole log; `log` is what lies
    before it.
    """
    cut = pc.max(interactions["timestamp"]).as_py() - timedelta(days=days)
    buyers, products = _numbers(case.user_ids), _numbers(log.items.ids)
    parts: dict[str, list[NDArray[np.int32]]] = {name: [] for name in views}
    done = 0
    for rows, probability in purchase_probabilities(world, cut, days, buyers):
        histories = case.histories[done : done + len(rows)]
        done += len(rows)
        for name, view in views.items():
            chance = probability[:, products]
            if name == "reorder":  # what is new to a buyer cannot be relevant there
                chance = chance * (histories.matrix.toarray() > 0)
            ranked = mask_and_rank(chance, k, case.candidates, histories.matrix if view.exclude_known else None)
            parts[name].append(ranked.item_columns)
    return {name: np.concatenate(of_view) for name, of_view in parts.items()}


def judged(ranked: NDArray[np.int32], view: View, config: EvaluationConfig) -> Judged:
    """The figures of lists (n_users, k) on one view."""
    found = ranking.all_metrics(ranked, view.relevant)
    names = [f"{metric}@{ranked.shape[1]}" for metric in METRICS]
    return {name: mean_interval(found[name], config.n_bootstrap, seed=config.seed) for name in names}


def _numbers(ids: NDArray[np.str_]) -> NDArray[np.int64]:
    """Rows of the world from the ids of its files."""
    return ids.astype(np.int64) - 1
