"""What a peer's process is given and what it gives back. Runs under the peer's own Python: numpy and scipy, no more.

FOLDER/log.npz        users, items, weights, timestamps (each (n_pairs,), one row a pair that occurs), n_users, n_items,
                      user_rows (n,) whose lists are wanted, candidates (n_items,) bool; event_users, event_items,
                      event_weights, event_timestamps (each (n_events,), in time order), horizon_days, repeat
FOLDER/request.json   {"version", "threads", "seed", "k", "epochs", "patience", "seconds", "warm",
                      "exclude_known": [bool ...], "jobs": [{"model", "params"}]}
FOLDER/answer-J.npz   of job J: stay and masked, each (n, k) int32 item columns, best first, -1 past the last; figures
FOLDER/figures.json   of each job: fit_cpu, fit_wall, recommend_cpu, recommend_wall (seconds), peak_mb, and more
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from memory import peak_mb
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

Lists = NDArray[np.int32]
EVENTS = ("event_users", "event_items", "event_weights", "event_timestamps")
PAIRS = ("users", "items", "weights", "timestamps")
ARRAYS = (*PAIRS, "user_rows", "candidates", *EVENTS)
SMALL = 3000  # pairs


@dataclass
class Job:
    """One model to fit on the log, and the lists wanted of it."""

    model: str
    params: dict[str, Any]
    users: NDArray[np.int32]
    items: NDArray[np.int32]
    weights: NDArray[np.float32]
    timestamps: NDArray[np.int64]
    shape: tuple[int, int]
    user_rows: NDArray[np.int32]
    candidates: NDArray[np.bool_]
    event_users: NDArray[np.int32]
    event_items: NDArray[np.int32]
    event_weights: NDArray[np.float32]
    event_timestamps: NDArray[np.int64]  # microseconds
    horizon_days: float  # of the window that is asked about; 0 where what comes next is
    repeat: bool  # whether users come back to items they know
    k: int
    exclude_known: tuple[bool, ...]
    threads: int
    seed: int
    epochs: int  # at most, of a network
    patience: int  # validations without a better one after which a network's training ends
    seconds: float  # of the processor that the training of a network may take
    figures: dict[str, Any] = field(default_factory=dict)

    def values(self, kind: str) -> NDArray[np.float32]:
        """(n_pairs,) what a pair counts: `count` as it is, `log` its log(1 + count), `binary` one."""
        if kind == "binary":
            return np.ones_like(self.weights)
        return np.log1p(self.weights) if kind == "log" else self.weights

    def matrix(self, kind: str = "count") -> csr_matrix:
        """(n_users, n_items) float32."""
        return csr_matrix((self.values(kind), (self.users, self.items)), shape=self.shape, dtype=np.float32)

    @property
    def depth(self) -> int:
        """How long a list must be so that k candidates are in it."""
        return min(self.k + int((~self.candidates).sum()), self.shape[1])

    @contextmanager
    def measured(self, what: str) -> Iterator[None]:
        """Adds the processor and wall seconds of a part to the figures."""
        wall, processor = time.perf_counter(), time.process_time()
        yield
        self.add(f"{what}_cpu", time.process_time() - processor)
        self.add(f"{what}_wall", time.perf_counter() - wall)

    def small(self) -> "Job":
        """The same model on the first SMALL pairs of the log, with figures of its own."""
        pairs = slice(SMALL)
        rows = np.unique(self.users[pairs]).astype(np.int32)
        events = np.isin(self.event_users, rows)
        return replace(
            self,
            **{name: getattr(self, name)[pairs] for name in PAIRS},
            **{name: getattr(self, name)[events] for name in EVENTS},
            user_rows=rows,
            figures={},
        )

    def clock(self) -> Callable[[], bool]:
        """A function that says whether the processor seconds of a training, which begin now, are over."""
        started = time.process_time()
        return lambda: time.process_time() - started > self.seconds

    def ended(self, epochs: int, early: bool) -> None:
        """Adds how many epochs a network learned, and whether early stopping ended them."""
        self.add("epochs", epochs)
        self.add("ended_early", float(early))

    def add(self, what: str, value: float) -> None:
        """Sums a figure up."""
        self.figures[what] = self.figures.get(what, 0.0) + value


def first_candidates(ranked: NDArray[Any], job: Job) -> Lists:
    """(n, k): the lists (n, depth) without what may not be recommended; -1 past the last one."""
    wanted = (ranked >= 0) & job.candidates[ranked]
    order = np.argsort(~wanted, axis=1, kind="stable")[:, : job.k]
    chosen = np.where(np.take_along_axis(wanted, order, axis=1), np.take_along_axis(ranked, order, axis=1), -1)
    lists = np.full((len(ranked), job.k), -1, dtype=np.int32)
    lists[:, : chosen.shape[1]] = chosen
    return lists


def top_lists(scores: NDArray[Any], job: Job, known: csr_matrix | None) -> Lists:
    """(n, k) of scores (n, n_items), nan where a model has none; `known` is left out."""
    scores = np.where(np.isnan(scores) | ~job.candidates, -np.inf, scores)
    if known is not None:
        scores[known.nonzero()] = -np.inf
    width = min(job.k, scores.shape[1])
    best = np.argpartition(scores, -width, axis=1)[:, -width:] if width < scores.shape[1] else None
    best = np.broadcast_to(np.arange(scores.shape[1]), scores.shape) if best is None else best
    order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable")
    best = np.take_along_axis(best, order, axis=1)
    found = np.isfinite(np.take_along_axis(scores, best, axis=1))
    return np.where(found, best, -1).astype(np.int32)


def serve(package: str, models: dict[str, Callable[[Job], Callable[[bool], Lists]]]) -> None:
    """Does every job of the folder named on the command line.

    A model is a function that fits (within job.measured("fit")) and returns one that gives the lists, the known items
    left out or not. Ends with a message if the package is of another version than the one that was asked for.
    """
    folder = Path(sys.argv[1])
    request = json.loads((folder / "request.json").read_text())
    if version(package) != request["version"]:
        sys.exit(f"{package}: got {version(package)}, wanted {request['version']}; remove this environment")
    log = np.load(folder / "log.npz")
    figures = []
    for number, wish in enumerate(request["jobs"]):
        job = _job(log, request, wish)
        if request["warm"]:  # libraries are imported, and compiled code is made, before the clock starts
            small = job.small()
            warmed = models[small.model](small)
            for exclude_known in small.exclude_known:
                warmed(exclude_known)
        lists_of = models[job.model](job)
        lists = {}
        for exclude_known in job.exclude_known:
            with job.measured("recommend"):
                lists["masked" if exclude_known else "stay"] = lists_of(exclude_known)
        np.savez(folder / f"answer-{number}.npz", **lists)
        figures.append({**job.figures, "peak_mb": peak_mb()})
    (folder / "figures.json").write_text(json.dumps(figures))


def _job(log: Any, request: dict[str, Any], wish: dict[str, Any]) -> Job:
    arrays = {name: log[name] for name in ARRAYS}
    return Job(
        **arrays,
        **wish,
        horizon_days=float(log["horizon_days"]),
        repeat=bool(log["repeat"]),
        shape=(int(log["n_users"]), int(log["n_items"])),
        k=request["k"],
        exclude_known=tuple(request["exclude_known"]),
        threads=request["threads"],
        seed=request["seed"],
        **{name: request[name] for name in ("epochs", "patience", "seconds")},
    )
