"""What the training loop needs of a network. Imported only for fitting."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from recommenders.models.networks.config import NetworkConfig
from recommenders.models.networks.validation import Scorer


class Trainer(ABC):
    """What the loop needs of a network. An epoch changes `module`, `optimizers`, `rng` and torch's state alone."""

    name: ClassVar[str]  # of the model
    validation_k: ClassVar[int]  # length of the lists of the validation

    config: NetworkConfig
    rng: np.random.Generator
    module: nn.Module  # forward(*inputs) returns the summed loss of a batch, and the number of targets in it
    optimizers: Sequence[torch.optim.Optimizer]
    untrained_epochs: int = 0  # first epochs that do not train the whole network; early stopping counts from their end

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
