"""Runs trials of a study, in this process or in one of several workers."""

import hashlib
import json
import multiprocessing
import os
import shutil
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from recommenders.errors import UnsuitableError
from recommenders.models.search_space import SearchSpace
from recommenders.training.tuning.objective import Objective
from recommenders.training.tuning.study import REFUSED, SECONDS, SamplerName, make_sampler, open_study, suggest


@dataclass
class Worker:
    """What a trial needs. checkpoints: folder; a network whose trial was interrupted resumes from its checkpoint."""

    objective: Objective
    space: SearchSpace
    storage: str
    study: str
    sampler: SamplerName
    seed: int
    checkpoints: Path

    def run_trial(self, number: int) -> int:
        """Runs one trial and stores its result; returns its number in the study. number: of its random numbers."""
        study = open_study(self.storage, self.study, make_sampler(self.sampler, self.seed, number))
        trial, started = study.ask(), time.perf_counter()
        values = suggest(trial, self.space)
        folder = self.checkpoints / _digest(values)
        try:
            value = self.objective(values, _pruning(trial), folder)
        except optuna.TrialPruned:
            result: dict[str, Any] = {"state": TrialState.PRUNED}
        except UnsuitableError as error:
            trial.set_user_attr(REFUSED, str(error))
            result = {"state": TrialState.FAIL}
        else:
            result = {"values": value}
        trial.set_user_attr(SECONDS, time.perf_counter() - started)
        study.tell(trial, **result)
        shutil.rmtree(folder, ignore_errors=True)
        return trial.number


def _digest(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def _pruning(trial: optuna.Trial) -> Any:
    """A callback that ends a network which is worse than the median of the other trials in the same epoch."""

    def on_epoch(epoch: int, metrics: dict[str, float]) -> bool:
        found = [value for name, value in metrics.items() if name.startswith("validation_")]
        if found:
            trial.report(found[0], epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return False

    return on_epoch


# -- in a worker process

_worker: Worker | None = None


def start(worker: Worker) -> None:
    """Prepares a worker process, which ends with its parent: a trial must not end after it was queued again."""
    global _worker
    _worker = worker
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def run_trial(number: int) -> int:
    """Worker.run_trial() in a worker process."""
    assert _worker is not None
    return _worker.run_trial(number)
