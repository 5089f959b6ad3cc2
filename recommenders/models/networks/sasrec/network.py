"""SASRec in PyTorch. Imported only for fitting."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from recommenders.models.networks.dropout import Dropout
from recommenders.models.networks.sasrec.config import SASRecConfig
from recommenders.models.networks.sasrec.inference import EPSILON, LAYERS

INIT_STD = 0.02  # standard deviation of the initial embeddings


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
    """All of SASRec but the item embeddings."""

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
