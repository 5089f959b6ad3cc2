"""What a buyer's newest events say to NeuMF, and on a CPU its way back written out. Imported only while fitting."""

from typing import Any

import torch

from recommenders.models.networks.neural_collaborative.kernels import read_means, read_means_back


def history_means(
    vectors: torch.Tensor, slots: torch.Tensor, ends: torch.Tensor, decays: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Both halves of vectors (n_items, 2 size + 1), averaged over the slots (n, length) before each of ends (n, m).

    decays: (n_means,) what an event counts beside the one after it. Returns two of (n, m, n_means size).
    """
    found: tuple[torch.Tensor, torch.Tensor] = HistoryMeans.apply(vectors, slots, ends, decays)  # type: ignore[no-untyped-call]
    return found


class HistoryMeans(torch.autograd.Function):
    """history_means, compiled.

    The same as NeuMF.plain_means(). The sums go from one event to the next, and a target takes the one that stands
    where its history ends, so a stretch costs its events once, however many targets it tells.
    """

    @staticmethod
    def forward(
        ctx: Any, vectors: torch.Tensor, slots: torch.Tensor, ends: torch.Tensor, decays: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What history_means returns."""
        slots, ends = slots.contiguous(), ends.contiguous()
        out = torch.empty(2, *ends.shape, len(decays) * (vectors.shape[1] // 2))
        read_means(vectors.detach().contiguous().numpy(), slots.numpy(), ends.numpy(), decays.numpy(), out.numpy())
        ctx.save_for_backward(slots, ends, decays)
        ctx.shape = vectors.shape
        return out[0], out[1]

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """The gradient of the vectors."""
        slots, ends, decays = ctx.saved_tensors
        gradient = torch.zeros(ctx.shape)
        factors, inputs = (half.contiguous().numpy() for half in outer)
        read_means_back(factors, inputs, slots.numpy(), ends.numpy(), decays.numpy(), gradient.numpy())
        return gradient, None, None, None
