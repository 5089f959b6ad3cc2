"""A study keeps every trial through interruptions, and each once."""

from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from recommenders.models.search_space import Choice, Range
from recommenders.training.tuning.study import (
    REFUSED,
    best_trial,
    enqueue_grid,
    finished,
    make_sampler,
    open_study,
    recover,
    suggest,
)

SPACE = {"reg": Range(low=1.0, high=100.0, log=True), "n": Range(low=1, high=9), "kind": Choice(choices=("a", None))}


def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'below' / 'studies.db'}"


@pytest.fixture
def study(tmp_path: Path) -> optuna.Study:
    return open_study(url(tmp_path), "s")


def waiting(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    return study.get_trials(states=[TrialState.WAITING])


def test_a_running_trial_is_queued_again_with_its_values(study: optuna.Study, tmp_path: Path) -> None:
    values = suggest(study.ask(), SPACE)
    study = open_study(url(tmp_path), "s")  # of the next process
    assert recover(study) == 1
    assert [trial.params for trial in waiting(study)] == [values]
    assert suggest(study.ask(), SPACE) == values
    assert finished(study) == []


def test_an_interrupted_recovery_queues_nothing_twice(study: optuna.Study, monkeypatch: pytest.MonkeyPatch) -> None:
    suggest(study.ask(), SPACE)
    monkeypatch.setattr(study, "tell", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        recover(study)
    monkeypatch.undo()
    recover(study)
    assert len(waiting(study)) == 1
    assert recover(study) == 0


def test_a_trial_that_was_interrupted_twice_is_queued_once(study: optuna.Study) -> None:
    values = suggest(study.ask(), SPACE)
    recover(study)
    study.ask()  # of the queued one
    recover(study)
    assert [trial.params for trial in waiting(study)] == [values]


def test_what_counts_as_finished(study: optuna.Study) -> None:
    study.tell(study.ask(), 0.5)
    pruned, refused, interrupted = study.ask(), study.ask(), study.ask()
    study.tell(pruned, state=TrialState.PRUNED)
    refused.set_user_attr(REFUSED, "too large")
    study.tell(refused, state=TrialState.FAIL)
    study.tell(interrupted, state=TrialState.FAIL)
    assert [trial.number for trial in finished(study)] == [0, 1, 2]
    best = best_trial(study)
    assert best is not None
    assert best.number == 0


def test_the_grid_is_queued_once_in_an_order_of_the_seed(study: optuna.Study) -> None:
    for _ in range(2):
        assert enqueue_grid(study, SPACE, 1, 100) == 3 * 3 * 2
    queued = [trial.system_attrs["fixed_params"] for trial in waiting(study)]
    assert len(queued) == 18
    assert len({str(values) for values in queued}) == 18
    tried = [suggest(study.ask(), SPACE) for _ in range(18)]
    assert sorted(map(str, tried)) == sorted(map(str, queued))


@pytest.mark.parametrize("name", ["bayesian", "random"])
def test_a_sampler_draws_the_same_values_for_a_trial_of_the_same_number(tmp_path: Path, name: str) -> None:
    def drawn(study: str, number: int) -> dict[str, object]:
        sampler = make_sampler(name, 7, number)  # type: ignore[arg-type]
        return suggest(open_study(url(tmp_path), study, sampler).ask(), SPACE)

    first = drawn("a", 0)
    assert drawn("b", 0) == first
    assert drawn("c", 1) != first
    assert 1 <= first["reg"] <= 100  # type: ignore[operator]
    assert isinstance(first["n"], int)
