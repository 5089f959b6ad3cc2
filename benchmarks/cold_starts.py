"""How well cold-start users are served on the simulated market, over several markets: one holds but a dozen of them.

    python benchmarks/cold_starts.py [--worlds N] [--quick] [--json]

Each market is custom_b2b with another seed. Users of the test window whom the log does not know are known by their
first visit and asked for later visits (docs/protocols.md); the rest of the basket is a task of its own. Users of all
markets are pooled: means and paired differences with 95 % bootstrap intervals over users. Models that hybrid_learned
makes no use of on such a log are left out. Each market is kept in .bench/ when it is finished, so a cut run goes on.
"""

import time
from typing import Any

import numpy as np
from measuring import table
from measuring.fitted import fitted
from measuring.kept import code_version, kept_arrays, key_of
from measuring.questions import LATER_VISITS, SEED, Question, question
from numpy.typing import NDArray

from recommenders.evaluation.comparison import mean_interval, paired_difference
from recommenders.evaluation.rank import rank
from recommenders.metrics.ranking import K, ndcg
from recommenders.training.configuration import TrainingConfig
from recommenders.training.fitting import Declined, members_of

FLAGSHIP = "hybrid_learned"
LEAST_USERS = 200
Vectors = dict[str, NDArray[np.float64]]  # "task: model" -> NDCG@10 of each user


def main() -> None:
    """Prints a table, and with --json one last line."""
    parser = table.arguments(__doc__)
    parser.add_argument("--worlds", type=int, default=20, help="markets, of the seeds from 42 on")
    options = parser.parse_args()
    started = time.perf_counter()
    n_worlds, scale = (1, 0.1) if options.quick else (options.worlds, 1.0)
    worlds = [judged(SEED + number, scale) for number in range(n_worlds)]
    rows = [row for task in tasks(worlds) for row in rows_of(task, worlds)]
    for row in rows:
        table.show_accuracy(row)
    whole = not options.quick and n_worlds >= parser.get_default("worlds")
    table.finish("cold_starts", rows, started, options.as_json, {}, whole)


def judged(seed: int, scale: float) -> Vectors:
    """One market: each model's NDCG@10 of each cold-start user."""
    begun = time.perf_counter()
    asked = question("custom_b2b", scale=scale, seed=seed)
    config = TrainingConfig()
    names = [*members_of(FLAGSHIP, config, asked.log), FLAGSHIP]

    def make() -> Vectors:
        return {key: vector for name in names for key, vector in _of_model(name, asked, config).items()}

    found = kept_arrays(key_of("cold_starts", asked.key, code_version(), names), make)
    n_users = sum(len(case.user_ids) for name, case in asked.cold.items() if name == LATER_VISITS)
    print(f"market {seed}: {n_users} users who came back, {time.perf_counter() - begun:.0f} s", flush=True)
    return found


def _of_model(name: str, asked: Question, config: TrainingConfig) -> Vectors:
    model = fitted(name, asked, config)
    if isinstance(model, Declined):
        return {}
    found = {}
    for task, case in asked.cold.items():
        view = asked.cold_view(task)
        found[f"{task}: {name}"] = ndcg(rank(model, case, {"all": view}, K)["all"], view.relevant)
    return found


def tasks(worlds: list[Vectors]) -> list[str]:
    """The tasks that any market poses, in order."""
    return list(dict.fromkeys(key.rpartition(": ")[0] for world in worlds for key in world))


def rows_of(task: str, worlds: list[Vectors]) -> list[dict[str, Any]]:
    """Each model's mean over the users of all markets, best first, and what hybrid_learned is ahead of it.

    The floor: on later visits not behind popularity, of LEAST_USERS users or more.
    """
    names = [key.rpartition(": ")[2] for key in worlds[0] if key.startswith(f"{task}: ")]
    values = {
        name: np.concatenate([world[f"{task}: {name}"] for world in worlds if f"{task}: {name}" in world])
        for name in names
    }
    rows = []
    for name in sorted(names, key=lambda name: -float(np.nanmean(values[name]))):
        mean = mean_interval(values[name])
        line = table.row(f"{task} ({len(values[name])}): {name}", "NDCG@10", mean.value)
        line |= {"value": round(mean.value, 4), "interval": table.ends(mean)}
        if name != FLAGSHIP:
            gain = paired_difference(values[FLAGSHIP], values[name])
            line["difference"] = [round(part, 4) for part in gain]
            if name == "popularity" and task == LATER_VISITS:
                met = bool(gain.high >= 0 and len(values[name]) >= LEAST_USERS)
                line |= {"floor": 0.0, "floor_met": met, "bounds": "difference not below zero"}
        rows.append(line)
    return rows


if __name__ == "__main__":
    main()
