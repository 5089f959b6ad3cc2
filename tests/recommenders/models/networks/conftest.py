"""Small networks of both kinds, and a callback that records the epochs of a fit."""

from collections.abc import Callable
from typing import Any

import pytest

from recommenders.models.all_models import model_class
from recommenders.models.networks.trainer import Trainer
from recommenders.models.recommender import Recommender

SMALL: dict[str, dict[str, Any]] = {
    "neural_collaborative": {"embedding_dim": 6, "hidden_layers": (12, 5), "batch_size": 64},
    "sasrec": {"embedding_dim": 6, "history_length": 12, "dropout": 0.1},
}


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Recommender]:
    """A function: name, settings -> a small network that is not fitted."""
    monkeypatch.setattr("recommenders.models.networks.sasrec.training.MIN_STEPS_PER_EPOCH", 3)

    def make(name: str, **settings: Any) -> Recommender:
        model = model_class(name)
        return model(model.Config(**{**SMALL[name], **settings}))

    return make


class Epochs:
    """A callback that records the points it receives. It interrupts or stops the fit after an epoch."""

    def __init__(self, interrupt_at: int = 0, stop_at: int = 0) -> None:
        self.interrupt_at, self.stop_at = interrupt_at, stop_at
        self.points: list[tuple[int, dict[str, float]]] = []

    def __call__(self, epoch: int, metrics: dict[str, float]) -> bool:
        self.points.append((epoch, metrics))
        if epoch == self.interrupt_at:
            raise InterruptedError(f"interrupted at epoch {epoch}")
        return epoch == self.stop_at


@pytest.fixture
def epochs() -> type[Epochs]:
    return Epochs


@pytest.fixture
def epochs_run(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of each epoch that is trained, as it begins."""
    run: list[int] = []
    for trainer in _trainers():
        real = trainer.batches

        def batches(self: Any, epoch: int, real: Any = real) -> Any:
            run.append(epoch)
            return real(self, epoch)

        monkeypatch.setattr(trainer, "batches", batches)
    return run


def _trainers() -> list[type[Trainer[Any]]]:
    from recommenders.models.networks.neural_collaborative.training import NeuMFTrainer
    from recommenders.models.networks.sasrec.training import SASRecTrainer

    return [NeuMFTrainer, SASRecTrainer]
