"""Measures the milliseconds for one list of one user on one core, from each model's bundle, as in a service worker.

    python benchmarks/predict_path.py [--models NAME ...] [--requests 2000] [--quick] [--json]

Every model is fitted on custom_b2b (5,000 items; 2,000 users) up to its cut and written as a bundle. A process per
bundle, limited to one core and one thread, loads it through serving.lists.predictor.Predictor and answers one request
after another: users of the log, users of the log with three new events, and cold-start users with ten item ids.
That process must import none of torch, scikit-learn, XGBoost, numba, pandas, pyarrow and sparse_dot_topn, or the
script fails.
Three such processes are run and the fastest counts, because another busy program on the machine can slow one by half.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from measuring import result_table
from peers.environments import environment
from peers.process.memory import peak_mb

HEAVY = ("torch", "sklearn", "xgboost", "numba", "pandas", "pyarrow", "sparse_dot_topn")
K = 10
NEW_EVENTS, COLD_START_EVENTS = 3, 10
FLOOR_MS, GOAL_MS = 2.5, 1.0  # of hybrid_learned, per request
MAX_MB = 100.0
FLAGSHIP = "hybrid_learned"
QUICK_SCALE = 0.1
ROUNDS, ROUNDS_FROM = 3, 100  # a run with fewer requests only tests that the script works


def main() -> None:
    """Prints a table, and with --json a last line for programs."""
    parser = result_table.arguments(__doc__)
    parser.add_argument("--models", nargs="+", default=(), metavar="NAME", help="default: all")
    parser.add_argument("--requests", type=int, default=2000, help="number of requests of each kind")
    parser.add_argument("--one", metavar="BUNDLE", help=argparse.SUPPRESS)
    options = parser.parse_args()
    n_requests = 50 if options.quick else options.requests
    if options.one:
        run_one(Path(options.one), n_requests)
        return
    started = time.perf_counter()
    bundles = make_bundles(QUICK_SCALE if options.quick else 1.0, options.models)
    print(result_table.HEAD)
    rows = [
        line for name, folder in bundles.items() for line in measure(name, folder, n_requests, bounds_of(name), MAX_MB)
    ]
    result_table.finish("predict_path", rows, started, options.as_json, {}, not (options.quick or options.models))


def make_bundles(scale: float, models: list[str]) -> dict[str, Path]:
    """Model -> its bundle, all of one recipe. Bundles are fitted once and kept."""
    from measuring.accuracy.entrant_lists import configuration
    from measuring.benchmark_tasks import benchmark_task
    from measuring.fitted_models import bundle_of

    from recommenders.training.fitting import SKIPPED

    config, task = configuration(models), benchmark_task("custom_b2b", scale=scale)
    folders = {name: bundle_of(name, task, config) for name in config.enabled()}
    return {name: folder for name, folder in folders.items() if not (folder / SKIPPED).exists()}


def bounds_of(name: str) -> dict[str, float]:
    """The floor and the goal of a model's median, in milliseconds."""
    return {"floor": FLOOR_MS, "goal": GOAL_MS} if name == FLAGSHIP else {}


def measure(
    name: str, folder: Path, n_requests: int, bounds: Mapping[str, float], max_mb: float | None = None
) -> list[dict[str, Any]]:
    """Measures one bundle; prints and returns its rows. bounds: of the median. max_mb: of the bundle."""
    command = [sys.executable, __file__, "--one", str(folder), "--requests", str(n_requests)]
    rounds = []
    for _ in range(ROUNDS if n_requests >= ROUNDS_FROM else 1):
        done = subprocess.run(command, env=environment(1), check=True, stdout=subprocess.PIPE, text=True)
        rounds.append(json.loads(done.stdout.splitlines()[-1]))
        if heavy := rounds[-1]["heavy"]:
            raise ImportError(f"{name}: predict() imported {', '.join(heavy)}; import them only for fitting")
    rows = []
    for kind in rounds[0]["milliseconds"]:
        times = min((other["milliseconds"][kind] for other in rounds), key=lambda times: times["p50"])
        rows.append(result_table.row(f"{name}: {kind}, p50", "ms", times["p50"], lower_is_better=True, **bounds))
        rows.append(result_table.row(f"{name}: {kind}, p99", "ms", times["p99"], lower_is_better=True))
    peak = min(found["peak_mb"] for found in rounds)
    megabytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
    rows.append(result_table.row(f"{name}: bundle", "MB", megabytes, floor=max_mb, lower_is_better=True))
    rows.append(result_table.row(f"{name}: peak memory of the process", "MB", peak, lower_is_better=True))
    for line in rows:
        result_table.show(line)
    return rows


def run_one(folder: Path, n_requests: int) -> None:
    """Answers requests from one bundle on one core and prints their times."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    from serving.lists.predictor import Predictor

    predictor = Predictor(folder)
    predictor.warm_up()
    rng = np.random.default_rng(42)
    users, items = predictor.model.users_.ids, predictor.model.items_.ids
    names = rng.choice(users, n_requests).tolist()

    def events(n: int) -> list[list[str]]:
        return [rng.choice(items, n, replace=False).tolist() for _ in range(n_requests)]

    new, histories = events(NEW_EVENTS), events(COLD_START_EVENTS)
    found = {
        "known user": timed(lambda i: predictor.predict(names[i], [], K), n_requests),
        f"known user, {NEW_EVENTS} new events": timed(lambda i: predictor.predict(names[i], new[i], K), n_requests),
        f"cold-start user, {COLD_START_EVENTS} events": timed(
            lambda i: predictor.predict("\0", histories[i], K), n_requests
        ),
    }
    heavy = [name for name in HEAVY if name in sys.modules]
    print(json.dumps({"milliseconds": found, "peak_mb": peak_mb(), "heavy": heavy}))


def timed(answer: Callable[[int], object], n: int) -> dict[str, float]:
    """Median and 99th percentile of n answers, after n / 10 warm-up answers that do not count."""
    times = []
    for i in [*range(max(n // 10, 1)), *range(n)]:
        started = time.perf_counter()
        answer(i)
        times.append((time.perf_counter() - started) * 1000)
    counted = np.array(times[-n:])
    return {"p50": float(np.median(counted)), "p99": float(np.quantile(counted, 0.99))}


if __name__ == "__main__":
    main()
