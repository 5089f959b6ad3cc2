"""Training of SASRec: a log -> the weights of the best epoch. Imports torch, so it is imported only for fitting."""

import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from recommenders.errors import UnsuitableError
from recommenders.events.interactions import Interactions
from recommenders.metrics.ranking import ndcg
from recommenders.models.networks.averaging import mean_weights
from recommenders.models.networks.dropout import Dropout
from recommenders.models.networks.sasrec.batches import Batch, SequenceBatcher, Validation, hold_out_latest
from recommenders.models.networks.sasrec.config import SASRecConfig
from recommenders.models.networks.sasrec.inference import EPSILON, LAYERS, Network, encode, network_from_arrays
from recommenders.models.networks.sasrec.loss import BETAS, INIT_STD, ItemEmbeddings, SoftmaxSampler, softmax_gradients
from recommenders.models.recommender import Tracker, mask_and_rank

VALIDATION_K = 10
MIN_STEPS_PER_EPOCH = 50  # an epoch of a log of few batches passes over the log several times before it validates


@dataclass(frozen=True)
class TrainingResult:
    """Arrays of the best epoch (the mean with the epochs before it), its number, and the curve of all epochs."""

    arrays: dict[str, NDArray[Any]]
    epochs: int
    curve: list[dict[str, float]]


def rms_norm(vectors: torch.Tensor) -> torch.Tensor:
    """As in inference, with gradients."""
    return nn.functional.rms_norm(vectors, vectors.shape[-1:], eps=float(EPSILON))


