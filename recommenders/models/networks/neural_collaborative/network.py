"""NeuMF in PyTorch. Imported only for fitting."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import embedding

from recommenders.features.items import ItemFeatures
from recommenders.models.networks.dropout import dropout_mask
from recommenders.models.networks.neural_collaborative.config import NeuralCollaborativeConfig
from recommenders.models.networks.neural_collaborative.history_pooling import pool_histories
from recommenders.models.networks.neural_collaborative.inference import pooling_decays, pooling_weights

FEATURE_DIM = 64  # dimensions of the projected item features
INIT_STD = 0.05  # standard deviation of the initial embeddings
MASKED = -1e4  # a logit of probability 0 in any float format
EPSILON = 1e-8  # keeps divisions and logarithms finite


class NeuMF(nn.Module):
    """He et al. 2017: a factorisation and layers side by side, summed into one logit, with history pooling for users.

    A user is the sum of a user embedding, where there is one, and the pooled item embeddings of the history: weighted
    means, with larger weights for recent events, at several half-lives. Koren 2008 (SVD++); Kabbur, Ning & Karypis 2013
    (FISM). Both kinds of embeddings have two halves of embedding_dim: the factors, then the input of the layers.
    """

    def __init__(
        self,
        n_embedded_users: int,
        n_items: int,
        config: NeuralCollaborativeConfig,
        item_features: NDArray[np.float32] | None = None,
    ) -> None:
        super().__init__()
        self.size, widths, n_half_lives = config.embedding_dim, config.hidden_layers, len(config.pooling_half_lives)
        self.n_negatives, self.dropout, self.user_embedding_dropout = (
            config.n_negatives,
            config.dropout,
            config.user_embedding_dropout,
        )
        self.user_embeddings = _table(max(n_embedded_users, 1), 2 * self.size)
        self.item_embeddings = _table(n_items, 2 * self.size + 1)  # with the bias
        with torch.no_grad():
            self.item_embeddings.weight[:, -1] = 0.0
        self.pooling_weights: torch.Tensor
        self.register_buffer("pooling_weights", torch.from_numpy(align_left(pooling_weights(config))))
        self.pooling_decays: torch.Tensor
        self.register_buffer("pooling_decays", torch.from_numpy(pooling_decays(config)))
        self.item_features: torch.Tensor | None
        self.register_buffer("item_features", None if item_features is None else torch.from_numpy(item_features))
        self.feature_layer = (
            None if item_features is None else nn.Linear(item_features.shape[1], 2 * self.size + 1, bias=False)
        )
        self.pooling_projection = nn.Parameter(torch.eye(self.size).repeat(n_half_lives, 1))
        self.first_user = nn.Linear((1 + n_half_lives) * self.size, widths[0])
        self.first_item = nn.Linear(self.size, widths[0], bias=False)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, [*widths[1:], 1], strict=True))

    def add_features(self, items: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """items (n, 2 size + 1) of ids (n,) plus a layer of their features, which helps items of few events."""
        if self.feature_layer is None or self.item_features is None:
            return items
        return torch.add(items, self.feature_layer(self.item_features[ids]))

    def encode_users(
        self, user_embeddings: torch.Tensor, item_embeddings: torch.Tensor, slots: torch.Tensor, ends: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Users before each of ends (n, m), from user embeddings (n, 2 size) and items in the slots (n, length).

        item_embeddings: (n_items, 2 size + 1); the slots are its rows. Returns factors (n m, size) and the user part of
        the first layer (n m, widths[0]).
        """
        factors, inputs = self.pool_history(item_embeddings, slots, ends)
        user_factors, user_inputs = torch.split(user_embeddings[:, None], self.size, dim=2)
        of_user, of_history = torch.split(self.first_user.weight, [self.size, inputs.shape[2]], dim=1)
        first = nn.functional.linear(inputs, of_history, self.first_user.bias) + nn.functional.linear(
            user_inputs, of_user
        )
        return (factors @ self.pooling_projection + user_factors).flatten(0, 1), first.flatten(0, 1)

    def pool_history(
        self, item_embeddings: torch.Tensor, slots: torch.Tensor, ends: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Both halves of the pooled slots before each of ends, (n, m, n_half_lives size); 0 for no slots."""
        if item_embeddings.device.type == "cpu":
            return pool_histories(item_embeddings, slots, ends, self.pooling_decays)
        return self.pool_history_plain(item_embeddings, slots, ends)

    def pool_history_plain(
        self, item_embeddings: torch.Tensor, slots: torch.Tensor, ends: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """pool_history() in its readable form, the one for a GPU: products of pooling weights and event embeddings."""
        events, length = embedding(slots, item_embeddings), slots.shape[1]
        weights = embedding(ends, self.pooling_weights[:, :, :length].flatten(1))
        # (n, m n_half_lives, length)
        weights = weights.view(len(ends), ends.shape[1] * self.pooling_weights.shape[1], length)
        halves = torch.split(events, [self.size, self.size, 1], dim=2)  # so that no step copies a mean
        return torch.bmm(weights, halves[0]).view(*ends.shape, -1), torch.bmm(weights, halves[1]).view(*ends.shape, -1)

    def item_terms(self, items: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """items (n, 2 size + 1) -> factors and bias (n, size + 1), and their part of the first layer (n, widths[0])."""
        factors, inputs, bias = torch.split(items, [self.size, self.size, 1], dim=1)
        return torch.cat([factors, bias], dim=1), self.first_item(inputs)

    def logits(
        self,
        factors: torch.Tensor,
        first: torch.Tensor,
        items: torch.Tensor,
        hidden: torch.Tensor,
        columns: torch.Tensor,
    ) -> torch.Tensor:
        """The logits (n, m) of columns (n, m).

        factors (n, size) and first (n, widths[0]) come from encode_users(), items and hidden from item_terms().
        """
        gathered = embedding(columns, items)
        product = (gathered[..., :-1] * factors[:, None]).sum(dim=2) + gathered[..., -1]
        layer_input = embedding(columns, hidden) + first[:, None]
        for layer in self.layers:
            layer_input = layer(self._drop(torch.relu_(layer_input)))
        logits: torch.Tensor = product + layer_input[..., 0]
        return logits

    def _drop(self, hidden: torch.Tensor) -> torch.Tensor:
        """Dropout of the same units for all items of a user: their scores stay comparable, and it is cheaper."""
        if not self.training or self.dropout == 0:
            return hidden
        return hidden * dropout_mask(hidden[:, 0], self.dropout)[:, None]

    def forward(self, user_embeddings: torch.Tensor, history: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """User embeddings (n, 2 size), columns of history (n, length), oldest first, and of items (n, m) -> (n, m)."""
        ends = torch.full((len(user_embeddings), 1), history.shape[1], device=user_embeddings.device)
        embeddings = self.item_embeddings.weight
        factors, first = self.encode_users(user_embeddings, embeddings, history, ends)
        return self.logits(factors, first, *self.item_terms(embeddings), items)

    @torch.no_grad()
    def arrays(self) -> dict[str, NDArray[Any]]:
        """A copy of the arrays that Network.from_arrays() reads."""
        linear = {"first_user": self.first_user, "first_item": self.first_item}
        linear |= {f"layer{i}": layer for i, layer in enumerate(self.layers)}  # type: ignore[misc]
        items = self.item_embeddings.weight
        items = self.add_features(items, torch.arange(len(items), device=items.device))
        found = {
            "user_embeddings": self.user_embeddings.weight,
            "item_embeddings": items,
            "pooling_projection": self.pooling_projection,
        }
        for name, layer in linear.items():
            found[f"{name}.weights"] = layer.weight.T
            if layer.bias is not None:
                found[f"{name}.biases"] = layer.bias
        return {name: np.array(tensor.cpu().numpy(), order="C") for name, tensor in found.items()}


def _table(n_rows: int, width: int) -> nn.Embedding:
    """An embedding table with sparse gradients."""
    table = nn.Embedding(n_rows, width, sparse=True)  # drawn with a standard deviation of 1
    with torch.no_grad():
        table.weight *= INIT_STD
    return table


def align_left(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Pooling weights (length + 1, n_half_lives, length) with the newest of n events at n - 1 instead of at the end."""
    length = weights.shape[2]
    positions = np.arange(length) - np.arange(length + 1)[:, None]  # negative positions count from the end
    return np.where(
        positions[:, None] < 0, np.take_along_axis(weights, positions[:, None] % length, axis=2), np.float32(0.0)
    )


def project_features(features: ItemFeatures, rng: np.random.Generator) -> NDArray[np.float32]:
    """(n_items, FEATURE_DIM) features by a random projection, which keeps distances. Johnson & Lindenstrauss 1984."""
    projection = rng.normal(size=(features.vectors.shape[1], FEATURE_DIM)) / np.sqrt(FEATURE_DIM)
    return np.asarray(features.vectors @ projection.astype(np.float32), dtype=np.float32)
