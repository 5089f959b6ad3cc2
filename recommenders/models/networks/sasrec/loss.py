"""The loss of the sequential model over a catalogue of any size, and the items' vectors that learn from it."""

from functools import cache

import numpy as np
import torch

from recommenders.events.interactions import Interactions
from recommenders.models.networks.sasrec.batches import Batch
from recommenders.models.networks.sasrec.config import SASRecConfig

CHUNK = 1024  # positions whose logits are held at once
SPREAD = 0.02  # of vectors at the start
BETAS = (0.9, 0.98)


class ItemTable:
    """The items' vectors under Adam, where a step touches only the rows it has a gradient for."""

    def __init__(self, n_items: int, size: int) -> None:
        self.vectors = torch.randn(n_items, size) * SPREAD
        self.mean, self.square, self.steps = torch.zeros(n_items, size), torch.zeros(n_items, size), 0

    def step(self, rows: torch.Tensor | slice, gradient: torch.Tensor, learning_rate: float) -> None:
        """rows: (n,) distinct, or a slice; gradient: (n, size). Kingma & Ba 2015."""
        self.steps += 1
        mean = torch.lerp(self.mean[rows], gradient, 1 - BETAS[0])
        square = torch.lerp(self.square[rows], gradient * gradient, 1 - BETAS[1])
        self.mean[rows], self.square[rows] = mean, square
        spread = (square / (1 - BETAS[1] ** self.steps)).sqrt_().add_(1e-8)
        self.vectors[rows] -= (learning_rate / (1 - BETAS[0] ** self.steps)) * mean / spread


class Columns:
    """Which items a step's softmax runs over: all, or, of a large catalogue, the step's own and some drawn evenly.

    `correction` is -log of an item's chance to be among them, so that the sum over those drawn stands for the sum over
    all (Horvitz & Thompson 1952; Yi et al. 2019).
    """

    def __init__(self, log: Interactions, config: SASRecConfig, rng: np.random.Generator) -> None:
        self.n_items, self.rng, self.n_drawn = len(log.items), rng, min(config.negatives, len(log.items))
        self.shares = np.bincount(log.item_columns, minlength=self.n_items) / max(len(log), 1)
        self.all = self.n_items <= config.full_softmax_items
        self.place = np.arange(self.n_items)  # of an item among the step's columns

    def choose(self, batch: Batch) -> tuple[torch.Tensor | slice, torch.Tensor | None]:
        """The step's item columns, and their correction."""
        if self.all:
            return slice(None), None
        drawn = self.rng.choice(self.n_items, self.n_drawn, replace=False, shuffle=False)
        columns = np.unique(np.concatenate([batch.items, batch.targets, drawn]))
        self.place[columns] = np.arange(len(columns))
        missed = (1 - self.n_drawn / self.n_items) * (1 - self.shares[columns]) ** len(batch.targets)
        return torch.from_numpy(columns), torch.from_numpy(-np.log1p(-missed).astype(np.float32))


@cache
def product_type() -> torch.dtype:
    """bfloat16 where the processor multiplies it natively, float32 elsewhere."""
    able = torch.cpu.get_capabilities()
    return torch.bfloat16 if able.get("avx512_bf16") or able.get("amx_bf16") else torch.float32


def softmax_gradients(
    hidden: torch.Tensor,
    items: torch.Tensor,
    rows: torch.Tensor,
    targets: torch.Tensor,
    weights: torch.Tensor,
    correction: torch.Tensor | None = None,
) -> tuple[float, torch.Tensor, torch.Tensor]:
    """The loss, sum of weights x -log softmax, and its gradients by hidden (n, size) and items (m, size).

    rows (ascending), targets, weights: (n_targets,). The logits are made and used up chunk by chunk, in bfloat16 on
    processors that multiply it natively: a step takes half the time, and its rounding is less than the noise of the
    dropout. A target is sure to be among the columns, so the correction (m,) does not apply to it.
    """
    total, by_hidden, by_items = 0.0, torch.empty_like(hidden), torch.zeros_like(items)
    dtype = product_type()
    hidden, items = hidden.to(dtype), items.to(dtype)
    masses = hidden.new_zeros(len(hidden), dtype=torch.float32).index_add_(0, rows, weights).to(dtype)
    edges = torch.searchsorted(rows, torch.arange(0, len(hidden) + CHUNK, CHUNK)).tolist()
    for i, start in enumerate(range(0, len(hidden), CHUNK)):
        some, told = hidden[start : start + CHUNK], slice(edges[i], edges[i + 1])
        places, wanted = (rows[told] - start, targets[told]), weights[told]
        logits = some @ items.T
        if correction is not None:
            logits += correction
            logits[places] -= correction[targets[told]]
        chances = torch.softmax(logits, dim=1)
        total -= float(wanted @ chances[places].float().clamp_min(1e-30).log())
        chances *= masses[start : start + CHUNK, None]
        chances.index_put_(places, -wanted.to(dtype), accumulate=True)
        by_hidden[start : start + CHUNK] = chances @ items
        by_items += chances.T @ some
    return total, by_hidden, by_items
