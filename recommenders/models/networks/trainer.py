"""What the training loop needs of a network. Imported only for fitting."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from recommenders.events.interactions import Interactions
from recommenders.features.items import ItemFeatures
from recommenders.models.networks.config import NetworkConfig
from recommenders.models.networks.validation import Scorer, Validation

Config = TypeVar("Config", bound=NetworkConfig)


class Trainer(ABC, Generic[Config]):
    """What the loop needs of a network. An epoch changes `module`, `optimizers`, `rng` and torch's state alone."""

    name: ClassVar[str]  # of the model
    validation_k: ClassVar[int]  # length of the lists of the validation

    config: Config
    rng: np.random.Generator
    module: nn.Module  # forward(*inputs) returns the summed loss of a batch, and the number of targets in it
    optimizers: Sequence[torch.optim.Optimizer]
    untrained_epochs: int = 0  # first epochs that do not train the whole network; early stopping counts from their end

    @abstractmethod
    def __init__(self, log: Interactions, config: Config, rng: np.random.Generator, features: ItemFeatures | None):
        """A new network for a log. features: those of its items, if the network learns from them."""

    @staticmethod
    @abstractmethod
    def hold_out(log: Interactions, config: Config, rng: np.random.Generator) -> tuple[Interactions, Validation | None]:
        """The log without held-out events, and the validation on these; None if no events can be held out."""

    @abstractmethod
    def batches(self, epoch: int) -> Iterator[tuple[Any, ...]]:
        """The inputs of the steps of an epoch; the first epoch is 1. Raises UnsuitableError if there are none."""

    @abstractmethod
    def arrays(self) -> dict[str, NDArray[Any]]:
        """A copy of the current weights, as inference reads them."""

    @abstractmethod
    def scorer(self, arrays: Mapping[str, NDArray[Any]]) -> Scorer:
        """The scores of such weights, by the code that serves requests."""

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        return next(self.module.parameters()).device
