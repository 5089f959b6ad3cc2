"""Compares our thread settings with the libraries' defaults, on the machine as it is and beside busy processes.

    python benchmarks/threads.py [--only JOB ...] [--beside N ...] [--quick] [--json]

Each job runs in a separate process, with both settings in turn: once on the machine as it is, and once beside one busy
loop per core. The processor seconds of all threads are the cost of the job; the wall seconds also depend on its share
of the machine. Each row also gives the load average, which includes all other programs.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import recommenders  # noqa: F401  (sets the thread variables, which libraries read on import)

SETTINGS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "OMP_WAIT_POLICY")
DEFAULTS = "defaults"  # the last argument of a job with the libraries' defaults
if sys.argv[-1] == DEFAULTS:
    for setting in SETTINGS:
        os.environ.pop(setting, None)

import numpy as np  # noqa: E402
from measuring.result_table import HEAD, arguments, finish, row, show  # noqa: E402


def main() -> None:
    """Prints a table, and with --json a last line for programs."""
    if sys.argv[1:2] == ["--job"]:
        print(json.dumps(measure(JOBS[sys.argv[2]](sys.argv[3] == "quick"))))
        return
    parser, started = arguments(__doc__), time.perf_counter()
    parser.add_argument("--only", nargs="+", choices=JOBS, default=[*JOBS], metavar="JOB", help=", ".join(JOBS))
    cores = os.cpu_count() or 1
    parser.add_argument("--beside", nargs="+", type=int, default=[0, cores], metavar="N", help="busy processes")
    options = parser.parse_args()
    print(HEAD)
    rows = []
    for job in options.only:
        for beside in options.beside:
            with busy(beside):
                ours, theirs = run_job(job, options.quick, defaults=False), run_job(job, options.quick, defaults=True)
            what = f"{job}, beside {beside} busy processes"
            note = f"{ours[1]:.1f} s against {theirs[1]:.1f} s, load {os.getloadavg()[0]:.0f}"
            rows.append(
                row(what, "processor seconds", ours[0], ("defaults", theirs[0]), lower_is_better=True, note=note)
            )
            show(rows[-1])
    finish("threads", rows, started, options.as_json, {})


def run_job(job: str, quick: bool, defaults: bool) -> tuple[float, float]:
    """(processor seconds, wall seconds) of a job in a separate process. defaults: without our settings."""
    clean = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    command = [sys.executable, __file__, "--job", job, "quick" if quick else "whole", DEFAULTS if defaults else "ours"]
    done = subprocess.run(command, env=clean, check=True, stdout=subprocess.PIPE, text=True)
    spent, seconds = json.loads(done.stdout.splitlines()[-1])
    return spent, seconds


@contextmanager
def busy(n: int) -> Iterator[None]:
    """A context in which n processes run busy loops."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def measure(job: Callable[[], Any]) -> tuple[float, float]:
    """(processor seconds of all threads, wall seconds) of a job."""
    spent, seconds = time.process_time(), time.perf_counter()
    job()
    return time.process_time() - spent, time.perf_counter() - seconds


def events(n_users: int, n_items: int, n_events: int) -> Any:
    """A log of random events, popular items first."""
    from recommenders.events.histories import DAY
    from recommenders.events.ids import IdMap
    from recommenders.events.interactions import Interactions

    rng = np.random.default_rng(0)
    times = np.sort(rng.integers(0, 300 * DAY, n_events))
    columns = (n_items * rng.random(n_events) ** 2).astype(np.int32)
    ones = np.ones(n_events, np.float32)
    ids = (IdMap(np.array([f"{i:06}" for i in range(n)])) for n in (n_users, n_items))
    arrays = (rng.integers(0, n_users, n_events).astype(np.int32), columns, times, ones, ones)
    return Interactions(*ids, *arrays, available=np.ones(n_items, np.bool_), repeat=True, horizon_days=30.0)


def neumf_training(quick: bool) -> Callable[[], Any]:
    """Fits NeuMF for two epochs, each with a validation."""
    from recommenders.models.networks.neural_collaborative.config import NeuralCollaborativeConfig
    from recommenders.models.networks.neural_collaborative.model import NeuralCollaborative

    config = NeuralCollaborativeConfig(epochs=2)
    NeuralCollaborative(config).fit(events(50, 50, 500))  # compiles what is compiled on first use
    log = events(100, 100, 1000) if quick else events(1500, 1500, 40_000)
    return lambda: NeuralCollaborative(config).fit(log)


def neumf_scores(quick: bool) -> Callable[[], Any]:
    """Scores of NeuMF for 400 users and 1,500 items."""
    from recommenders.models.networks.neural_collaborative.config import NeuralCollaborativeConfig
    from recommenders.models.networks.neural_collaborative.model import NeuralCollaborative

    model = NeuralCollaborative(NeuralCollaborativeConfig(fixed_epochs=1)).fit(events(1500, 1500, 3000))
    rows = np.arange(20 if quick else 400, dtype=np.int32)
    return lambda: model.score(rows, model.histories_[rows])


def inverse(quick: bool) -> Callable[[], Any]:
    """The inverse of EASE's matrix for 5,000 items."""
    from recommenders.math.gram import invert_in_place

    size = 200 if quick else 5000
    vectors = np.random.default_rng(0).random((size, 64), dtype=np.float32)
    matrix = vectors @ vectors.T
    matrix[np.diag_indices(size)] += 100
    return lambda: invert_in_place(matrix)


def trees(quick: bool) -> Callable[[], Any]:
    """Fits 60 trees on 60,000 examples with 30 features, as the ranker does."""
    from xgboost import QuantileDMatrix, train

    rng, n = np.random.default_rng(0), 600 if quick else 60_000
    features, labels = rng.integers(0, 255, (n, 30)).astype(np.float32), rng.random(n) < 0.1
    data = QuantileDMatrix(features, labels)
    return lambda: train({"objective": "binary:logistic", "max_depth": 5}, data, 60)


JOBS: dict[str, Callable[[bool], Callable[[], Any]]] = {
    "neumf_training": neumf_training,
    "neumf_scores": neumf_scores,
    "inverse": inverse,
    "trees": trees,
}


if __name__ == "__main__":
    main()
