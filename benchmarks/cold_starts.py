"""Measures NDCG@10 of cold-start users, pooled over several simulated markets, because one market has only a dozen.

    python benchmarks/cold_starts.py [--worlds N] [--quick] [--json]

Each market is custom_b2b with another seed. A cold-start user appears only in the test window. The first visit is the
history, and the later visits are the target (docs/protocols.md); the rest of the basket is a separate task. Users of
all markets are pooled: means and paired differences with 95 % bootstrap intervals over users. Models that
hybrid_learned does not use on such a log are left out. Each market is kept in .bench/ when it is finished, so an
interrupted run continues where it stopped.
"""

import time
from typing import Any

import numpy as np
from measuring import result_table
from measuring.benchmark_tasks import LATER_VISITS, SEED, BenchmarkTask, benchmark_task
from measuring.disk_cache import code_version, kept_arrays, key_of
from measuring.fitted_models import fitted
from numpy.typing import NDArray

from recommenders.evaluation.rank import rank_users
from recommenders.evaluation.statistics.comparison import mean_interval, paired_difference
from recommenders.metrics.ranking import K, ndcg
from recommenders.training.configuration import TrainingConfig
from recommenders.training.fitting import SkippedModel, required_models

FLAGSHIP = "hybrid_learned"
LEAST_USERS = 200
Vectors = dict[str, NDArray[np.float64]]  # "task name: model" -> NDCG@10 of each user


def main() -> None:
    """Prints a table, and with --json a last line for programs."""
    parser = result_table.arguments(__doc__)
    parser.add_argument("--worlds", type=int, default=20, help="number of markets, with seeds from 42 on")
    options = parser.parse_args()
    started = time.perf_counter()
    n_markets, scale = (1, 0.1) if options.quick else (options.worlds, 1.0)
    markets = [ndcg_of_market(SEED + number, scale) for number in range(n_markets)]
    rows = [row for task_name in task_names(markets) for row in rows_of(task_name, markets)]
    for row in rows:
        result_table.show_accuracy(row)
    whole = not options.quick and n_markets >= parser.get_default("worlds")
    result_table.finish("cold_starts", rows, started, options.as_json, {}, whole)


def ndcg_of_market(seed: int, scale: float) -> Vectors:
    """The NDCG@10 of each model for each cold-start user of one market."""
    begun = time.perf_counter()
    task = benchmark_task("custom_b2b", scale=scale, seed=seed)
    config = TrainingConfig()
    names = [*required_models(FLAGSHIP, config, task.log), FLAGSHIP]

    def make() -> Vectors:
        return {key: vector for name in names for key, vector in _ndcg_of_model(name, task, config).items()}

    found = kept_arrays(key_of("cold_starts", task.key, code_version(), names), make)
    n_users = sum(len(cold_task.user_ids) for name, cold_task in task.cold.items() if name == LATER_VISITS)
    print(f"market {seed}: {n_users} users with later visits, {time.perf_counter() - begun:.0f} s", flush=True)
    return found


def _ndcg_of_model(name: str, task: BenchmarkTask, config: TrainingConfig) -> Vectors:
    model = fitted(name, task, config)
    if isinstance(model, SkippedModel):
        return {}
    found = {}
    for task_name, cold_task in task.cold.items():
        view = task.cold_view(task_name)
        found[f"{task_name}: {name}"] = ndcg(rank_users(model, cold_task, {"all": view}, K)["all"], view.relevant)
    return found


def task_names(markets: list[Vectors]) -> list[str]:
    """The names of the tasks that occur in at least one market, in order."""
    return list(dict.fromkeys(key.rpartition(": ")[0] for market in markets for key in market))


def rows_of(task_name: str, markets: list[Vectors]) -> list[dict[str, Any]]:
    """One row per model, best first: its mean over the users of all markets, and the lead of hybrid_learned over it.

    Floor: on later visits hybrid_learned is not behind popularity, with at least LEAST_USERS users.
    """
    names = [key.rpartition(": ")[2] for key in markets[0] if key.startswith(f"{task_name}: ")]
    values = {
        name: np.concatenate([market[f"{task_name}: {name}"] for market in markets if f"{task_name}: {name}" in market])
        for name in names
    }
    rows = []
    for name in sorted(names, key=lambda name: -float(np.nanmean(values[name]))):
        mean = mean_interval(values[name])
        line = result_table.row(f"{task_name} ({len(values[name])}): {name}", "NDCG@10", mean.value)
        line |= {"value": round(mean.value, 4), "interval": result_table.ends(mean)}
        if name != FLAGSHIP:
            gain = paired_difference(values[FLAGSHIP], values[name])
            line["difference"] = [round(part, 4) for part in gain]
            if name == "popularity" and task_name == LATER_VISITS:
                met = bool(gain.high >= 0 and len(values[name]) >= LEAST_USERS)
                line |= {"floor": 0.0, "floor_met": met, "bounds": "difference not below zero"}
        rows.append(line)
    return rows


if __name__ == "__main__":
    main()
