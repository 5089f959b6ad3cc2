"""The loss of a step of NeuMF, with its backward pass on a CPU written by hand. Imported only for fitting."""

from typing import Any

import torch
from numpy.typing import NDArray
from torch.autograd.function import FunctionCtx

from recommenders.models.networks.dropout import dropout_mask, kept_unit_scale
from recommenders.models.networks.neural_collaborative.kernels import score_pairs, score_pairs_backward

BLOCK = (
    2048  # pairs whose hidden layers are in memory at once; they stay in the cache between forward and backward pass
)
Tensors = tuple[torch.Tensor, ...]


def cross_entropy(positive: torch.Tensor, negative: torch.Tensor) -> torch.Tensor:
    """(n,) minus the log of the softmax at positive (n, 1) among negative (n, m)."""
    return torch.logsumexp(torch.cat([positive, negative], dim=1), dim=1) - positive[:, 0]


def pair_loss(pairs: "Pairs", *inputs: torch.Tensor) -> torch.Tensor:
    """The weighted sum of NeuMF's cross entropies, ().

    inputs: factors (n, size + 1), ending in 1, first (n, w), items (n_items, size + 1), ending in their bias, hidden
    (n_items, w), then weights (outputs, inputs) and biases (outputs,) of each further layer.
    """
    loss: torch.Tensor = PairLoss.apply(pairs, *inputs)  # type: ignore[no-untyped-call]
    return loss


class PairLoss(torch.autograd.Function):
    """pair_loss, whose gradients are computed block by block in the forward pass.

    The same as cross_entropy of NeuMF.logits, which is the readable form and the one for a GPU. Autograd would keep all
    intermediate results of the whole batch until the end, and then read them from memory once more.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, pairs: "Pairs", *inputs: torch.Tensor) -> torch.Tensor:
        """The loss, (); stores the gradients for the backward pass."""
        gradients = tuple(torch.zeros_like(tensor) for tensor in inputs)
        n_blocks = max(1, round(pairs.columns.numel() / BLOCK))
        n_rows = -(-len(pairs.columns) // n_blocks)
        losses = [
            pairs.block_loss(slice(start, start + n_rows), inputs, gradients)
            for start in range(0, len(pairs.columns), n_rows)
        ]
        ctx.save_for_backward(*gradients)
        return torch.stack(losses).sum()

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """The gradients of the forward pass, times the gradient of the loss, ()."""
        return (None, *(gradient.mul_(outer[0]) for gradient in ctx.saved_tensors))


class Pairs:
    """The (user, item) pairs of a step.

    columns: (n, m), the first of a row is its positive. shift: (n, m), added to the logits. weights: (n,) of the rows.
    """

    def __init__(self, columns: torch.Tensor, shift: torch.Tensor, weights: torch.Tensor, dropout: float) -> None:
        self.columns, self.shift, self.weights, self.dropout = columns, shift, weights, dropout

    def block_loss(self, rows: slice, inputs: Tensors, gradients: Tensors) -> torch.Tensor:
        """The loss of some rows, (); adds to the gradients."""
        (factors, first, items, hidden), layers = inputs[:4], inputs[4:]
        columns, shift, weights = self.columns[rows], self.shift[rows], self.weights[rows, None]
        logits, layer_input = shift.clone(), first.new_empty(columns.numel(), first.shape[1])
        mask = dropout_mask(first[rows], self.dropout)
        score_pairs(*numpy_views(columns, factors[rows], first[rows], items, hidden, mask, logits, layer_input))
        activations = self._forward(layer_input, len(columns), layers)
        logits += activations.pop().view_as(logits)
        probabilities = torch.log_softmax(logits, dim=1)
        loss = -(probabilities[:, :1] * weights).sum()
        probabilities.exp_()[:, 0] -= 1
        logit_gradient = probabilities.mul_(weights)
        input_gradient = self._backward(logit_gradient.view(-1, 1), activations, layers, gradients[4:])
        user_gradients = (gradients[0][rows], gradients[1][rows])
        score_pairs_backward(
            *numpy_views(
                columns, logit_gradient, input_gradient, factors[rows], items, *user_gradients, *gradients[2:4]
            )
        )
        return loss

    def _forward(self, layer_input: torch.Tensor, n_rows: int, layers: Tensors) -> list[torch.Tensor]:
        """The input of each layer after the first, and the output of the last."""
        activations = [layer_input]
        for weights, biases in zip(layers[:-2:2], layers[1:-2:2], strict=True):
            hidden = torch.addmm(biases, activations[-1], weights.T).relu_()
            if self.dropout > 0:
                by_row = hidden.view(n_rows, -1, hidden.shape[1])
                by_row.mul_(dropout_mask(by_row[:, 0], self.dropout)[:, None])
            activations.append(hidden)
        return [*activations, torch.addmm(layers[-1], activations[-1], layers[-2].T)]

    def _backward(
        self, gradient: torch.Tensor, activations: list[torch.Tensor], layers: Tensors, gradients: Tensors
    ) -> torch.Tensor:
        """The gradient before the first layer's rectifier, from that of the logits (n m, 1); overwrites activations."""
        for i in range(len(activations) - 1, -1, -1):
            gradients[2 * i].addmm_(gradient.T, activations[i])
            gradients[2 * i + 1].add_(gradient.sum(dim=0))
            active = activations[i].sign_()  # a positive output was neither rectified nor dropped
            gradient = (gradient @ layers[2 * i]).mul_(active)
            if self.dropout > 0:
                gradient.mul_(kept_unit_scale(self.dropout))
        return gradient


def numpy_views(*tensors: torch.Tensor) -> list[NDArray[Any]]:
    """The memory of tensors as numpy arrays, for compiled code."""
    return [tensor.detach().numpy() for tensor in tensors]
