"""NeuMF's forward pass in numpy, which serves requests: user embeddings and histories -> logits."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recommenders.events.histories import Histories
from recommenders.models.networks.neural_collaborative.config import NeuralCollaborativeConfig

Floats = NDArray[np.float32]
Layers = list[tuple[Floats, Floats]]  # (inputs, outputs) weights and (outputs,) biases

TILE = 2048  # (user, item) pairs whose hidden layers are in memory at once; they fit the second-level cache
USER_BLOCK = 64  # users whose histories are pooled at once


class Network(NamedTuple):
    """The trained weights as numpy uses them. An embedding has two halves: factors, then inputs of the layers."""

    user_embeddings: Floats  # (n_embedded_users + 1, 2 embedding_dim); the last row is 0, for users without one
    pooled_items: Floats  # (n_items, 2 embedding_dim) item embeddings for history pooling
    items: Floats  # (n_items, embedding_dim + 1 + first layer) items for scoring: factors, bias, hidden part
    pooling_weights: Floats  # (history_length + 1, n_half_lives, history_length) of each event, by number of events
    pooling_projection: Floats  # (n_half_lives embedding_dim, embedding_dim) from pooled histories to factors
    first_layer: tuple[Floats, Floats]  # the user part of the first layer
    layers: Layers  # after the first

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], config: NeuralCollaborativeConfig) -> "Network":
        """The network of named arrays. Raises KeyError if one is missing."""
        size, items = config.embedding_dim, arrays["item_embeddings"]
        zero_row = np.zeros((1, 2 * size), np.float32)
        hidden = items[:, size : 2 * size] @ arrays["first_item.weights"]
        return cls(
            np.concatenate([arrays["user_embeddings"], zero_row]),
            np.ascontiguousarray(items[:, : 2 * size]),
            np.hstack([items[:, :size], items[:, -1:], hidden]),
            pooling_weights(config),
            arrays["pooling_projection"],
            (arrays["first_user.weights"], arrays["first_user.biases"]),
            [(arrays[f"layer{i}.weights"], arrays[f"layer{i}.biases"]) for i in range(len(config.hidden_layers))],
        )

    def encode_users(self, embedding_rows: NDArray[np.int32], histories: Histories) -> Floats:
        """(n, embedding_dim + 1 + first layer) users for scoring; embedding_rows: (n,), -1 for none."""
        size = self.pooled_items.shape[1] // 2
        users = np.empty((len(embedding_rows), self.items.shape[1]), np.float32)
        for start in range(0, len(embedding_rows), USER_BLOCK):
            block = slice(start, start + USER_BLOCK)
            embeddings, pooled = self.user_embeddings[embedding_rows[block]], self._pool_histories(histories[block])
            n = len(embeddings)
            users[block, :size] = embeddings[:, :size] + pooled[..., :size].reshape(n, -1) @ self.pooling_projection
            users[block, size] = 1.0  # multiplies the item bias
            inputs = np.concatenate([embeddings[:, size:], pooled[..., size:].reshape(n, -1)], axis=1)
            users[block, size + 1 :] = inputs @ self.first_layer[0] + self.first_layer[1]
        return users

    def _pool_histories(self, histories: Histories) -> Floats:
        """(n, n_half_lives, 2 embedding_dim) weighted means of the items of each history, 0 for an empty one."""
        longest = max(1, min(int(histories.counts.max(initial=0)), self.pooling_weights.shape[2]))
        newest = histories.latest(longest)
        counts = np.minimum(histories.counts, longest)
        pooled: Floats = self.pooling_weights[counts][:, :, -longest:] @ self.pooled_items[newest]
        return pooled


def user_embedding_rows(counts: NDArray[np.int64], config: NeuralCollaborativeConfig) -> NDArray[np.int32]:
    """(n_users,) the row of each user's embedding by the number of events; -1 for users of too few events."""
    has_embedding = counts >= config.min_user_events
    return np.where(has_embedding, np.cumsum(has_embedding) - 1, -1).astype(np.int32)


def pooling_decays(config: NeuralCollaborativeConfig) -> NDArray[np.float32]:
    """(n_half_lives,) the weight of an event relative to the event after it."""
    return np.exp2(-1.0 / np.asarray(config.pooling_half_lives, dtype=np.float64)).astype(np.float32)


def pooling_weights(config: NeuralCollaborativeConfig) -> NDArray[np.float32]:
    """(history_length + 1, n_half_lives, history_length): for each number of events, newest last; they sum to 1."""
    length = config.history_length
    powers = pooling_decays(config)[:, None].astype(np.float64) ** np.arange(length)[::-1]
    events = np.arange(length)[::-1] < np.arange(length + 1)[:, None]
    weights = powers * events[:, None]
    return np.asarray(weights / np.maximum(weights.sum(axis=2, keepdims=True), 1e-12), dtype=np.float32)


def forward(users: Floats, items: Floats, layers: Layers) -> Floats:
    """The logits (n_users, n_items) of NeuMF from both sides: inner products of the factors + output of the layers.

    users, items: (n, size + w): `size` factors (with the bias), then the inputs of the first layer's rectifier, w
    wide. The first layer and its bias are already applied. layers: the others; the last one has weights (inputs, 1).
    """
    size = users.shape[1] - layers[0][0].shape[0]
    scores: NDArray[np.float32] = users[:, :size] @ items[:, :size].T
    per_user = max(1, min(len(items), TILE))
    n_together = max(1, TILE // per_user)
    for first in range(0, len(users), n_together):
        some_users = users[first : first + n_together, None, size:]
        for start in range(0, len(items), per_user):
            hidden = some_users + items[None, start : start + per_user, size:]
            shape = hidden.shape[:2]
            hidden = hidden.reshape(-1, hidden.shape[-1])
            for weights, biases in layers:
                np.maximum(hidden, 0.0, out=hidden)
                hidden = hidden @ weights
                hidden += biases
            scores[first : first + n_together, start : start + per_user] += hidden.reshape(shape)
    return scores
