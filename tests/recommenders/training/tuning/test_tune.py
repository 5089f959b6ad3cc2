"""A tuning runs as many trials as its budget asks for, whatever interrupts it, and sees no event of the test window."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from recommenders.errors import ConfigurationError, UnsuitableError
from recommenders.evaluation.window_task import WindowTask
from recommenders.storage.locks import locked
from recommenders.training.configuration import TrainingConfig
from recommenders.training.tuning.plots import plots
from recommenders.training.tuning.study import finished, open_study
from recommenders.training.tuning.tune import Budget, Tuned, tune

CONFIG = TrainingConfig.model_validate({"models": {"ease": {"reg": 1000.0}}})
KILLED = """
import pickle, sys
from pathlib import Path
from recommenders.training.configuration import TrainingConfig
from recommenders.training.tuning.tune import Budget, tune
if __name__ == "__main__":
    folder = Path(sys.argv[1])
    window = pickle.loads((folder / "window.pkl").read_bytes())
    budget = Budget("random", 12, workers=int(sys.argv[2]))
    tune("ease", TrainingConfig(), window, "1", budget, f"sqlite:///{folder / 's.db'}", folder,
         lambda study, trial: print(trial.number, flush=True))
"""


@pytest.fixture
def run(window: WindowTask, tmp_path: Path) -> Callable[..., tuple[Tuned, list[FrozenTrial]]]:
    """Tunes in a folder of its own; returns the result and the trials of this call."""

    def run(
        model: str = "ease", config: TrainingConfig = CONFIG, task: WindowTask = window, **budget: Any
    ) -> tuple[Tuned, list[FrozenTrial]]:
        seen: list[FrozenTrial] = []
        url = f"sqlite:///{tmp_path / 's.db'}"
        found = tune(model, config, task, "1", Budget(**budget), url, tmp_path, lambda _, trial: seen.append(trial))
        return found, seen

    return run


@pytest.fixture
def study(tmp_path: Path) -> Callable[[Tuned], optuna.Study]:
    return lambda found: open_study(f"sqlite:///{tmp_path / 's.db'}", found.study)


def test_a_larger_budget_continues_the_study(run: Callable[..., Any], study: Callable[[Tuned], optuna.Study]) -> None:
    first, trials = run(sampler="random", trials=4)
    assert len(trials) == 4
    assert first.best >= max(trial.value for trial in trials)
    second, more = run(sampler="random", trials=6)
    assert (second.study, len(more)) == (first.study, 2)
    assert second.best >= first.best
    assert second.present == first.present
    assert len(finished(study(second))) == 6
    assert run(sampler="random", trials=6)[1] == []
    other, again = run(sampler="random", trials=6, seed=1)
    assert other.study != first.study
    assert len(again) == 6
    assert set(plots(study(second), "ndcg@10")) == {"history", "importance", "slices"}
    assert all(png.startswith(b"\x89PNG") for png in plots(study(second), "ndcg@10").values())


def test_the_best_values_have_the_best_metric(run: Callable[..., Any]) -> None:
    """The present regularisation of 1,000 is too strong for this market; the best values are applied as found."""
    found, _ = run(sampler="random", trials=8)
    assert found.best > found.present
    again, _ = run(config=found.apply(CONFIG), sampler="random", trials=1)
    assert again.present == pytest.approx(found.best)


def test_no_better_values_leave_the_configuration(run: Callable[..., Any]) -> None:
    space = {"reg": {"low": 900_000.0, "high": 1_000_000.0}}
    config = TrainingConfig.model_validate({"models": {"ease": {"reg": 10.0}}, "tuning": {"spaces": {"ease": space}}})
    found, _ = run(config=config, trials=2)
    assert (found.best, dict(found.values)) == (found.present, {})
    assert found.apply(config).recipe() == config.recipe()


def test_a_grid_ends_with_its_last_combination(run: Callable[..., Any]) -> None:
    space = {"reg": {"low": 1.0, "high": 100.0, "log": True}, "values": {"choices": ["log", "binary"]}}
    config = TrainingConfig.model_validate({"tuning": {"spaces": {"ease": space}}})
    _, trials = run(config=config, sampler="grid", trials=50)
    tried = {(trial.params["reg"], trial.params["values"]) for trial in trials}
    assert tried == {(reg, values) for reg in (1.0, 10.0, 100.0) for values in ("log", "binary")}
    assert len(trials) == 6


def test_the_test_window_does_not_count(
    run: Callable[..., Any], window: WindowTask, window_of_other_test: WindowTask
) -> None:
    first, _ = run(sampler="random", trials=2)
    second, _ = run(task=window_of_other_test, sampler="random", trials=2)
    assert (first.present, first.best) == (second.present, second.best)
    assert window.log.timestamps.max() == window_of_other_test.log.timestamps.max()


def test_weights_of_a_hybrid_are_tuned_over_base_models_that_are_fitted_once(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from recommenders.training.tuning import objective

    fitted = []
    fit = objective.fit_base_model
    monkeypatch.setattr(objective, "fit_base_model", lambda name, *rest: fitted.append(name) or fit(name, *rest))
    weights = {"content_based": 0.5, "collaborative_filtering": 0.5}
    space = {f"model_weights.{name}": {"low": 0.0, "high": 1.0} for name in weights}
    config = TrainingConfig.model_validate(
        {"models": {"hybrid": {"model_weights": weights}}, "tuning": {"spaces": {"hybrid": space}}}
    )
    found, trials = run("hybrid", config, sampler="random", trials=3)
    assert sorted(fitted) == ["collaborative_filtering", "content_based", "popularity"]
    assert len({tuple(trial.params.values()) for trial in trials}) == 3
    assert set(found.values) <= set(space)


def test_workers_run_each_trial_once(run: Callable[..., Any], study: Callable[[Tuned], optuna.Study]) -> None:
    found, trials = run(sampler="random", trials=5, workers=2)
    assert sorted(trial.number for trial in trials) == list(range(5))
    assert len({str(trial.params) for trial in study(found).trials}) == 5
    alone, _ = run(sampler="random", trials=5, seed=3)
    assert alone.present == pytest.approx(found.present)


def test_no_trial_begins_after_the_time_is_up(run: Callable[..., Any]) -> None:
    found, trials = run(sampler="random", trials=10_000, minutes=1 / 60)
    assert 0 < len(trials) < 10_000
    assert sum(found.trials.values()) == len(trials)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_tuning_continues_with_no_trial_lost_and_none_twice(
    tmp_path: Path, window: WindowTask, run: Callable[..., Any], workers: int
) -> None:
    import pickle

    (tmp_path / "window.pkl").write_bytes(pickle.dumps(window))
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    command = [sys.executable, script, tmp_path, str(workers)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        for _ in range(3):
            process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
    found, _ = run(config=TrainingConfig(), sampler="random", trials=12)
    study = open_study(f"sqlite:///{tmp_path / 's.db'}", found.study)
    time.sleep(0.5)  # for a worker that might have gone on
    done = finished(study)
    assert len(done) == 12
    assert len({str(trial.params) for trial in done}) == 12
    assert not [trial for trial in study.trials if trial.state in (TrialState.RUNNING, TrialState.WAITING)]
    values = sorted(trial.value for trial in done)
    assert np.isfinite(values).all()


def test_one_process_tunes_a_model_at_a_time(run: Callable[..., Any], tmp_path: Path) -> None:
    with (
        locked(tmp_path / "ease.lock"),
        pytest.raises(ConfigurationError, match="ease is tuned by another process already; wait"),
    ):
        run(trials=1)


def test_a_model_that_cannot_be_fitted_is_refused_before_the_trials(run: Callable[..., Any]) -> None:
    config = TrainingConfig.model_validate({"fit": {"max_memory_mb": 1e-6}})
    with pytest.raises(UnsuitableError, match="would need"):
        run(config=config, trials=1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sampler": "bayes"}, "did you mean bayesian"),
        ({"trials": 0}, "trials: got 0; allowed: 1 or more"),
        ({"workers": 0}, "workers: got 0; allowed: 1 or more"),
        ({"minutes": 0.0}, "minutes: got 0.0; allowed: above 0"),
        ({"metric": "ndgc@10"}, "metric: got 'ndgc@10'; allowed: precision, recall"),
        ({"metric": "ndcg@0"}, "write ndcg@10"),
        ({"metric": "ndcg"}, "write ndcg@10"),
    ],
)
def test_a_wrong_budget_is_an_error(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Budget(**given)
