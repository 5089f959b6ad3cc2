"""NeuMF's forward pass in numpy: what answers requests."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recommenders.events.histories import Histories
from recommenders.models.networks.neural_collaborative.config import NeuralCollaborativeConfig

if TYPE_CHECKING:
    pass


Floats = NDArray[np.float32]
Layers = list[tuple[Floats, Floats]]  # (inputs, outputs) weights and (outputs,) biases

TILE = 2048  # (buyer, item) pairs whose hidden layers are held at once; they fit the second-level cache
READ_TOGETHER = 64  # buyers whose histories are read at once


class Network(NamedTuple):
    """The learned weights as numpy uses them. Vectors have two halves: the factors, then the input of the layers."""

    own: Floats  # (n_own + 1, 2 embedding_dim) buyers' own vectors; the last is 0, for who has none
    read: Floats  # (n_items, 2 embedding_dim) items as a history shows them
    items: Floats  # (n_items, embedding_dim + 1 + first layer) items as they are scored: factors, bias, hidden part
    shares: Floats  # (history_length + 1, n_means, history_length) what each event counts, by their number
    blend: Floats  # (n_means embedding_dim, embedding_dim) from the means to factors
    first: tuple[Floats, Floats]  # the first layer's part of buyers
    layers: Layers  # behind the first

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]], config: NeuralCollaborativeConfig) -> "Network":
        """The network of named arrays. Raises KeyError if one is missing."""
        size, items = config.embedding_dim, arrays["items"]
        nobody = np.zeros((1, 2 * size), np.float32)
        hidden = items[:, size : 2 * size] @ arrays["first_item.weights"]
        return cls(
            np.concatenate([arrays["own"], nobody]),
            np.ascontiguousarray(items[:, : 2 * size]),
            np.hstack([items[:, :size], items[:, -1:], hidden]),
            shares(config),
            arrays["blend"],
            (arrays["first_user.weights"], arrays["first_user.biases"]),
            [(arrays[f"layer{i}.weights"], arrays[f"layer{i}.biases"]) for i in range(len(config.hidden_layers))],
        )

    def users(self, own_rows: NDArray[np.int32], histories: Histories) -> Floats:
        """(n, embedding_dim + 1 + first layer) buyers as items are scored for them; own_rows: (n,), -1 for none."""
        size = self.read.shape[1] // 2
        vectors = np.empty((len(own_rows), self.items.shape[1]), np.float32)
        for start in range(0, len(own_rows), READ_TOGETHER):
            block = slice(start, start + READ_TOGETHER)
            own, means = self.own[own_rows[block]], self._means(histories[block])
            n = len(own)
            vectors[block, :size] = own[:, :size] + means[..., :size].reshape(n, -1) @ self.blend
            vectors[block, size] = 1.0  # meets the items' bias
            inputs = np.concatenate([own[:, size:], means[..., size:].reshape(n, -1)], axis=1)
            vectors[block, size + 1 :] = inputs @ self.first[0] + self.first[1]
        return vectors

    def _means(self, histories: Histories) -> Floats:
        """(n, n_means, 2 embedding_dim) weighted means of the items read in each history, 0 for an empty one."""
        longest = max(1, min(int(histories.counts.max(initial=0)), self.shares.shape[2]))
        newest = histories.latest(longest)
        counted = np.minimum(histories.counts, longest)
        means: Floats = self.shares[counted][:, :, -longest:] @ self.read[newest]
        return means


def own_rows(counts: NDArray[np.int64], config: NeuralCollaborativeConfig) -> NDArray[np.int32]:
    """(n_users,) the row of each buyer's own vector by its number of events, -1 for those of too few."""
    has = counts >= config.own_vector_events
    return np.where(has, np.cumsum(has) - 1, -1).astype(np.int32)


def decays(config: NeuralCollaborativeConfig) -> NDArray[np.float32]:
    """(n_means,) what an event counts beside the one after it."""
    return np.exp2(-1.0 / np.asarray(config.half_lives, dtype=np.float64)).astype(np.float32)


def shares(config: NeuralCollaborativeConfig) -> NDArray[np.float32]:
    """(history_length + 1, n_means, history_length): for each number of events, the newest last; they sum to 1."""
    length = config.history_length
    powers = decays(config)[:, None].astype(np.float64) ** np.arange(length)[::-1]
    events = np.arange(length)[::-1] < np.arange(length + 1)[:, None]
    counted = powers * events[:, None]
    return np.asarray(counted / np.maximum(counted.sum(axis=2, keepdims=True), 1e-12), dtype=np.float32)


def forward(users: Floats, items: Floats, layers: Layers) -> Floats:
    """The logits (n_users, n_items) of NeuMF from the vectors of both sides: the products' sum + the layers' output.

    The last hidden layer's output weights are the last of `layers`, (inputs, 1); the first layer, its bias included,
    is in the vectors, after the `size` columns that are multiplied.
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
