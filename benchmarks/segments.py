"""Measures the lists of users without any event, by their attributes, against the list of popular items.

    python benchmarks/segments.py [--worlds N] [--quick] [--json]

Each market is custom_b2b with another seed. The users appear only in the test window (docs/protocols.md, cold start);
nothing but their industry, region and segment is known, and the items of all their orders in the window are relevant.
The segments are fitted and admitted on the log before the window, as when a version is released. `served` is what the
service answers: popularity on a market whose segments are not admitted. Users of all markets are pooled: means and
paired differences with 95 % bootstrap intervals over users. The calibration error is that of the probabilities of the
served segment lists (benchmarks/calibration.py has the measure).
"""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from measuring import result_table
from measuring.benchmark_tasks import SEED, BenchmarkTask, benchmark_task
from numpy.typing import NDArray
from peers.environments import place
from scipy.sparse import csr_array

from recommenders.evaluation.statistics.comparison import mean_interval, paired_difference
from recommenders.evaluation.statistics.reliability import reliability
from recommenders.evaluation.tasks.task import cold_start_task, relevant_ids
from recommenders.events.histories import Histories
from recommenders.math.ranked import mask_and_rank
from recommenders.math.sparse import ones
from recommenders.metrics.ranking import K, ndcg
from recommenders.models.calibration import RankedUsers
from recommenders.models.popularity import Popularity
from recommenders.training.segments import ATTRIBUTES, fit_segments

LEAST_USERS = 200
Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Market:
    """NDCG@10 of each user, (n,); and of the items of segment lists, (m,): probability, and whether it was bought."""

    popularity: Values
    served: Values
    admitted: bool
    probabilities: Values
    bought: NDArray[np.bool_]


def main() -> None:
    """Prints a table, and with --json a last line for programs."""
    parser = result_table.arguments(__doc__)
    parser.add_argument("--worlds", type=int, default=20, help="number of markets, with seeds from 42 on")
    options = parser.parse_args()
    started = time.perf_counter()
    n_markets, scale = (1, 0.1) if options.quick else (options.worlds, 1.0)
    markets = [measured(SEED + number, scale) for number in range(n_markets)]
    rows = rows_of(markets)
    for row in rows:
        result_table.show(row)
    whole = not options.quick and n_markets >= parser.get_default("worlds")
    result_table.finish("segments", rows, started, options.as_json, {}, whole)


def measured(seed: int, scale: float) -> Market:
    """One market."""
    task = benchmark_task("custom_b2b", scale=scale, seed=seed)
    users = pq.read_table(place() / "tables" / f"custom_b2b-{task.version.removesuffix('-test')}" / "users.parquet")
    popularity = Popularity().fit(task.log, task.features)
    fitted = fit_segments(popularity, task.log, users)
    print(f"market {seed}: {fitted.reason}", flush=True)
    user_ids, relevant = unknown_users(task)
    candidates = task.log.available
    new = np.full(len(user_ids), -1, np.int32)
    plain = popularity.recommend(new, Histories.from_lists([[]] * len(user_ids), len(candidates)), K, candidates)
    values = ndcg(plain.item_columns, relevant)
    if fitted.segments is None:
        return Market(values, values, False, np.zeros(0), np.zeros(0, np.bool_))
    attributes = {row["user_id"]: row for row in users.select(["user_id", *ATTRIBUTES]).to_pylist()}
    scores = np.stack(
        [
            fitted.segments.scores(popularity.popularity_, fitted.segments.known(attributes.get(user_id, {})))
            for user_id in user_ids
        ]
    )
    found = mask_and_rank(scores, K, candidates)
    curves = fitted.calibration
    probabilities = curves and curves.probabilities("segment", popularity.shares(found.scores))
    bought = RankedUsers.of(found.item_columns, found.scores, relevant).bought.ravel()
    if probabilities is None:
        probabilities, bought = np.zeros(0, np.float32), bought[:0]
    return Market(values, ndcg(found.item_columns, relevant), True, probabilities.ravel().astype(float), bought)


def unknown_users(task: BenchmarkTask) -> tuple[list[str], csr_array]:
    """The ids of the users who are only in the window, and the items that they bought, (n, n_items)."""
    user_ids, item_ids = relevant_ids(task.test, task.protocol)
    columns = task.log.items.rows(item_ids)
    new = (task.log.users.rows(user_ids) < 0) & (columns >= 0)
    ids, rows = np.unique(user_ids[new], return_inverse=True)
    nothing = Histories.from_lists([[]] * len(ids), len(task.log.items))
    relevant = ones(rows, columns[new], nothing.shape)
    found = cold_start_task(task.log, ids, nothing, relevant, task.log.available, "users without a history", True)
    return found.user_ids.tolist(), found.relevant


def rows_of(markets: list[Market]) -> list[dict[str, Any]]:
    """Floor: the served lists are not worse than popularity, with at least LEAST_USERS users."""
    popularity = np.concatenate([market.popularity for market in markets])
    served = np.concatenate([market.served for market in markets])
    gain = paired_difference(served, popularity)
    n_admitted, n = sum(market.admitted for market in markets), len(served)
    rows = []
    for name, values in (("popularity", popularity), ("served", served)):
        mean = mean_interval(values)
        rows.append(result_table.row(f"{n} users without a history: {name}", "NDCG@10", mean.value))
        rows[-1] |= {"interval": result_table.ends(mean)}
    rows[-1] |= {
        "difference": [round(part, 4) for part in gain],
        "note": f"served minus popularity {gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]; "
        f"admitted on {n_admitted} of {len(markets)} markets",
        "floor": 0.0,
        "floor_met": bool(gain.high >= 0 and n >= LEAST_USERS),
        "bounds": "difference not below zero",
    }
    probabilities = np.concatenate([market.probabilities for market in markets])
    if len(probabilities):
        found = reliability(probabilities, np.concatenate([market.bought for market in markets]))
        error = found["expected_calibration_error"]
        rows.append(
            result_table.row("probabilities of segment lists", "calibration error", error, lower_is_better=True)
        )
    return rows


if __name__ == "__main__":
    main()
