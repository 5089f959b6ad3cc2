"""The laws of the training loop, for each network."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from recommenders.errors import UnsuitableError
from recommenders.events.interactions import Interactions
from recommenders.models.networks.neural_collaborative.training import NeuMFTrainer
from recommenders.models.networks.sasrec.training import SASRecTrainer
from recommenders.models.networks.trainer import Trainer
from recommenders.models.networks.training_loop import mean_weights
from recommenders.models.recommender import TrainingOptions

NETWORKS = ["neural_collaborative", "sasrec"]
K = {"neural_collaborative": 50, "sasrec": 10}
TRAINERS: dict[str, type[Trainer[Any]]] = {"neural_collaborative": NeuMFTrainer, "sasrec": SASRecTrainer}


@pytest.fixture(params=NETWORKS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_curve_is_reported_and_a_refit_repeats_the_kept_epochs(
    name: str, world: Any, network: Callable[..., Any], epochs: Any
) -> None:
    recorded = epochs()
    model = network(name, epochs=4, patience=4).fit(*world, TrainingOptions(on_epoch=recorded))
    assert [epoch for epoch, _ in recorded.points] == [1, 2, 3, 4]
    assert set(recorded.points[0][1]) == {"loss", f"validation_ndcg@{K[name]}"}
    assert [point["epoch"] for point in model.learning_curve] == [1, 2, 3, 4]
    again = model.refit(*world)
    assert again.epochs_ == len(again.learning_curve) == model.epochs_
    assert set(again.learning_curve[0]) == {"epoch", "loss"}


def test_training_reduces_the_loss(name: str, world: Any, network: Callable[..., Any]) -> None:
    curve = network(name, fixed_epochs=8, learning_rate=0.02).fit(*world).learning_curve
    assert curve[-1]["loss"] < curve[0]["loss"]


def test_training_stops_as_many_epochs_after_the_last_clear_gain(
    name: str, world: Any, network: Callable[..., Any]
) -> None:
    for patience in (2, 4):  # the first epoch is always a gain, and no other one can be
        model = network(name, epochs=9, patience=patience, min_gain=1e6).fit(*world)
        assert len(model.learning_curve) == 1 + patience


def test_the_kept_epoch_is_the_best_one(name: str, world: Any, network: Callable[..., Any]) -> None:
    model = network(name, epochs=12, patience=3, learning_rate=0.02).fit(*world)
    reached = [point[f"validation_ndcg@{K[name]}"] for point in model.learning_curve]
    assert model.epochs_ == int(np.argmax(reached)) + 1


def pairs_of(log: Interactions) -> np.ndarray:
    """(n_events,): a number for the user and the item of each event."""
    return log.user_rows * len(log.items) + log.item_columns


def test_the_network_does_not_learn_from_the_events_that_validate_it(
    name: str, world: Any, network: Callable[..., Any]
) -> None:
    """With other items in the held-out events, every step is the same, and only the validation changes."""
    log, features = world
    config = network(name).config
    kept, validation = TRAINERS[name].hold_out(log, config, np.random.default_rng(config.seed))
    assert validation is not None
    held_out = ~np.isin(pairs_of(log), pairs_of(kept))
    assert held_out.sum() == len(log) - len(kept) > 0
    columns = np.where(held_out, (log.item_columns + 1) % len(log.items), log.item_columns).astype(np.int32)
    first, second = (
        network(name, epochs=2, patience=2).fit(each, features).learning_curve
        for each in (log, replace(log, item_columns=columns))
    )
    assert [point["loss"] for point in first] == [point["loss"] for point in second]
    validated = f"validation_ndcg@{K[name]}"
    assert [point[validated] for point in first] != [point[validated] for point in second]


def test_a_callback_ends_training_and_the_best_epoch_so_far_is_kept(
    name: str, world: Any, network: Callable[..., Any], epochs: Any
) -> None:
    model = network(name, epochs=9, patience=9).fit(*world, TrainingOptions(on_epoch=epochs(stop_at=3)))
    assert len(model.learning_curve) == 3
    assert 1 <= model.epochs_ <= 3


def test_an_error_of_the_callback_ends_the_fit(name: str, world: Any, network: Callable[..., Any], epochs: Any) -> None:
    with pytest.raises(InterruptedError, match="interrupted at epoch 2"):
        network(name, epochs=9).fit(*world, TrainingOptions(on_epoch=epochs(interrupt_at=2)))


def test_the_time_limit_ends_training_after_an_epoch(name: str, world: Any, network: Callable[..., Any]) -> None:
    model = network(name, epochs=50).fit(*world, TrainingOptions(max_minutes=1e-9))
    assert model.epochs_ == len(model.learning_curve) == 1


def test_a_fit_that_diverges_raises(name: str, world: Any, network: Callable[..., Any]) -> None:
    with pytest.raises(UnsuitableError, match=rf"^{name} diverged: loss (nan|inf) .* set a lower learning_rate"):
        network(name, learning_rate=1e30, epochs=5, patience=5).fit(*world)


def test_a_warm_up_slows_the_first_steps(name: str, world: Any, network: Callable[..., Any]) -> None:
    def moved(warmup_steps: int) -> float:
        settings = {"fixed_epochs": 1, "averaged_epochs": 1, "dropout": 0.0, "warmup_steps": warmup_steps}
        slow, still = (
            network(name, **settings, learning_rate=rate).fit(*world).arrays()["item_embeddings"]
            for rate in (0.01, 1e-12)
        )
        return float(np.abs(slow - still).mean())

    assert moved(10_000) < 0.01 * moved(1)


def test_training_is_seeded_and_restores_the_state_of_torch(name: str, world: Any, network: Callable[..., Any]) -> None:
    torch.manual_seed(5)
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    options = TrainingOptions(threads=threads + 1)
    first, second = (network(name, fixed_epochs=1).fit(*world, options).arrays() for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    for array_name, array in first.items():
        np.testing.assert_array_equal(array, second[array_name])
    other = network(name, fixed_epochs=1, seed=7).fit(*world).arrays()
    assert not np.array_equal(other["item_embeddings"], first["item_embeddings"])


def test_the_mean_of_networks_keeps_the_dtype() -> None:
    networks = [
        {"a": np.array([1.0, 3.0], np.float32), "b": np.array([True])},
        {"a": np.array([2.0, 5.0], np.float32), "b": np.array([True])},
    ]
    mean = mean_weights(networks)
    assert mean["a"].tolist() == [1.5, 4.0]
    assert mean["a"].dtype == np.float32
    assert mean["b"].tolist() == [True]
    assert mean["b"].dtype == np.bool_
