"""A peer's settings come from trials on the validation window, and on nothing else."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from peers.environments import Answer
from peers.tuning import chosen_settings
from peers.tuning import search as tuning
from peers.tuning.spaces import params_at
from scipy.sparse import csr_array

from recommenders.evaluation.tasks.task import TaskView

PEER, DATASET = "rectools_ease", "ml-100k"
LISTS = np.arange(10, dtype=np.int32)[None]  # of one user: the items 0, 1 ... 9
BUDGET = tuning.Budget(trials=4, seconds=1e6)


def task_of(window: str, relevant_item: int) -> Any:
    """One user with one relevant item, which a peer lists at that place."""
    relevant = csr_array(([1.0], ([0], [relevant_item])), shape=(1, 12))
    return SimpleNamespace(
        name=DATASET,
        version=window,
        key=(DATASET, window),
        protocol=SimpleNamespace(split="latest_out"),
        log=SimpleNamespace(weights=np.array([1.0, 2.0]), window=window),
        case=SimpleNamespace(user_rows=np.zeros(1, np.int32)),
        views={"all": TaskView(relevant, True)},
    )


VALIDATION, TEST = task_of("validation", 2), task_of("test", 0)
NDCG = {"validation": 0.5, "test": 1.0}  # 1 / log2(2 + place)


@pytest.fixture
def windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The window of the log that each trial was given, as they are made. Files are written to a folder of the test."""
    monkeypatch.setattr(tuning, "TRIED", tmp_path / "trials.jsonl")
    for name in ("SETTINGS", "TO_BE_TUNED"):
        monkeypatch.setattr(chosen_settings, name, tmp_path / name)
    given: list[str] = []

    def ask(_: str, log: Any, *rest: Any, **limits: Any) -> list[Answer]:
        given.append(log.window)
        return [Answer(None, LISTS, {})]

    for module in (tuning, chosen_settings):
        monkeypatch.setattr(module, "BUDGET", BUDGET)
    monkeypatch.setattr(tuning, "python_of", lambda _: tmp_path)
    monkeypatch.setattr(tuning, "ask", ask)
    monkeypatch.setattr(tuning, "benchmark_task", lambda _, validation=False: VALIDATION if validation else TEST)
    return given


def test_a_peer_is_tuned_on_the_validation_window(windows: list[str]) -> None:
    tuning.tune(DATASET, [PEER])
    assert windows == ["validation"] * BUDGET.trials
    found = json.loads(chosen_settings.SETTINGS.read_text())[DATASET][PEER]
    assert (found["data"], found["views"]["all"]["validation"]) == ("validation", NDCG["validation"])


def test_trials_on_another_window_do_not_count(windows: list[str]) -> None:
    """They are better, and more than the budget allows; some have the settings with which a search begins."""
    measure = tuning._measure(PEER, TEST, 1)
    for params in (tuning.DEFAULTS[PEER], *(params_at(PEER, (place, 0)) for place in range(BUDGET.trials))):
        assert measure(params).reached == {"all": NDCG["test"]}
    windows.clear()
    tuning.tune(DATASET, [PEER])
    assert windows == ["validation"] * BUDGET.trials
    found = json.loads(chosen_settings.SETTINGS.read_text())[DATASET][PEER]
    assert (found["tried"], found["views"]["all"]["validation"]) == (BUDGET.trials, NDCG["validation"])


def test_a_search_that_was_cut_counts_its_own_trials(windows: list[str]) -> None:
    measure = tuning._measure(PEER, VALIDATION, 1)
    measure(tuning.DEFAULTS[PEER])
    tuning.tune(DATASET, [PEER])
    assert windows == ["validation"] * BUDGET.trials
