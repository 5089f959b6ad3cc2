"""How the sequential model learns. Imports torch, hence is imported to fit, never to answer."""

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
from recommenders.models.networks.sasrec.batches import Batch, Sequences, Validation, hold_out_latest
from recommenders.models.networks.sasrec.config import SASRecConfig
from recommenders.models.networks.sasrec.inference import EPSILON, LAYERS, Network, encode, network_of
from recommenders.models.networks.sasrec.loss import BETAS, SPREAD, Columns, ItemTable, softmax_gradients
from recommenders.models.recommender import Tracker, mask_and_rank

VALIDATION_K = 10
STEPS_AN_EPOCH = 50  # at least: a log of a few batches is passed over several times between validations


@dataclass(frozen=True)
class Learned:
    """Arrays of the best epoch, averaged with those before it, which one that was, and the curve up to the last one."""

    arrays: dict[str, NDArray[Any]]
    epochs: int
    curve: list[dict[str, float]]


def normalised(vectors: torch.Tensor) -> torch.Tensor:
    """As in sequential, with gradients."""
    return nn.functional.rms_norm(vectors, vectors.shape[-1:], eps=float(EPSILON))


class Block(nn.Module):
    """Attention and a layer, each added to what comes in."""

    def __init__(self, config: SASRecConfig) -> None:
        super().__init__()
        size, self.heads = config.embedding_dim, config.heads
        self.qkv, self.out = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.up, self.down = nn.Linear(size, size), nn.Linear(size, size)
        self.dropout = Dropout(config.dropout)
        for name in LAYERS:
            nn.init.xavier_normal_(getattr(self, name).weight)
            nn.init.zeros_(getattr(self, name).bias)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(n, width, size) -> the same; nobody looks at what comes later, hence nobody at padding."""
        n, width, size = hidden.shape
        parts = self.qkv(normalised(hidden)).view(n, width, 3, self.heads, size // self.heads)
        queries, keys, values = parts.permute(2, 0, 3, 1, 4)
        seen = nn.functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        hidden = hidden + self.dropout(self.out(seen.transpose(1, 2).reshape(n, width, size)))
        added: torch.Tensor = self.dropout(self.down(torch.relu(self.up(normalised(hidden)))))
        return hidden + added


class Attention(nn.Module):
    """All of SASRec but the items' vectors, which are learned row by row."""

    def __init__(self, config: SASRecConfig) -> None:
        super().__init__()
        self.positions = nn.Embedding(config.length, config.embedding_dim)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.blocks))
        self.dropout = Dropout(config.dropout)
        nn.init.normal_(self.positions.weight, std=SPREAD)

    def forward(self, items: torch.Tensor, cells: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
        """Items' vectors (n_events, size), each one's cell, shape (n, width) -> (n, width, size): what comes next."""
        n, width = shape
        sizes = torch.bincount(cells, minlength=n * width).clamp_min(1)
        scaled = items * (items.shape[1] / sizes[cells]).sqrt()[:, None]
        tokens = items.new_zeros(n * width, items.shape[1]).index_add(0, cells, scaled).view(n, width, -1)
        hidden = self.dropout(tokens + self.positions.weight[:width])
        for block in self.blocks:
            hidden = block(hidden)
        return normalised(hidden)

    def _named(self) -> dict[str, torch.Tensor]:
        found: dict[str, torch.Tensor] = {"positions": self.positions.weight}
        for i, block in enumerate(self.blocks):
            for name in LAYERS:
                found[f"block{i}.{name}.weights"] = getattr(block, name).weight.T  # numpy multiplies from the left
                found[f"block{i}.{name}.biases"] = getattr(block, name).bias
        return found

    @torch.no_grad()
    def arrays(self) -> dict[str, NDArray[Any]]:
        """The weights as sequential.Network names them."""
        return {name: np.array(tensor.numpy(), order="C") for name, tensor in self._named().items()}


class Trainer:
    """The network, its optimiser and where the steps stand."""

    def __init__(self, log: Interactions, config: SASRecConfig, rng: np.random.Generator) -> None:
        self.config, self.steps = config, 0
        self.sequences, self.columns = Sequences(log, config, rng), Columns(log, config, rng)
        self.attention = Attention(config)
        self.table = ItemTable(len(log.items), config.embedding_dim)
        self.optimizer = torch.optim.AdamW(
            self.attention.parameters(), config.learning_rate, BETAS, weight_decay=config.weight_decay, fused=True
        )

    def epoch(self) -> float:
        """Passes over the log until there were STEPS_AN_EPOCH steps; returns the mean loss of a position.

        Raises UnsuitableError if nothing follows anything.
        """
        self.attention.train()
        total, n_positions, until = 0.0, 0.0, self.steps + STEPS_AN_EPOCH
        while self.steps < until:
            before = self.steps
            for batch in self.sequences.batches():
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
        learning_rate = self.config.learning_rate * min(1.0, self.steps / self.config.warm_up)
        columns, correction = self.columns.choose(batch)
        vectors = self.table.vectors[columns].detach().requires_grad_()
        items = nn.functional.embedding(torch.from_numpy(self.columns.place[batch.items]), vectors)
        hidden = self.attention(items, torch.from_numpy(batch.cells), batch.shape).flatten(0, 1)
        hidden = hidden[torch.from_numpy(batch.foretells)]
        targets = torch.from_numpy(self.columns.place[batch.targets])
        told = (torch.from_numpy(batch.rows), targets, torch.from_numpy(batch.weights))
        with torch.no_grad():
            loss, by_hidden, by_items = softmax_gradients(hidden, vectors, *told, correction)
        self.optimizer.zero_grad(set_to_none=True)
        mass = float(batch.weights.sum())
        hidden.backward(by_hidden / mass)
        self.optimizer.param_groups[0]["lr"] = learning_rate
        self.optimizer.step()
        assert vectors.grad is not None
        self.table.step(columns, vectors.grad + by_items / mass, learning_rate)
        return loss

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The weights as they stand, copied."""
        by_moment = np.array([self.sequences.window is not None])
        return {"items": self.table.vectors.numpy().copy(), **self.attention.arrays(), "by_moment": by_moment}


def train(log: Interactions, config: SASRecConfig, tracker: Tracker | None = None) -> Learned:
    """Learns until the validation no longer improves, or for config.fixed_epochs on everything. Seeded."""
    rng = np.random.default_rng(config.seed)
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    try:
        torch.manual_seed(config.seed)
        torch.set_num_threads(config.threads)
        kept, validation = (log, None) if config.fixed_epochs else hold_out_latest(log, config, rng)
        trainer = Trainer(kept, config, rng)
        return _run(trainer, validation, config, tracker)
    finally:
        torch.random.set_rng_state(state)
        torch.set_num_threads(threads)


def _run(trainer: Trainer, validation: Validation | None, config: SASRecConfig, tracker: Tracker | None) -> Learned:
    curve: list[dict[str, float]] = []
    best, best_epoch, best_arrays = -np.inf, 0, trainer.arrays()
    newest: deque[dict[str, NDArray[Any]]] = deque(maxlen=config.averaged_epochs)
    deadline = time.monotonic() + 60 * config.max_minutes
    for epoch in range(1, (config.fixed_epochs or config.epochs) + 1):
        point = {"epoch": float(epoch), "loss": trainer.epoch()}
        newest.append(trainer.arrays())
        arrays = mean_weights(newest)
        reached = float(epoch)  # without a validation the last epoch is the best
        if validation is not None:
            point[f"validation_ndcg@{VALIDATION_K}"] = reached = _validate(network_of(arrays, config.heads), validation)
        curve.append(point)
        if tracker is not None:
            tracker.log(epoch, {name: value for name, value in point.items() if name != "epoch"})
        if reached > best:
            best, best_epoch, best_arrays = reached, epoch, arrays
        elif epoch - best_epoch >= config.patience:
            break
        if time.monotonic() > deadline:
            break
    return Learned(best_arrays, best_epoch, curve)


def _validate(network: Network, validation: Validation) -> float:
    """Mean NDCG of what was kept from training, ranked by the code that answers requests."""
    vectors = encode(validation.histories, network)
    together = max(1, 4_000_000 // len(network.items))  # scores held at once
    values = []
    for start in range(0, len(vectors), together):
        some = slice(start, start + together)
        known = validation.histories[some].matrix if validation.exclude_known else None
        scores = vectors[some] @ network.items.T
        ranked = mask_and_rank(scores, VALIDATION_K, validation.candidates, known).item_columns
        values.append(ndcg(ranked, validation.relevant[some]))
    return float(np.nanmean(np.concatenate(values)))