class Block(nn.Module):
    """Self-attention and a feed-forward layer, each with a residual connection."""

    def __init__(self, config: SASRecConfig) -> None:
        super().__init__()
        size, self.n_heads = config.embedding_dim, config.n_heads
        self.qkv, self.out = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.up, self.down = nn.Linear(size, size), nn.Linear(size, size)
        self.dropout = Dropout(config.dropout)
        for name in LAYERS:
            nn.init.xavier_normal_(getattr(self, name).weight)
            nn.init.zeros_(getattr(self, name).bias)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(n, width, size) -> the same; no token attends to later tokens, so none attends to the padding."""
        n, width, size = hidden.shape
        parts = self.qkv(rms_norm(hidden)).view(n, width, 3, self.n_heads, size // self.n_heads)
        queries, keys, values = parts.permute(2, 0, 3, 1, 4)
        attended = nn.functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        hidden = hidden + self.dropout(self.out(attended.transpose(1, 2).reshape(n, width, size)))
        added: torch.Tensor = self.dropout(self.down(torch.relu(self.up(rms_norm(hidden)))))
        return hidden + added


class Attention(nn.Module):
    """All of SASRec but the item embeddings, which ItemEmbeddings trains row by row."""

    def __init__(self, config: SASRecConfig) -> None:
        super().__init__()
        self.positions = nn.Embedding(config.history_length, config.embedding_dim)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_blocks))
        self.dropout = Dropout(config.dropout)
        nn.init.normal_(self.positions.weight, std=INIT_STD)

    def forward(self, items: torch.Tensor, cells: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
        """Item embeddings (n_events, size), the cell of each, shape (n, width) -> user embeddings (n, width, size)."""
        n, width = shape
        sizes = torch.bincount(cells, minlength=n * width).clamp_min(1)
        scaled = items * (items.shape[1] / sizes[cells]).sqrt()[:, None]
        tokens = items.new_zeros(n * width, items.shape[1]).index_add(0, cells, scaled).view(n, width, -1)
        hidden = self.dropout(tokens + self.positions.weight[:width])
        for block in self.blocks:
            hidden = block(hidden)
        return rms_norm(hidden)

    def _named_tensors(self) -> dict[str, torch.Tensor]:
        found: dict[str, torch.Tensor] = {"position_embeddings": self.positions.weight}
        for i, block in enumerate(self.blocks):
            for name in LAYERS:
                found[f"block{i}.{name}.weights"] = getattr(block, name).weight.T  # numpy multiplies from the left
                found[f"block{i}.{name}.biases"] = getattr(block, name).bias
        return found

    @torch.no_grad()
    def arrays(self) -> dict[str, NDArray[Any]]:
        """The weights under the names that network_from_arrays() reads."""
        return {name: np.array(tensor.numpy(), order="C") for name, tensor in self._named_tensors().items()}


class Trainer:
    """The network, its optimisers and the number of steps so far."""

    def __init__(self, log: Interactions, config: SASRecConfig, rng: np.random.Generator) -> None:
        self.config, self.steps = config, 0
        self.batcher, self.softmax_sampler = SequenceBatcher(log, config, rng), SoftmaxSampler(log, config, rng)
        self.attention = Attention(config)
        self.item_embeddings = ItemEmbeddings(len(log.items), config.embedding_dim)
        self.optimizer = torch.optim.AdamW(
            self.attention.parameters(), config.learning_rate, BETAS, weight_decay=config.weight_decay, fused=True
        )

    def epoch(self) -> float:
        """Passes over the log until MIN_STEPS_PER_EPOCH steps are done; returns the mean loss of a position.

        Raises UnsuitableError if no event has a target.
        """
        self.attention.train()
        total, n_positions, until = 0.0, 0.0, self.steps + MIN_STEPS_PER_EPOCH
        while self.steps < until:
            before = self.steps
            for batch in self.batcher.batches():
                total += self._step(batch)
                n_positions += float(batch.weights.sum())
            if self.steps == before:
                raise UnsuitableError(
                    "sasrec has nothing to learn from: got 0 events that another of the same user follows within "
                    "the log's horizon; allowed: from 1; bring a longer log or set models.sasrec.enabled: false"
                )
        return total / max(n_positions, 1e-9)

    def _step(self, batch: Batch) -> float:
        self.steps += 1
        learning_rate = self.config.learning_rate * min(1.0, self.steps / self.config.warmup_steps)
        columns, log_q_correction = self.softmax_sampler.sample(batch)
        embeddings = self.item_embeddings.table[columns].detach().requires_grad_()
        items = nn.functional.embedding(torch.from_numpy(self.softmax_sampler.position[batch.items]), embeddings)
        hidden = self.attention(items, torch.from_numpy(batch.cells), batch.shape).flatten(0, 1)
        hidden = hidden[torch.from_numpy(batch.has_targets)]
        target_columns = torch.from_numpy(self.softmax_sampler.position[batch.targets])
        targets = (torch.from_numpy(batch.rows), target_columns, torch.from_numpy(batch.weights))
        with torch.no_grad():
            loss, hidden_gradient, item_gradient = softmax_gradients(hidden, embeddings, *targets, log_q_correction)
        self.optimizer.zero_grad(set_to_none=True)
        weight = float(batch.weights.sum())
        hidden.backward(hidden_gradient / weight)
        self.optimizer.param_groups[0]["lr"] = learning_rate
        self.optimizer.step()
        assert embeddings.grad is not None
        self.item_embeddings.step(columns, embeddings.grad + item_gradient / weight, learning_rate)
        return loss

    def arrays(self) -> dict[str, NDArray[Any]]:
        """A copy of the current weights."""
        by_visit = np.array([self.batcher.window is not None])
        return {
            "item_embeddings": self.item_embeddings.table.numpy().copy(),
            **self.attention.arrays(),
            "by_visit": by_visit,
        }


def train(log: Interactions, config: SASRecConfig, tracker: Tracker | None = None) -> TrainingResult:
    """Trains until the validation no longer improves, or for config.fixed_epochs on all data. Seeded."""
    rng = np.random.default_rng(config.seed)
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    try:
        torch.manual_seed(config.seed)
        torch.set_num_threads(config.threads)
        kept, validation = (log, None) if config.fixed_epochs else hold_out_latest(log, config, rng)
        trainer = Trainer(kept, config, rng)
        return _run_epochs(trainer, validation, config, tracker)
    finally:
        torch.random.set_rng_state(state)
        torch.set_num_threads(threads)


def _run_epochs(
    trainer: Trainer, validation: Validation | None, config: SASRecConfig, tracker: Tracker | None
) -> TrainingResult:
    curve: list[dict[str, float]] = []
    best, best_epoch, best_arrays = -np.inf, 0, trainer.arrays()
    newest: deque[dict[str, NDArray[Any]]] = deque(maxlen=config.averaged_epochs)
    deadline = time.monotonic() + 60 * config.max_minutes
    for epoch in range(1, (config.fixed_epochs or config.epochs) + 1):
        point = {"epoch": float(epoch), "loss": trainer.epoch()}
        newest.append(trainer.arrays())
        arrays = mean_weights(newest)
        value = float(epoch)  # without a validation, the last epoch is the best
        if validation is not None:
            point[f"validation_ndcg@{VALIDATION_K}"] = value = _validate(
                network_from_arrays(arrays, config.n_heads), validation
            )
        curve.append(point)
        if tracker is not None:
            tracker.log(epoch, {name: metric for name, metric in point.items() if name != "epoch"})
        if value > best:
            best, best_epoch, best_arrays = value, epoch, arrays
        elif epoch - best_epoch >= config.patience:
            break
        if time.monotonic() > deadline:
            break
    return TrainingResult(best_arrays, best_epoch, curve)


def _validate(network: Network, validation: Validation) -> float:
    """Mean NDCG of the held-out events, ranked by the code that serves requests."""
    embeddings = encode(validation.histories, network)
    n_rows = max(1, 4_000_000 // len(network.item_embeddings))  # users whose scores are in memory at once
    values = []
    for start in range(0, len(embeddings), n_rows):
        some = slice(start, start + n_rows)
        known = validation.histories[some].matrix if validation.exclude_known else None
        scores = embeddings[some] @ network.item_embeddings.T
        ranked = mask_and_rank(scores, VALIDATION_K, validation.candidates, known).item_columns
        values.append(ndcg(ranked, validation.relevant[some]))
    return float(np.nanmean(np.concatenate(values)))
