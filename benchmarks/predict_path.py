"""Milliseconds of one list for one buyer on one core, for every model's bundle, as a service worker answers.

    python benchmarks/predict_path.py [--models NAME ...] [--requests 2000] [--quick] [--json]

Every model is fitted on custom_b2b (5,000 items; 2,000 buyers) up to its cut and written as a bundle. A process per
bundle, held to one core and one thread, loads it through serving.predictor.Predictor and answers one request after
another: buyers of the log, buyers of the log with three new events, and strangers of whom ten item ids are known. That
process must import none of torch, scikit-learn, numba, pandas, pyarrow and sparse_dot_topn, or the script fails. Three
such processes are asked, and the fastest tells: a busy neighbour on the machine slows one by half.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measuring import table
from peers.environments import environment
from peers.memory import peak_mb

HEAVY = ("torch", "sklearn", "numba", "pandas", "pyarrow", "sparse_dot_topn")
K = 10
NEW_EVENTS, STRANGER_EVENTS = 3, 10
FLOOR_MS, GOAL_MS = 2.5, 1.0  # of the learned hybrid's live ranking
LARGEST_MB = 100.0
FLAGSHIP = "hybrid_learned"
QUICK_SCALE = 0.1
ROUNDS = 3


def main() -> None:
    """Prints a table, and with --json one last line."""
    parser = table.arguments(__doc__)
    parser.add_argument("--models", nargs="+", default=(), metavar="NAME", help="by default all")
    parser.add_argument("--requests", type=int, default=2000, help="of each kind")
    parser.add_argument("--one", metavar="BUNDLE", help=argparse.SUPPRESS)
    options = parser.parse_args()
    n_requests = 50 if options.quick else options.requests
    if options.one:
        run_one(Path(options.one), n_requests)
        return
    started = time.perf_counter()
    bundles = make_bundles(QUICK_SCALE if options.quick else 1.0, options.models)
    print(table.HEAD)
    rows = [line for name, folder in bundles.items() for line in measured(name, folder, n_requests)]
    table.finish("predict_path", rows, started, options.as_json, {}, not (options.quick or options.models))


def make_bundles(scale: float, models: list[str]) -> dict[str, Path]:
    """Model -> its bundle, all of one recipe; fitted once and kept."""
    from measuring.entrants import configuration
    from measuring.fitted import bundle_of
    from measuring.questions import question

    from recommenders.training.fitting import DECLINED

    config, asked = configuration(models), question("custom_b2b", scale=scale)
    folders = {name: bundle_of(name, asked, config) for name in config.enabled()}
    return {name: folder for name, folder in folders.items() if not (folder / DECLINED).exists()}


def measured(name: str, folder: Path, n_requests: int) -> list[dict[str, Any]]:
    """The rows of one bundle, printed."""
    command = [sys.executable, __file__, "--one", str(folder), "--requests", str(n_requests)]
    rounds = []
    for _ in range(ROUNDS):
        done = subprocess.run(command, env=environment(1), check=True, stdout=subprocess.PIPE, text=True)
        rounds.append(json.loads(done.stdout.splitlines()[-1]))
        if heavy := rounds[-1]["heavy"]:
            raise ImportError(f"{name}: answering imported {', '.join(heavy)}; load them while fitting only")
    rows = []
    for kind in rounds[0]["milliseconds"]:
        times = min((other["milliseconds"][kind] for other in rounds), key=lambda times: times["p50"])
        bounds = {"floor": FLOOR_MS, "goal": GOAL_MS} if name == FLAGSHIP else {}
        rows.append(table.row(f"{name}: {kind}, p50", "ms", times["p50"], lower_is_better=True, **bounds))
        rows.append(table.row(f"{name}: {kind}, p99", "ms", times["p99"], lower_is_better=True))
    peak = min(found["peak_mb"] for found in rounds)
    megabytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
    rows.append(table.row(f"{name}: bundle", "MB", megabytes, floor=LARGEST_MB, lower_is_better=True))
    rows.append(table.row(f"{name}: peak memory of the process", "MB", peak, lower_is_better=True))
    for line in rows:
        table.show(line)
    return rows


def run_one(folder: Path, n_requests: int) -> None:
    """Answers requests from one bundle on one core and prints what they took."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    from serving.predictor import Predictor

    predictor = Predictor(folder)
    predictor.warm()
    rng = np.random.default_rng(42)
    users, items = predictor.model.users_.ids, predictor.model.items_.ids
    names = rng.choice(users, n_requests).tolist()

    def events(n: int) -> list[list[str]]:
        return [rng.choice(items, n, replace=False).tolist() for _ in range(n_requests)]

    new, strange = events(NEW_EVENTS), events(STRANGER_EVENTS)
    found = {
        "known buyer": timed(lambda i: predictor.predict(names[i], [], K), n_requests),
        f"known buyer, {NEW_EVENTS} new events": timed(lambda i: predictor.predict(names[i], new[i], K), n_requests),
        f"stranger, {STRANGER_EVENTS} events": timed(lambda i: predictor.predict("\0", strange[i], K), n_requests),
    }
    heavy = [name for name in HEAVY if name in sys.modules]
    print(json.dumps({"milliseconds": found, "peak_mb": peak_mb(), "heavy": heavy}))


def timed(answer: Callable[[int], object], n: int) -> dict[str, float]:
    """Median and 99th percentile of n answers, after a tenth as many that do not count."""
    times = []
    for i in [*range(max(n // 10, 1)), *range(n)]:
        started = time.perf_counter()
        answer(i)
        times.append((time.perf_counter() - started) * 1000)
    counted = np.array(times[-n:])
    return {"p50": float(np.median(counted)), "p99": float(np.quantile(counted, 0.99))}


if __name__ == "__main__":
    main()
