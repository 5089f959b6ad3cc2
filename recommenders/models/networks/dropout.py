"""Dropout that draws one random byte per unit. Imported only for fitting.

PyTorch draws one random number per unit. On a CPU, this takes a tenth of the step time of networks of this size.
"""

import torch
from torch import nn

BYTE = 256  # number of values of the random byte that decides whether a unit is dropped
INT64_MIN = torch.iinfo(torch.int64).min


class Dropout(nn.Module):
    """Dropout (Srivastava et al. 2014). The rate is rounded to 256ths."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, layer: torch.Tensor) -> torch.Tensor:
        """The same layer; during training, some of its units are dropped."""
        return layer * dropout_mask(layer, self.rate) if self.training and self.rate > 0 else layer


def dropout_mask(like: torch.Tensor, rate: float) -> torch.Tensor:
    """A mask of the shape of `like`: 0 for dropped units, kept_unit_scale(rate) for the others."""
    if rate == 0:
        return torch.ones_like(like)
    numbers = torch.empty(-(-like.numel() // 8), dtype=torch.int64, device=like.device).random_(INT64_MIN, None)
    kept = numbers.view(torch.uint8)[: like.numel()].view(like.shape) >= _n_dropped_values(rate)
    return kept.to(like.dtype).mul_(kept_unit_scale(rate))


def kept_unit_scale(rate: float) -> float:
    """The factor of the kept units. It keeps the expected value of a unit."""
    return BYTE / (BYTE - _n_dropped_values(rate))


def _n_dropped_values(rate: float) -> int:
    return min(round(BYTE * rate), BYTE - 1)
