"""History pooling of NeuMF on a CPU, with its backward pass written by hand. Imported only for fitting."""

from typing import Any

import torch

from recommenders.models.networks.neural_collaborative.kernels import history_means, history_means_backward


def pool_histories(
    embeddings: torch.Tensor, slots: torch.Tensor, ends: torch.Tensor, decays: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weighted means of both halves of embeddings (n_items, 2 size + 1) over the slots (n, length) before each end.

    ends: (n, m). decays: (n_half_lives,), the weight of an event relative to the event after it. Returns two tensors
    (n, m, n_half_lives size).
    """
    found: tuple[torch.Tensor, torch.Tensor] = HistoryPooling.apply(embeddings, slots, ends, decays)  # type: ignore[no-untyped-call]
    return found


class HistoryPooling(torch.autograd.Function):
    """pool_histories, compiled.

    The same as NeuMF.pool_history_plain(). The sums run from one event to the next, and a target reads the sum at the
    end of its history, so the events of a chunk are summed once, however many targets it has.
    """

    @staticmethod
    def forward(
        ctx: Any, embeddings: torch.Tensor, slots: torch.Tensor, ends: torch.Tensor, decays: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The result of pool_histories."""
        slots, ends = slots.contiguous(), ends.contiguous()
        out = torch.empty(2, *ends.shape, len(decays) * (embeddings.shape[1] // 2))
        history_means(
            embeddings.detach().contiguous().numpy(), slots.numpy(), ends.numpy(), decays.numpy(), out.numpy()
        )
        ctx.save_for_backward(slots, ends, decays)
        ctx.shape = embeddings.shape
        return out[0], out[1]

    @staticmethod
    def backward(ctx: Any, *outer: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """The gradient of the embeddings."""
        slots, ends, decays = ctx.saved_tensors
        gradient = torch.zeros(ctx.shape)
        factors, inputs = (half.contiguous().numpy() for half in outer)
        history_means_backward(factors, inputs, slots.numpy(), ends.numpy(), decays.numpy(), gradient.numpy())
        return gradient, None, None, None
