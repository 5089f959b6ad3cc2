"""The Optuna study of one model: its trials in a database, and what an interruption left unfinished."""

import logging
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.engine import make_url

from recommenders.models.search_space import Choice, SearchSpace, grid_of

SamplerName = Literal["bayesian", "random", "grid"]
SAMPLERS: tuple[SamplerName, ...] = ("bayesian", "random", "grid")
REPEATS = "repeats"  # attribute of a trial: the number of the interrupted trial whose values it tries
REFUSED = "refused"  # attribute of a trial: why the model cannot be fitted with its values
SECONDS = "seconds"  # attribute of a trial
PRESENT = "present value"  # attribute of a study: the metric of the configuration as it is
LOCK_SECONDS = 60  # of waiting for another worker that writes to SQLite
STARTUP_TRIALS = 5  # before a network is compared with the median of the others
WARMUP_EPOCHS = 3  # the first epochs of a network say little
FINAL = (TrialState.COMPLETE, TrialState.PRUNED)


def open_study(url: str, name: str, sampler: optuna.samplers.BaseSampler | None = None) -> optuna.Study:
    """The study of this name in a database; created with the first use. Larger values are better."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    address = make_url(url)
    arguments = {}
    if address.get_backend_name() == "sqlite":
        Path(address.database or "").parent.mkdir(parents=True, exist_ok=True)
        arguments = {"connect_args": {"timeout": LOCK_SECONDS}}
    storage = optuna.storages.RDBStorage(url, engine_kwargs=arguments)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # the median of the other trials in the same epoch
    pruner = optuna.pruners.MedianPruner(STARTUP_TRIALS, n_warmup_steps=WARMUP_EPOCHS)
    return optuna.create_study(
        storage=storage, study_name=name, direction="maximize", load_if_exists=True, sampler=sampler, pruner=pruner
    )


def make_sampler(name: SamplerName, seed: int, number: int) -> optuna.samplers.BaseSampler:
    """The sampler of one trial. number: of the trial; each has random numbers of its own.

    bayesian: tree-structured Parzen estimators (Bergstra et al. 2011). The values of a grid are in the study already
    (enqueue_grid).
    """
    seed = random.Random(f"{seed} {number}").getrandbits(32)
    return optuna.samplers.TPESampler(seed=seed) if name == "bayesian" else optuna.samplers.RandomSampler(seed=seed)


def enqueue_grid(study: optuna.Study, space: SearchSpace, seed: int, n_trials: int) -> int:
    """Adds the combinations of a grid in random order, n_trials at most, each once. Returns the size of the grid."""
    grid = grid_of(space)
    random.Random(seed).shuffle(grid)
    for values in grid[:n_trials]:
        study.enqueue_trial(values, skip_if_exists=True)
    return len(grid)


def suggest(trial: Trial, space: SearchSpace) -> dict[str, Any]:
    """The values of a trial."""
    values: dict[str, Any] = {}
    for key, dimension in space.items():
        if isinstance(dimension, Choice):
            values[key] = trial.suggest_categorical(key, dimension.choices)
        elif dimension.whole:
            values[key] = trial.suggest_int(key, int(dimension.low), int(dimension.high), log=dimension.log)
        else:
            values[key] = trial.suggest_float(key, dimension.low, dimension.high, log=dimension.log)
    return values


def recover(study: optuna.Study) -> int:
    """Queues the trials again that an interruption has left running; returns their number.

    Call it only while no other process runs trials of the study. The new trial is stored before the old one is closed,
    and names it: if this is interrupted too, no trial is lost and none is queued twice.
    """
    trials = study.get_trials(deepcopy=False)
    repeated = {trial.user_attrs.get(REPEATS) for trial in trials}
    interrupted = [trial for trial in trials if trial.state is TrialState.RUNNING]
    for trial in interrupted:
        if trial.number not in repeated:
            study.add_trial(
                optuna.create_trial(
                    state=TrialState.WAITING,
                    params=trial.params,
                    distributions=trial.distributions,
                    user_attrs={REPEATS: trial.number},
                    system_attrs=trial.system_attrs,
                )
            )
        study.tell(trial.number, state=TrialState.FAIL)
    return len(interrupted)


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that ended by themselves: with a value, pruned, or refused by the model."""
    return [
        trial
        for trial in study.get_trials(deepcopy=False)
        if trial.state in FINAL or (trial.state is TrialState.FAIL and REFUSED in trial.user_attrs)
    ]


def best_trial(study: optuna.Study) -> FrozenTrial | None:
    """The trial with the highest value; of equal ones, the first. None if there is none with a value."""
    complete = [trial for trial in finished(study) if trial.state is TrialState.COMPLETE]
    return max(complete, key=lambda trial: trial.value or 0.0, default=None)


def states(trials: Sequence[FrozenTrial]) -> dict[str, int]:
    """How many trials ended in each way."""
    names = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "refused"}
    return {name: sum(trial.state is state for trial in trials) for state, name in names.items()}
