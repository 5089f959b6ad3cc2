"""Tunes the settings of a model: runs the trials of a study until there are enough, and returns the best values."""

import hashlib
import itertools
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from recommenders.errors import ConfigurationError, TradewindError, choices
from recommenders.evaluation.window_task import WindowTask
from recommenders.metrics.ranking import PRIMARY_METRIC
from recommenders.models.all_models import ENSEMBLES
from recommenders.models.search_space import grid_of
from recommenders.storage.locks import locked
from recommenders.training.code_fingerprint import code_fingerprint
from recommenders.training.configuration import TrainingConfig
from recommenders.training.tuning import study as studies
from recommenders.training.tuning import worker as workers
from recommenders.training.tuning.objective import Objective, parse_metric
from recommenders.training.tuning.spaces import space_of, with_values
from recommenders.training.tuning.study import PRESENT, SAMPLERS, SamplerName
from recommenders.training.tuning.worker import Worker

OnTrial = Callable[[optuna.Study, FrozenTrial], None]


@dataclass(frozen=True)
class Budget:
    """How a model is tuned. minutes: after which no trial begins; None: no limit. Raises ConfigurationError."""

    sampler: SamplerName = "bayesian"
    trials: int = 30
    minutes: float | None = None
    metric: str = PRIMARY_METRIC
    workers: int = 1
    seed: int = 42

    def __post_init__(self) -> None:
        if self.sampler not in SAMPLERS:
            raise ConfigurationError(f"sampler: got {self.sampler!r}; {choices(self.sampler, SAMPLERS)}")
        for name, value in (("trials", self.trials), ("workers", self.workers)):
            if value < 1:
                raise ConfigurationError(f"{name}: got {value}; allowed: 1 or more")
        if self.minutes is not None and not self.minutes > 0:
            raise ConfigurationError(f"minutes: got {self.minutes}; allowed: above 0")
        parse_metric(self.metric)


@dataclass(frozen=True)
class Tuned:
    """The result of a study.

    present: the metric of the configuration as it is. best: the metric of the best trial, with its values. Both are
    means over the users of the validation window. values is empty, and best the present metric, if no trial is better.
    """

    model: str
    study: str
    metric: str
    n_users: int
    present: float
    best: float
    values: Mapping[str, Any]
    trials: Mapping[str, int]  # how many ended in each way
    refusals: tuple[str, ...]  # why the model refused values, each reason once
    seconds: float  # of all trials together

    def apply(self, config: TrainingConfig) -> TrainingConfig:
        """The configuration with the best values."""
        return with_values(config, self.model, self.values)

    def to_json(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return asdict(self)


def tune(
    model: str,
    config: TrainingConfig,
    window: WindowTask,
    data_version: str,
    budget: Budget,
    storage: str,
    folder: Path,
    on_trial: OnTrial = lambda study, trial: None,
) -> Tuned:
    """Runs trials until the study of this model has as many as the budget asks for; an interrupted study continues.

    window: the task of the validation window. data_version: of its data set. storage: address of the database of the
    studies. folder: for locks and checkpoints. on_trial: called after each trial. Raises ConfigurationError for a wrong
    budget, or if another process tunes the model now; UnsuitableError if it cannot be fitted on this log.
    """
    space = space_of(config, model)
    threads = max(1, (os.cpu_count() or 1) // budget.workers) if budget.workers > 1 else None
    objective = Objective(model, config, window, budget.metric, threads)
    name = study_name(model, config, f"{data_version} {window.task.description}", budget)
    worker = Worker(objective, space, storage, name, budget.sampler, budget.seed, folder / "checkpoints" / model)
    busy = f"{model} is tuned by another process already; wait until it has ended"
    with locked(folder / f"{model}.lock", busy):
        study = studies.open_study(storage, name)
        studies.recover(study)
        if PRESENT not in study.user_attrs:
            study.set_user_attr(PRESENT, objective({}))
        if budget.sampler == "grid":
            studies.enqueue_grid(study, space, budget.seed, budget.trials)
            budget = _limited(budget, len(grid_of(space)))
        for number in _run(worker, study, budget):
            on_trial(study, study.trials[number])
        return tuned(model, study, budget, len(window.task.user_ids))


def study_name(model: str, config: TrainingConfig, task: str, budget: Budget) -> str:
    """The name of a study. All that changes the value of a trial is part of it, so a study compares only like values.

    task: data version and evaluation task. A change of data, code, settings, search space, metric or seed starts
    another study; a larger budget does not.
    """
    sections = [model] if model not in ENSEMBLES else config.enabled()
    settings = {name: config.fit_config(name).model_dump_json() for name in sections}
    space = {key: dimension.model_dump() for key, dimension in space_of(config, model).items()}
    inputs = [task, code_fingerprint(), settings, space, budget.metric, budget.sampler, budget.seed]
    digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:12]
    return f"{model} {budget.sampler} {budget.metric} {digest}"


def _limited(budget: Budget, n_trials: int) -> Budget:
    return replace(budget, trials=min(budget.trials, n_trials))


def _run(worker: Worker, study: optuna.Study, budget: Budget) -> Iterator[int]:
    """Runs the trials that are missing; yields the number of each one when it has ended."""
    deadline = time.monotonic() + 60 * (budget.minutes or float("inf"))
    known, missing = len(study.get_trials(deepcopy=False)), budget.trials - len(studies.finished(study))
    numbers = iter(range(known, known + missing))
    in_time = itertools.takewhile(lambda _: time.monotonic() < deadline, numbers)
    if budget.workers == 1:
        yield from map(worker.run_trial, in_time)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy threads of the libraries in any state
    with ProcessPoolExecutor(budget.workers, context, workers.start, (worker,)) as pool:
        try:
            yield from _in_pool(pool, in_time, budget.workers)
        except BrokenProcessPool:
            raise TradewindError(
                f"a worker that tuned {worker.objective.model} was killed; its trial is kept: start the same tuning "
                "again, with fewer workers if memory was short"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _in_pool(pool: Executor, numbers: Iterator[int], n_workers: int) -> Iterator[int]:
    """Keeps each worker busy with one trial; no trial waits in a queue, so the deadline holds for each."""
    running: set[Future[int]] = set()
    for number in itertools.islice(numbers, n_workers):
        running.add(pool.submit(workers.run_trial, number))
    while running:
        ended, running = wait(running, return_when=FIRST_COMPLETED)
        running |= {pool.submit(workers.run_trial, number) for number in itertools.islice(numbers, len(ended))}
        yield from (future.result() for future in ended)


def tuned(model: str, study: optuna.Study, budget: Budget, n_users: int) -> Tuned:
    """The result of the trials so far."""
    trials, best, present = studies.finished(study), studies.best_trial(study), float(study.user_attrs[PRESENT])
    refusals = [trial.user_attrs[studies.REFUSED] for trial in trials if studies.REFUSED in trial.user_attrs]
    is_better = best is not None and best.value is not None and best.value > present
    return Tuned(
        model,
        study.study_name,
        budget.metric,
        n_users,
        present,
        float(best.value) if best and best.value and is_better else present,
        dict(best.params) if best and is_better else {},
        studies.states(trials),
        tuple(dict.fromkeys(refusals)),
        sum(trial.user_attrs.get(studies.SECONDS, 0.0) for trial in trials),
    )
