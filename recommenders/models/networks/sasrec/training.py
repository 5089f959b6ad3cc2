"""Training of SASRec: its loss, optimisers and validation. Imported only for fitting."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from recommenders.errors import UnsuitableError
from recommenders.events.histories import Histories
from recommenders.events.interactions import Interactions
from recommenders.features.items import ItemFeatures
from recommenders.models.networks.sasrec.batches import Batch, SequenceBatcher
from recommenders.models.networks.sasrec.config import NAME, SASRecConfig
from recommenders.models.networks.sasrec.inference import encode, network_from_arrays
from recommenders.models.networks.sasrec.loss import SoftmaxSampler, softmax_loss
from recommenders.models.networks.sasrec.network import INIT_STD, Attention
from recommenders.models.networks.sparse_adamw import SparseAdamW, gather_rows
from recommenders.models.networks.trainer import Trainer
from recommenders.models.networks.validation import Scorer, Validation
from recommenders.splitting.early_stopping import Mask, hold_out, last_window, latest_events, latest_visits

MIN_STEPS_PER_EPOCH = 50  # an epoch of a log of few batches passes over the log several times before it validates
HELD_OUT_SHARE = 0.5  # of the users with earlier events, at most
BETAS = (0.9, 0.98)


class SoftmaxLoss(nn.Module):
    """SASRec with its training loss. full_softmax: whether each step has a gradient of all item embeddings."""

    def __init__(self, n_items: int, config: SASRecConfig, full_softmax: bool) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.item_embeddings = nn.Embedding(n_items, config.embedding_dim, sparse=not full_softmax)
        with torch.no_grad():
            self.item_embeddings.weight *= INIT_STD  # drawn with a standard deviation of 1

    def forward(
        self,
        batch: Batch,
        columns: torch.Tensor | None,
        log_q_correction: torch.Tensor | None,
    ) -> tuple[torch.Tensor, float]:
        """The sum of the losses of a batch, and the weight of its targets. The arguments are those of SoftmaxSampler.

        columns: (m,) the items of the softmax, into which the batch's items point; None: all. log_q_correction: (m,).
        """
        table = self.item_embeddings.weight
        embeddings = table if columns is None else gather_rows(table, columns)
        items = nn.functional.embedding(torch.from_numpy(batch.items), embeddings)
        hidden = self.attention(items, torch.from_numpy(batch.cells), batch.shape).flatten(0, 1)
        hidden = hidden[torch.from_numpy(batch.has_targets)]
        targets = torch.from_numpy(batch.targets)
        weights = torch.from_numpy(batch.weights)
        loss = softmax_loss(hidden, embeddings, torch.from_numpy(batch.rows), targets, weights, log_q_correction)
        return loss, float(batch.weights.sum())


class SASRecTrainer(Trainer[SASRecConfig]):
    """A network, its optimisers and its batches for a log."""

    name = NAME
    validation_k = 10
    module: SoftmaxLoss

    def __init__(
        self, log: Interactions, config: SASRecConfig, rng: np.random.Generator, _: ItemFeatures | None = None
    ) -> None:
        self.config, self.rng = config, rng
        self.batcher, self.softmax_sampler = SequenceBatcher(log, config, rng), SoftmaxSampler(log, config, rng)
        self.module = SoftmaxLoss(len(log.items), config, self.softmax_sampler.full_softmax)
        rate, attention = config.learning_rate, self.module.attention.parameters()
        self.optimizers = [
            SparseAdamW(self.module.item_embeddings.parameters(), lr=rate, betas=BETAS),
            torch.optim.AdamW(attention, lr=rate, betas=BETAS, weight_decay=config.weight_decay, fused=True),
        ]

    @staticmethod
    def hold_out(
        log: Interactions, config: SASRecConfig, rng: np.random.Generator
    ) -> tuple[Interactions, Validation | None]:
        """The last window (without a window: the latest event) of some users who have earlier events.

        If no user has events both within the last window and before it, the latest visit of each user replaces the
        window: without a validation, training would always run until the last epoch. None if no user has two events.
        """

        def masks() -> Iterator[Mask]:
            if log.horizon_days is None:
                yield latest_events(log)
            else:
                yield last_window(log, log.horizon_days)
                yield latest_visits(log)

        kept, held_out = hold_out(log, masks(), HELD_OUT_SHARE, config.validation_users, rng)
        return kept, None if held_out is None else Validation.from_held_out(log, held_out, len(log.items), rng)

    def batches(self, epoch: int) -> Iterator[tuple[Any, ...]]:
        """Passes over the log until MIN_STEPS_PER_EPOCH steps are done."""
        n_steps = 0
        while n_steps < MIN_STEPS_PER_EPOCH:
            before = n_steps
            for batch in self.batcher.batches():
                n_steps += 1
                yield self.softmax_sampler.sample(batch)
            if n_steps == before:
                raise UnsuitableError(
                    f"{NAME} has nothing to learn from: got 0 events that another of the same user follows within "
                    f"the log's horizon; allowed: from 1; bring a longer log or set models.{NAME}.enabled: false"
                )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The weights under the names that network_from_arrays() reads."""
        return {
            "item_embeddings": self.module.item_embeddings.weight.detach().numpy().copy(),
            **self.module.attention.arrays(),
            "by_visit": np.array([self.batcher.window is not None]),
        }

    def scorer(self, arrays: Mapping[str, NDArray[Any]]) -> Scorer:
        """The logits of such weights."""
        network = network_from_arrays(arrays, self.config.n_heads)

        def score(
            user_rows: NDArray[np.int32], histories: Histories, item_columns: NDArray[np.int64]
        ) -> NDArray[np.float32]:
            scores: NDArray[np.float32] = encode(histories, network) @ network.item_embeddings[item_columns].T
            return scores

        return score
