"""Each peer's settings for a data set: the best of its trials on the window before the test, within one budget.

Half of the budget goes to where a search begins: the library's defaults, what was best before, places of the grid drawn
by lot. Each of the others is a step from the best so far, of one view after the other, so that a search goes on to
where the settings get better. Every trial is written to trials.jsonl when it ends: a cut search goes on where it was.

The window is judged like the test; where buyers come back, the best settings of each view are kept apart, so that a
peer is seen at its best in each.
"""

import json
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from measuring.benchmark_tasks import BenchmarkTask, benchmark_task
from measuring.disk_cache import key_of

from peers.environments import EPOCHS, Answer, PeerError, ask, python_of, sources
from peers.tuning.chosen_settings import ended_by, grid_of, limits_of, peers_of, settings, write
from peers.tuning.spaces import (
    BUDGET,
    DEFAULTS,
    GRIDS,
    NETWORKS,
    PEERS,
    UNTUNED,
    Budget,
    Params,
    at_edge,
    neighbours,
    params_at,
    place_of,
    scattered,
)
from recommenders.metrics import ranking
from recommenders.metrics.ranking import K

TRIED = Path(__file__).with_name("trials.jsonl")
PATIENCE = 900.0  # seconds a trial may take; one that takes longer counts as tried, and as the worst


class OutOfTime(RuntimeError):
    """The minutes of a tuning are over; what it has tried is kept."""


class Trial(NamedTuple):
    """Settings and the NDCG@10 they reached, view by view; nothing where the peer could not."""

    params: Params
    reached: dict[str, float]
    seconds: float
    epochs: int | None = None  # of a network
    ended_early: bool = False  # whether early stopping ended its training, not the seconds or the most epochs


def trials() -> list[dict[str, Any]]:
    """Every trial: {"data_set", "peer", "of", "params", "facts"}. of: all that the facts depend on but the params."""
    return [json.loads(line) for line in TRIED.read_text().splitlines()] if TRIED.exists() else []


def tune(name: str, peers: Sequence[str] = (), threads: int = 2, until: float = float("inf")) -> None:
    """Tunes peers on a data set's validation window; settings.json is written after each.

    A peer whose settings come from today's grid, version and data is left as it is. until: the moment, of
    time.monotonic(), past which no trial begins; then OutOfTime is raised.
    """
    task = benchmark_task(name, validation=True)
    fixed = () if np.ptp(task.log.weights) else ("values",)  # counts that are all 1: every form of them is alike
    for peer in peers_of(task.protocol.split, peers):
        if peer in UNTUNED:
            print(f"{name} {peer}: keeps its defaults; {UNTUNED[peer]}", flush=True)
            continue
        of = {"grid": grid_of(peer), "data": task.version}
        before = settings().get(name, {}).get(peer, {})
        if all(before.get(part) == value for part, value in of.items()):
            print(f"{name} {peer}: tuned already", flush=True)
            continue
        try:
            starts, measure = _starts(peer, before), _measure(peer, task, threads, until)
            edges = {view: best["at_edge"] for view, best in before.get("views", {}).items()}
            tried = search(peer, list(task.views), starts, measure, BUDGET, fixed, _done(peer, task), edges)
            found = best_of(peer, tried) | of
        except PeerError as error:
            print(f"{name} {peer}: not tuned. {error}", flush=True)
            continue
        everything = settings()
        everything.setdefault(name, {})[peer] = found
        write(everything)


def search(
    peer: str,
    views: Sequence[str],
    starts: Iterable[Params],
    measure: Callable[[Params], Trial],
    budget: Budget = BUDGET,
    fixed: Collection[str] = (),
    done: Iterable[Trial] = (),
    edges: Mapping[str, Collection[str]] | None = None,
) -> list[Trial]:
    """Trials of different settings within the budget; the same ones every time, as far as they take the same seconds.

    fixed: axes along which no step is worth a trial. done: trials of an earlier search, which goes on. edges: view ->
    axes on whose edge that one ended; once widened, they are followed beyond the budget until it gets no better.
    """
    tried = list(done)

    def within(part: float) -> bool:
        spent = sum(trial.seconds for trial in tried)
        return len(tried) < part * budget.trials and spent < part * budget.seconds

    for params in (*starts, *(params_at(peer, point) for point in scattered(peer, budget.trials))):
        if within(1 / 2) and all(params != trial.params for trial in tried):
            tried.append(measure(params))
    while within(1):
        step = next_step(peer, tried, views[len(tried) % len(views)], fixed)
        if step is None:
            break
        tried.append(measure(step))
    for view, axes in (edges or {}).items():
        others = {*GRIDS[peer], *fixed} - {axis for axis in axes if axis not in fixed}
        while axes and (step := next_step(peer, tried, view, others, of_best=True)) is not None:
            tried.append(measure(step))
    return tried


