"""SASRec's softmax loss over a catalogue of any size. Imported only for fitting."""

from functools import cache
from typing import Any

import numpy as np
import torch

from recommenders.events.interactions import Interactions
from recommenders.models.networks.sasrec.batches import Batch
from recommenders.models.networks.sasrec.config import SASRecConfig

LOGIT_ROWS = 1024  # positions whose logits are in memory at once


class SoftmaxSampler:
    """The items of a step's softmax: all; of a large catalogue, the items of the step and uniformly drawn ones.

    `log_q_correction` is -log of the probability that an item is among them. With it, the sum over the sampled items
    estimates the sum over all items (Horvitz & Thompson 1952; Yi et al. 2019).
    """

    def __init__(self, log: Interactions, config: SASRecConfig, rng: np.random.Generator) -> None:
        self.n_items, self.rng, self.n_drawn = len(log.items), rng, min(config.n_negatives, len(log.items))
        self.frequencies = np.bincount(log.item_columns, minlength=self.n_items) / max(len(log), 1)
        self.full_softmax = self.n_items <= config.full_softmax_items
        self.position = np.empty(self.n_items, np.int64)  # of an item among the columns of the step

    def sample(self, batch: Batch) -> tuple[Batch, torch.Tensor | None, torch.Tensor | None]:
        """The batch, whose items are positions among the item columns of the step; these, ascending; their correction.

        The last two are None for all items.
        """
        if self.full_softmax:
            return batch, None, None
        drawn = self.rng.choice(self.n_items, self.n_drawn, replace=False, shuffle=False)
        columns = np.unique(np.concatenate([batch.items, batch.targets, drawn]))
        self.position[columns] = np.arange(len(columns))
        absence = (1 - self.n_drawn / self.n_items) * (1 - self.frequencies[columns]) ** len(batch.targets)
        batch = batch._replace(items=self.position[batch.items], targets=self.position[batch.targets])
        return batch, torch.from_numpy(columns), torch.from_numpy(-np.log1p(-absence).astype(np.float32))


@cache
def logits_dtype() -> torch.dtype:
    """bfloat16 where the processor multiplies it natively, float32 elsewhere."""
    able = torch.cpu.get_capabilities()
    return torch.bfloat16 if able.get("avx512_bf16") or able.get("amx_bf16") else torch.float32


def softmax_gradients(
    hidden: torch.Tensor,
    items: torch.Tensor,
    rows: torch.Tensor,
    targets: torch.Tensor,
    weights: torch.Tensor,
    log_q_correction: torch.Tensor | None = None,
) -> tuple[float, torch.Tensor, torch.Tensor]:
    """The loss, sum of weights x -log softmax, and its gradients by hidden (n, size) and items (m, size).

    rows (ascending), targets, weights: (n_targets,). The logits are computed and used block by block, in bfloat16 on
    processors that multiply it natively: a step takes half the time, and the rounding is less than the noise of the
    dropout. A target is always among the columns, so the log-q correction (m,) does not apply to it.
    """
    total, hidden_gradient, item_gradient = 0.0, torch.empty_like(hidden), torch.zeros_like(items)
    dtype = logits_dtype()
    hidden, items = hidden.to(dtype), items.to(dtype)
    row_weights = hidden.new_zeros(len(hidden), dtype=torch.float32).index_add_(0, rows, weights).to(dtype)
    bounds = torch.searchsorted(rows, torch.arange(0, len(hidden) + LOGIT_ROWS, LOGIT_ROWS)).tolist()
    for i, start in enumerate(range(0, len(hidden), LOGIT_ROWS)):
        some, in_block = hidden[start : start + LOGIT_ROWS], slice(bounds[i], bounds[i + 1])
        target_cells, target_weights = (rows[in_block] - start, targets[in_block]), weights[in_block]
        logits = some @ items.T
        if log_q_correction is not None:
            logits += log_q_correction
            logits[target_cells] -= log_q_correction[targets[in_block]]
        probabilities = torch.softmax(logits, dim=1)
        total -= float(target_weights @ probabilities[target_cells].float().clamp_min(1e-30).log())
        probabilities *= row_weights[start : start + LOGIT_ROWS, None]
        probabilities.index_put_(target_cells, -target_weights.to(dtype), accumulate=True)
        hidden_gradient[start : start + LOGIT_ROWS] = probabilities @ items
        item_gradient += probabilities.T @ some
    return total, hidden_gradient, item_gradient


def softmax_loss(hidden: torch.Tensor, items: torch.Tensor, *others: torch.Tensor | None) -> torch.Tensor:
    """The loss of softmax_gradients, (), with these gradients. others: its further arguments."""
    loss: torch.Tensor = _SoftmaxLoss.apply(hidden, items, *others)  # type: ignore[no-untyped-call]
    return loss


class _SoftmaxLoss(torch.autograd.Function):
    """Computes the gradients in the forward pass, block by block: autograd would keep the logits of all blocks."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, items: torch.Tensor, *others: torch.Tensor | None) -> torch.Tensor:
        loss, *gradients = softmax_gradients(hidden, items, *others)  # type: ignore[arg-type]
        ctx.save_for_backward(*gradients)
        return hidden.new_tensor(loss)

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return (*(gradient.mul_(outer[0]) for gradient in ctx.saved_tensors), None, None, None, None)
