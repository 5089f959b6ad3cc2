"""A peer's environment, made on first use, and questions to it through files."""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommenders.events.interactions import Interactions

# A peer's folder has the name of its library, so HERE must never be on the path of an import. A runner is started by
# its file, so Python searches the peer's own folder first, then PROCESS, which PYTHONPATH names, then the environment.
# And a peer's folder has no __init__.py: Python prefers an installed package to a plain folder of the same name.
HERE = Path(__file__).resolve().parent
PROCESS = HERE / "process"  # the modules that every runner imports
PLACE = HERE.parents[1] / ".bench"  # ignored; TRADEWIND_BENCH names another folder
THREADS = ("OMP", "OPENBLAS", "MKL", "NUMBA", "RAYON", "VECLIB_MAXIMUM", "LK")  # what libraries take theirs from
EPOCHS, STOPPING = 300, 10  # most epochs of a network, and validations without a better one: RecBole's own defaults
Job = Mapping[str, Any]  # {"model", "params"}


class PeerError(RuntimeError):
    """A peer that cannot be installed or that failed."""


@dataclass(frozen=True)
class Answer:
    """Lists of one job, (n_users, k) item columns, -1 past the last: known items left in, and left out."""

    stay: NDArray[np.int32] | None
    masked: NDArray[np.int32] | None
    figures: dict[str, Any]


def place() -> Path:
    """The folder of everything that benchmarks keep."""
    return Path(os.environ.get("TRADEWIND_BENCH", PLACE)).resolve()


def requirements(peer: str) -> Path:
    """The file of everything in a peer's environment."""
    return HERE / peer / "requirements.txt"


def pinned(peer: str) -> str:
    """The version of a peer that its requirements name."""
    pins = requirements(peer).read_text().splitlines()
    return next(line.partition("==")[2] for line in pins if line.startswith(f"{peer}=="))


def python_of(peer: str) -> Path:
    """The Python of a peer's environment, which is made if it is not there as pinned. Raises PeerError."""
    wanted = requirements(peer)
    folder = place() / "peers" / peer
    python, stamp = folder / "bin" / "python", folder / "installed"
    key = hashlib.sha256(wanted.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == key:
        return python
    print(f"installing {peer} {pinned(peer)} into {folder} ...", file=sys.stderr, flush=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([sys.executable, "-m", "venv", "--clear", str(folder)], peer)
    index = os.environ.get("TORCH_INDEX")  # as in scripts/install.sh: where torch without CUDA comes from
    torch = next((line for line in wanted.read_text().splitlines() if line.startswith("torch==")), None)
    if index and torch:
        _run([*pip, torch, "--index-url", index], peer)
    _run([*pip, "-r", str(wanted)], peer)
    stamp.write_text(key)
    return python


def _run(command: list[str], peer: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = next((line for line in done.stderr.splitlines() if line.startswith("ERROR")), done.stderr[-300:])
        raise PeerError(f"{peer} cannot be installed: {' '.join(reason.split())}; check the network, then run again")


def sources(peer: str) -> list[str]:
    """The texts that a peer's answers depend on: its runner, what the runner imports, its pins."""
    files = [PROCESS / "task.py", *sorted((HERE / peer).glob("*.py")), requirements(peer)]
    return [path.read_text() for path in files]


def environment(threads: int) -> dict[str, str]:
    """This process's environment with the number of threads set for whatever library looks."""
    counts = {f"{name}_NUM_THREADS": str(threads) for name in THREADS}
    # threads that wait sleep: on a busy machine they would burn the processor seconds that are counted
    return {**os.environ, **counts, "OMP_WAIT_POLICY": "PASSIVE", "PYTHONWARNINGS": "ignore"}


def ask(
    peer: str,
    log: Interactions,
    user_rows: NDArray[np.int32],
    jobs: Sequence[Job],
    k: int = 10,
    exclude_known: Sequence[bool] = (False,),
    threads: int = 2,
    seed: int = 42,
    timeout: float = 1800.0,
    warm: bool = False,
    seconds: float = float("inf"),
) -> list[Answer]:
    """The answers of a peer, a job each, all done by one process. Raises PeerError.

    seconds: of the processor, after which the training of a network is ended. warm: whether each model learns a small
    log first, so that the figures of time do not hold imports and compilation.
    """
    python = python_of(peer)
    request = {"version": pinned(peer), "threads": threads, "seed": seed, "k": k, "jobs": list(jobs)}
    request |= {"seconds": seconds, "epochs": EPOCHS, "patience": STOPPING, "warm": warm}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "request.json").write_text(json.dumps({**request, "exclude_known": list(exclude_known)}))
        np.savez(folder / "log.npz", **pairs_of(log), **events_of(log), user_rows=user_rows, candidates=log.available)
        command = [str(python), str(HERE / peer / "run.py"), name]
        try:
            done = subprocess.run(
                command,
                env={**environment(threads), "PYTHONPATH": str(PROCESS)},
                cwd=name,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise PeerError(f"{peer}: took more than {timeout:.0f} s; ask it for less") from error
        if done.returncode:
            raise PeerError(f"{peer} ended with {done.returncode}: {' '.join(done.stderr.split())[-500:]}")
        figures = json.loads((folder / "figures.json").read_text())
        return [_answer(folder / f"answer-{number}.npz", found) for number, found in enumerate(figures)]


def _answer(path: Path, figures: dict[str, Any]) -> Answer:
    lists = np.load(path)
    return Answer(*(lists.get(name) for name in ("stay", "masked")), figures)


def pairs_of(log: Interactions) -> dict[str, Any]:
    """One row a pair that occurs: summed weight and the newest time stamp, by row and column."""
    keys = log.user_rows.astype(np.int64) * len(log.items) + log.item_columns
    found, places = np.unique(keys, return_inverse=True)
    newest = np.zeros(len(found), dtype=np.int64)
    np.maximum.at(newest, places, log.timestamps)
    return {
        "users": (found // len(log.items)).astype(np.int32),
        "items": (found % len(log.items)).astype(np.int32),
        "weights": np.bincount(places, log.weights, minlength=len(found)).astype(np.float32),
        "timestamps": newest,
        "n_users": len(log.users),
        "n_items": len(log.items),
    }


def events_of(log: Interactions) -> dict[str, Any]:
    """Each event in time order, for models that read sequences or learn from earlier windows; and what is asked.

    horizon_days: length of the window that is asked about, 0 where what comes next is; repeat: whether users come back
    to items they know.
    """
    return {
        "event_users": log.user_rows,
        "event_items": log.item_columns,
        "event_weights": log.weights,
        "event_timestamps": log.timestamps,
        "horizon_days": log.horizon_days or 0.0,
        "repeat": log.repeat,
    }
