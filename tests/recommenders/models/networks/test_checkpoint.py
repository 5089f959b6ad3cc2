"""Interrupted fits continue where they stopped, and a file of another fit, or a damaged one, is not used."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recommenders.models.recommender import TrainingOptions

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "NeuMF": ("neural_collaborative", {"epochs": 6, "patience": 2, "learning_rate": 0.02}),
    "NeuMF with features and pretraining": (
        "neural_collaborative",
        {"epochs": 5, "patience": 5, "side_features": True, "pretraining_epochs": 3, "weight_decay": 0.01}
        | {"dropout": 0.2},
    ),
    "a refit of NeuMF": ("neural_collaborative", {"fixed_epochs": 5}),
    "SASRec": ("sasrec", {"epochs": 6, "patience": 3, "averaged_epochs": 2}),
    "SASRec on samples": ("sasrec", {"fixed_epochs": 4, "full_softmax_items": 0, "n_negatives": 4, "warmup_steps": 7}),
}


def interrupted_fit(folder: Path, world: Any, model: Any, epochs: Any, interrupt_at: int = 2) -> None:
    """Starts a fit and interrupts it at the end of an epoch."""
    with pytest.raises(InterruptedError):
        model.fit(*world, TrainingOptions(checkpoints=folder, on_epoch=epochs(interrupt_at)))
    assert [path.name for path in folder.iterdir()] == [f"{model.name}.npz"]


def assert_same(model: Any, expected: Any) -> None:
    assert model.learning_curve == expected.learning_curve
    for name, array in expected.arrays().items():
        np.testing.assert_array_equal(model.arrays()[name], array)


@pytest.mark.parametrize("case", CASES)
def test_an_interrupted_fit_continues_with_the_same_result(
    world: Any, case: str, tmp_path: Path, network: Callable[..., Any], epochs: Any, epochs_run: list[int]
) -> None:
    name, settings = CASES[case]
    whole = network(name, **settings).fit(*world)
    numbers = list(range(1, len(whole.learning_curve) + 1))
    assert len(numbers) >= 3
    assert epochs_run == numbers
    epochs_run.clear()
    interrupted_fit(tmp_path, world, network(name, **settings), epochs, interrupt_at=2)
    again = network(name, **settings, enabled=False)  # the same recipe
    interrupted_fit(tmp_path, world, again, epochs, interrupt_at=len(numbers))  # all epochs are done
    recorded = epochs()
    options = TrainingOptions(checkpoints=tmp_path, on_epoch=recorded, max_minutes=7.0, max_memory_mb=3999.0)
    resumed = network(name, **settings).fit(*world, options)
    assert epochs_run == numbers
    assert_same(resumed, whole)
    assert [epoch for epoch, _ in recorded.points] == numbers  # a new run shows the whole curve
    assert not list(tmp_path.iterdir())


def test_time_before_an_interruption_counts(
    world: Any,
    tmp_path: Path,
    network: Callable[..., Any],
    epochs: Any,
    epochs_run: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = "recommenders.models.networks.training_loop.time.monotonic"
    monkeypatch.setattr(clock, lambda: 0.25 * len(epochs_run))
    options = TrainingOptions(max_minutes=5e-3, checkpoints=tmp_path)
    with pytest.raises(InterruptedError):
        network("sasrec", fixed_epochs=9).fit(*world, replace(options, on_epoch=epochs(interrupt_at=1)))
    model = network("sasrec", fixed_epochs=9).fit(*world, options)
    assert len(model.learning_curve) == 2  # 0.3 seconds are over after 0.5


@pytest.mark.parametrize("damage", ["no archive", "empty", "short", "one bit of an array"])
def test_a_damaged_file_is_logged_and_not_used(
    world: Any,
    damage: str,
    tmp_path: Path,
    network: Callable[..., Any],
    epochs: Any,
    epochs_run: list[int],
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = network("neural_collaborative", fixed_epochs=3)
    whole = network("neural_collaborative", fixed_epochs=3).fit(*world)
    interrupted_fit(tmp_path, world, network("neural_collaborative", fixed_epochs=3), epochs)
    path = tmp_path / "neural_collaborative.npz"
    content = bytearray(path.read_bytes())
    content[content.index(b"module/network.user_embeddings.weight.npy") + 300] ^= 1
    damaged = {"no archive": b"not an archive", "empty": b"", "short": content[:-1000]}
    path.write_bytes(damaged.get(damage, content))
    epochs_run.clear()
    with caplog.at_level(logging.WARNING):
        model.fit(*world, TrainingOptions(checkpoints=tmp_path))
    assert f"{path} is damaged and not used" in caplog.text
    assert epochs_run == [1, 2, 3]
    assert_same(model, whole)
    assert not path.exists()


@pytest.mark.parametrize("other", ["log", "task", "configuration", "features"])
def test_the_file_of_another_fit_is_not_used(
    world: Any,
    other: str,
    tmp_path: Path,
    network: Callable[..., Any],
    epochs: Any,
    epochs_run: list[int],
    caplog: pytest.LogCaptureFixture,
) -> None:
    (log, features), settings = world, {"fixed_epochs": 3, "side_features": True, "learning_rate": 0.001}
    interrupted_fit(tmp_path, world, network("neural_collaborative", **settings), epochs)
    if other == "log":
        log = replace(log, weights=log.weights * np.where(np.arange(len(log)) == 3, np.float32(2), np.float32(1)))
    elif other == "task":
        log = replace(log, horizon_days=10.0)
    elif other == "features":
        features = replace(features, vectors=features.vectors * 2)
    else:
        settings["learning_rate"] = 0.002
    epochs_run.clear()
    network("neural_collaborative", **settings).fit(log, features, TrainingOptions(checkpoints=tmp_path))
    assert epochs_run == [1, 2, 3]
    assert not caplog.records


def test_a_file_that_cannot_be_written_is_logged_and_the_fit_continues(
    world: Any, tmp_path: Path, network: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    options = TrainingOptions(checkpoints=tmp_path / "file" / "folder")
    assert network("sasrec", fixed_epochs=1).fit(*world, options).epochs_ == 1
    assert "cannot be written" in caplog.text
