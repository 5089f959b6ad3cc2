"""What threads cost on a busy machine: our settings against the libraries' defaults, alone and beside busy processes.

    python benchmarks/threads.py [--only JOB ...] [--beside N ...] [--quick] [--json]

Each job runs in a process of its own, under both settings in turn: once as the machine is, and once beside as many
processes that only count as there are cores. Processor seconds of all threads say what the job took from the machine,
and how long it took follows from the share it got. The load beside each row says how busy the machine was besides.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import recommenders  # noqa: F401  (its settings of threads, which libraries read when they are loaded)

SETTINGS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "OMP_WAIT_POLICY")
DEFAULTS = "defaults"  # the last argument of a job without them
if sys.argv[-1] == DEFAULTS:
    for setting in SETTINGS:
        os.environ.pop(setting, None)

import numpy as np  # noqa: E402
from measuring.table import HEAD, arguments, finish, row, show  # noqa: E402


def main() -> None:
    """Prints a table, and with --json one last line."""
    if sys.argv[1:2] == ["--job"]:
        print(json.dumps(measured(JOBS[sys.argv[2]](sys.argv[3] == "quick"))))
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
                ours, theirs = asked(job, options.quick, plain=False), asked(job, options.quick, plain=True)
            what = f"{job}, beside {beside} busy processes"
            note = f"{ours[1]:.1f} s against {theirs[1]:.1f} s, load {os.getloadavg()[0]:.0f}"
            rows.append(
                row(what, "processor seconds", ours[0], ("defaults", theirs[0]), lower_is_better=True, note=note)
            )
            show(rows[-1])
    finish("threads", rows, started, options.as_json, {})


def asked(job: str, quick: bool, plain: bool) -> tuple[float, float]:
    """Processor seconds and seconds of a job in a process of its own; plain: with the libraries' defaults."""
    clean = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    command = [sys.executable, __file__, "--job", job, "quick" if quick else "whole", DEFAULTS if plain else "ours"]
    done = subprocess.run(command, env=clean, check=True, stdout=subprocess.PIPE, text=True)
    spent, seconds = json.loads(done.stdout.splitlines()[-1])
    return spent, seconds


@contextmanager
def busy(n: int) -> Iterator[None]:
    """Beside n processes that take all the time they get."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def measured(job: Callable[[], Any]) -> tuple[float, float]:
    """Processor seconds of all threads, and seconds."""
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
    """Two epochs, each validated."""
    from recommenders.models.networks.neural_collaborative.config import NeuralCollaborativeConfig
    from recommenders.models.networks.neural_collaborative.model import NeuralCollaborative

    config = NeuralCollaborativeConfig(epochs=2)
    NeuralCollaborative(config).fit(events(50, 50, 500))  # what is compiled is compiled
    log = events(100, 100, 1000) if quick else events(1500, 1500, 40_000)
    return lambda: NeuralCollaborative(config).fit(log)


def neumf_scores(quick: bool) -> Callable[[], Any]:
    """Of 400 users and 1,500 items."""
    from recommenders.models.networks.neural_collaborative.config import NeuralCollaborativeConfig
    from recommenders.models.networks.neural_collaborative.model import NeuralCollaborative

    model = NeuralCollaborative(NeuralCollaborativeConfig(fixed_epochs=1)).fit(events(1500, 1500, 3000))
    rows = np.arange(20 if quick else 400, dtype=np.int32)
    return lambda: model.score(rows, model.histories_[rows])


def inverse(quick: bool) -> Callable[[], Any]:
    """Of EASE's matrix of 5,000 items."""
    from recommenders.math.gram import inverted

    size = 200 if quick else 5000
    vectors = np.random.default_rng(0).random((size, 64), dtype=np.float32)
    matrix = vectors @ vectors.T
    matrix[np.diag_indices(size)] += 100
    return lambda: inverted(matrix)


def trees(quick: bool) -> Callable[[], Any]:
    """60 trees on 60,000 examples of 30 features, as the ranker grows them."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    rng, n = np.random.default_rng(0), 600 if quick else 60_000
    features, labels = rng.integers(0, 255, (n, 30)).astype(np.float32), rng.random(n) < 0.1
    grown = HistGradientBoostingClassifier(max_iter=60, max_depth=5, max_leaf_nodes=32, early_stopping=False)
    return lambda: grown.fit(features, labels)


JOBS: dict[str, Callable[[bool], Callable[[], Any]]] = {
    "neumf_training": neumf_training,
    "neumf_scores": neumf_scores,
    "inverse": inverse,
    "trees": trees,
}


if __name__ == "__main__":
    main()
