"""Dropout that draws a byte a unit. Imported only while fitting.

PyTorch draws a number for each unit, which on a CPU takes a tenth of the steps of networks as small as ours.
"""

import torch
from torch import nn

BYTE = 256  # values of the byte that decides over a unit
LEAST = torch.iinfo(torch.int64).min


class Dropout(nn.Module):
    """Srivastava et al. 2014, its share rounded to 256ths."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, layer: torch.Tensor) -> torch.Tensor:
        """The same layer, in training with units dropped."""
        return layer * units_left(layer, self.share) if self.training and self.share > 0 else layer


def units_left(like: torch.Tensor, share: float) -> torch.Tensor:
    """What dropout leaves of a tensor of that shape: 0, or what makes up for those that are gone."""
    if share == 0:
        return torch.ones_like(like)
    numbers = torch.empty(-(-like.numel() // 8), dtype=torch.int64, device=like.device).random_(LEAST, None)
    left = numbers.view(torch.uint8)[: like.numel()].view(like.shape) >= _gone(share)
    return left.to(like.dtype).mul_(made_up_by(share))


def made_up_by(share: float) -> float:
    """What the units that are left are multiplied by."""
    return BYTE / (BYTE - _gone(share))


def _gone(share: float) -> int:
    return min(round(BYTE * share), BYTE - 1)
