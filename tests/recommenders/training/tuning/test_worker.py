"""A trial ends with a value, pruned, or refused; what a crash leaves is not a result."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from recommenders.errors import UnsuitableError
from recommenders.models.search_space import Range
from recommenders.training.tuning.study import REFUSED, STARTUP_TRIALS, WARMUP_EPOCHS, finished, open_study
from recommenders.training.tuning.worker import Worker

SPACE = {"reg": Range(low=1.0, high=2.0)}


@pytest.fixture
def worker(tmp_path: Path) -> Callable[[Any], Worker]:
    return lambda objective: Worker(
        objective, SPACE, f"sqlite:///{tmp_path / 's.db'}", "s", "random", 1, tmp_path / "checkpoints"
    )


def test_a_value_is_stored_and_the_checkpoints_go(worker: Callable[[Any], Worker], tmp_path: Path) -> None:
    folders = []

    def objective(values: Mapping[str, Any], _: Any, checkpoints: Path) -> float:
        checkpoints.mkdir(parents=True)
        folders.append(checkpoints)
        return float(values["reg"])

    one = worker(objective)
    assert [one.run_trial(number) for number in range(3)] == [0, 1, 2]
    trials = finished(open_study(one.storage, one.study))
    assert [trial.value for trial in trials] == [trial.params["reg"] for trial in trials]
    assert len(set(folders)) == 3  # one for each set of values
    assert not any(folder.exists() for folder in folders)


def test_a_refused_trial_is_kept_with_its_reason(worker: Callable[[Any], Worker]) -> None:
    def objective(*_: Any) -> float:
        raise UnsuitableError("too large")

    one = worker(objective)
    one.run_trial(0)
    (trial,) = finished(open_study(one.storage, one.study))
    assert (trial.state, trial.user_attrs[REFUSED]) == (TrialState.FAIL, "too large")


def test_an_unexpected_error_leaves_the_trial_for_the_next_process(worker: Callable[[Any], Worker]) -> None:
    def objective(*_: Any) -> float:
        raise ZeroDivisionError

    one = worker(objective)
    with pytest.raises(ZeroDivisionError):
        one.run_trial(0)
    study = open_study(one.storage, one.study)
    assert finished(study) == []
    assert study.trials[0].state is TrialState.RUNNING


def test_a_network_below_the_median_of_the_others_is_pruned(worker: Callable[[Any], Worker]) -> None:
    quality = iter([0.5] * STARTUP_TRIALS + [0.1])

    def objective(_: Any, on_epoch: Callable[[int, dict[str, float]], bool], __: Path) -> float:
        value = next(quality)
        for epoch in range(1, 5):
            assert not on_epoch(epoch, {"loss": 9.0, "validation_ndcg@10": value})
        return value

    one = worker(objective)
    for number in range(STARTUP_TRIALS + 1):
        one.run_trial(number)
    *others, last = finished(open_study(one.storage, one.study))
    assert {trial.state for trial in others} == {TrialState.COMPLETE}
    assert last.state is TrialState.PRUNED
    assert list(last.intermediate_values) == [1, 2, WARMUP_EPOCHS]