def next_step(
    peer: str, tried: Sequence[Trial], view: str, fixed: Collection[str] = (), of_best: bool = False
) -> Params | None:
    """Settings not tried yet, a step away from the best of a view, or from the next best where all those were tried.

    of_best: whether the best alone is left. None where there are no such settings.
    """
    rng = np.random.default_rng(len(tried))
    known = [trial.params for trial in tried]
    best_first = sorted(tried, key=lambda trial: -trial.reached.get(view, -1.0))
    for trial in best_first[: 1 if of_best else None]:
        point = place_of(peer, trial.params)
        around = [] if point is None else [params_at(peer, other) for other in neighbours(peer, point, fixed)]
        new = [params for params in around if params not in known]
        if new:
            return new[rng.integers(len(new))]
    return None


def best_of(peer: str, tried: Sequence[Trial]) -> dict[str, Any]:
    """{"tried", "failed", "seconds", "views": view -> {"params", "validation", "at_edge"}}.

    Of a network also its epochs and what ended its training; all epochs used up is an edge, too. Raises
    PeerError where no trial succeeded.
    """
    succeeded = [trial for trial in tried if trial.reached]
    if not succeeded:
        raise PeerError(f"{peer}: none of {len(tried)} settings could be tried; see the messages above")
    views = {}
    for view in succeeded[0].reached:
        best = max(succeeded, key=lambda trial: trial.reached[view])
        edges = at_edge(peer, best.params)
        views[view] = {"params": best.params, "validation": round(best.reached[view], 4), "at_edge": edges}
        if best.epochs is not None:
            ended = ended_by({"epochs": best.epochs, "ended_early": best.ended_early})
            more = ["epochs"] * (best.epochs >= EPOCHS)
            views[view] |= {"epochs": best.epochs, "ended_by": ended, "at_edge": edges + more}
    seconds = round(sum(trial.seconds for trial in tried))
    return {"tried": len(tried), "failed": len(tried) - len(succeeded), "seconds": seconds, "views": views}


def _starts(peer: str, before: dict[str, Any]) -> list[Params]:
    """The library's defaults, and what was best before where it is still of the grid."""
    best = [facts["params"] for facts in before.get("views", {}).values()]
    return [DEFAULTS[peer], *(params for params in best if place_of(peer, params) is not None)]


def _of(peer: str, task: BenchmarkTask) -> str:
    """All that a trial's facts depend on but its settings."""
    return key_of("trial", peer, task.key, sources(PEERS[peer][0]), limits_of(peer))


def _key(params: Params) -> str:
    return key_of(sorted(params.items()))


def _done(peer: str, task: BenchmarkTask) -> list[Trial]:
    """The peer's trials on that task so far."""
    of = _of(peer, task)
    return [Trial(line["params"], **line["facts"]) for line in trials() if line["of"] == of]


def _measure(peer: str, task: BenchmarkTask, threads: int, until: float = float("inf")) -> Callable[[Params], Trial]:
    """A function that tries settings, or remembers them; it raises OutOfTime where a trial would begin past `until`.

    Raises PeerError if the peer cannot be installed.
    """
    environment, model = PEERS[peer]
    python_of(environment)

    def run(params: Params) -> dict[str, Any]:
        job = {"model": model, "params": params}
        wanted = exclusions(task)
        given = (task.log, task.case.user_rows, [job], K, wanted, threads)
        (answer,) = ask(environment, *given, timeout=PATIENCE, seconds=NETWORKS.get(peer, float("inf")))
        facts: dict[str, Any] = {"reached": _reached(task, answer)}
        if "epochs" in answer.figures:
            facts["epochs"] = int(answer.figures["epochs"])
            facts["ended_early"] = bool(answer.figures["ended_early"])
        return facts

    of, known = _of(peer, task), {_key(trial.params): trial for trial in _done(peer, task)}

    def measure(params: Params) -> Trial:
        if _key(params) in known:
            return known[_key(params)]
        if time.monotonic() > until:
            raise OutOfTime(f"{task.name} {peer}: the minutes are over; give the command again to go on")
        started = time.perf_counter()
        try:
            facts = run(params) | {"seconds": time.perf_counter() - started}
        except PeerError as error:  # not kept: it may have been the machine's fault
            print(f"{task.name} {peer} {params}: failed. {error}", flush=True)
            return Trial(params, {}, time.perf_counter() - started)
        with TRIED.open("a") as file:
            line = {"data_set": task.name, "peer": peer, "of": of, "params": params, "facts": facts}
            file.write(json.dumps(line) + "\n")
        trial = known[_key(params)] = Trial(params, **facts)
        reached = {view: round(value, 4) for view, value in trial.reached.items()}
        print(f"{task.name} {peer} {params}: {reached} in {trial.seconds:.0f} s", flush=True)
        return trial

    return measure


def _reached(task: BenchmarkTask, answer: Answer) -> dict[str, float]:
    return {
        name: float(np.nanmean(ranking.ndcg(lists_of(answer, view.exclude_known), view.relevant)))
        for name, view in task.views.items()
    }


def exclusions(task: BenchmarkTask) -> list[bool]:
    """Whether known items are left out, in every way that a view of the task wants it."""
    return sorted({view.exclude_known for view in task.views.values()})


def lists_of(answer: Answer, exclude_known: bool) -> Any:
    """The lists of an answer that a view asks for."""
    lists = answer.masked if exclude_known else answer.stay
    assert lists is not None
    return lists
