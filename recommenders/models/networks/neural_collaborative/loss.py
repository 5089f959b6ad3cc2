"""What a step of NeuMF is judged by, and on a CPU its way back written out. Imported while fitting, never to answer."""

from typing import Any

import torch
from numpy.typing import NDArray
from torch.autograd.function import FunctionCtx

from recommenders.models.networks.dropout import made_up_by, units_left
from recommenders.models.networks.neural_collaborative.kernels import meet, meet_back

BLOCK = 2048  # pairs whose hidden layers are held at once; they stay in the cache on their way there and back
Tensors = tuple[torch.Tensor, ...]


def cross_entropy(positive: torch.Tensor, negative: torch.Tensor) -> torch.Tensor:
    """(n,) minus the log of the softmax at positive (n, 1) among negative (n, m)."""
    return torch.logsumexp(torch.cat([positive, negative], dim=1), dim=1) - positive[:, 0]


def pair_loss(pairs: "Pairs", *learned: torch.Tensor) -> torch.Tensor:
    """The weighted sum of NeuMF's cross entropies, ().

    learned: factors (n, size + 1), ending in 1, first (n, w), items (n_items, size + 1), ending in their bias, hidden
    (n_items, w), then weights (outputs, inputs) and biases (outputs,) of each further layer.
    """
    loss: torch.Tensor = PairLoss.apply(pairs, *learned)  # type: ignore[no-untyped-call]
    return loss


class PairLoss(torch.autograd.Function):
    """pair_loss, its gradients taken block by block on the way there.

    The same as cross_entropy of NeuMF.logits, which is the readable form and the one for a GPU. Autograd would keep
    every step of the whole batch until its end, and then move it through the memory once more.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, pairs: "Pairs", *learned: torch.Tensor) -> torch.Tensor:
        """The loss, (); what it learned is kept for the way back."""
        gradients = tuple(torch.zeros_like(tensor) for tensor in learned)
        n_blocks = max(1, round(pairs.columns.numel() / BLOCK))
        n_together = -(-len(pairs.columns) // n_blocks)
        losses = [
            pairs.block(slice(start, start + n_together), learned, gradients)
            for start in range(0, len(pairs.columns), n_together)
        ]
        ctx.save_for_backward(*gradients)
        return torch.stack(losses).sum()

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """The gradients found on the way there, times the one of the loss, ()."""
        return (None, *(gradient.mul_(outer[0]) for gradient in ctx.saved_tensors))


class Pairs:
    """Which items meet which buyers.

    columns: (n, m), the first of a row its positive. shift: (n, m), added to the logits. weights: (n,) of the rows.
    """

    def __init__(self, columns: torch.Tensor, shift: torch.Tensor, weights: torch.Tensor, dropout: float) -> None:
        self.columns, self.shift, self.weights, self.dropout = columns, shift, weights, dropout

    def block(self, rows: slice, learned: Tensors, gradients: Tensors) -> torch.Tensor:
        """The loss of some rows, (); adds to the gradients."""
        (factors, first, items, hidden), layers = learned[:4], learned[4:]
        columns, shift, weights = self.columns[rows], self.shift[rows], self.weights[rows, None]
        logits, inside = shift.clone(), first.new_empty(columns.numel(), first.shape[1])
        left = units_left(first[rows], self.dropout)
        meet(*arrays(columns, factors[rows], first[rows], items, hidden, left, logits, inside))
        seen = self._forward(inside, len(columns), layers)
        logits += seen.pop().view_as(logits)
        chances = torch.log_softmax(logits, dim=1)
        loss = -(chances[:, :1] * weights).sum()
        chances.exp_()[:, 0] -= 1
        ahead = chances.mul_(weights)
        back = self._backward(ahead.view(-1, 1), seen, layers, gradients[4:])
        to_rows = (gradients[0][rows], gradients[1][rows])
        meet_back(*arrays(columns, ahead, back, factors[rows], items, *to_rows, *gradients[2:4]))
        return loss

    def _forward(self, inside: torch.Tensor, n_rows: int, layers: Tensors) -> list[torch.Tensor]:
        """What goes into each layer behind the first, and what comes out of the last."""
        seen = [inside]
        for weights, biases in zip(layers[:-2:2], layers[1:-2:2], strict=True):
            hidden = torch.addmm(biases, seen[-1], weights.T).relu_()
            if self.dropout > 0:
                of_rows = hidden.view(n_rows, -1, hidden.shape[1])
                of_rows.mul_(units_left(of_rows[:, 0], self.dropout)[:, None])
            seen.append(hidden)
        return [*seen, torch.addmm(layers[-1], seen[-1], layers[-2].T)]

    def _backward(
        self, ahead: torch.Tensor, seen: list[torch.Tensor], layers: Tensors, gradients: Tensors
    ) -> torch.Tensor:
        """The gradient before the first layer's rectifier, from the one of the logits (n m, 1); uses seen up."""
        for place in range(len(seen) - 1, -1, -1):
            gradients[2 * place].addmm_(ahead.T, seen[place])
            gradients[2 * place + 1].add_(ahead.sum(dim=0))
            passed = seen[place].sign_()  # what came out positive was neither rectified away nor dropped
            ahead = (ahead @ layers[2 * place]).mul_(passed)
            if self.dropout > 0:
                ahead.mul_(made_up_by(self.dropout))
        return ahead


def arrays(*tensors: torch.Tensor) -> list[NDArray[Any]]:
    """The memory of tensors, as compiled code takes it."""
    return [tensor.detach().numpy() for tensor in tensors]
