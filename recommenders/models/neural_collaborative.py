"""NeuMF: embeddings of buyers and items, multiplied and fed through layers. Trained in PyTorch, answered in numpy."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array

from recommenders.datasets.histories import Histories
from recommenders.datasets.interactions import Interactions
from recommenders.models.recommender import ModelConfig, Recommender, Tracker

if TYPE_CHECKING:
    from recommenders.features.items import ItemFeatures

Layers = list[tuple[NDArray[np.float32], NDArray[np.float32]]]  # (inputs, outputs) weights and (outputs,) biases

TILE = 2048  # (buyer, item) pairs whose hidden layers are held at once; they fit the second-level cache


class NeuralCollaborativeConfig(ModelConfig):
    """Shape and training of the network."""

    embedding_dim: int = Field(default=50, ge=1)
    hidden_layers: tuple[int, ...] = Field(default=(128, 64, 32), min_length=1)
    learning_rate: float = Field(default=0.001, gt=0)
    epochs: int = Field(default=100, ge=1)  # at most
    batch_size: int = Field(default=1024, ge=1)  # positives a step; their negatives come on top
    negatives: int = Field(default=2, ge=1)  # drawn for each positive
    negative_power: float = Field(default=0.75, ge=0, le=1)  # how much more often popular items are drawn
    half_life_share: float | None = Field(default=1 / 6, gt=0)  # of the log's span: the age that teaches half as much
    patience: int = Field(default=1, ge=1)  # epochs without a better validation before training stops
    validation_split: float = Field(default=0.2, gt=0, lt=1)  # share of buyers whose latest orders validate
    validation_users: int = Field(default=300, ge=1)  # at most so many of them
    weight_decay: float = Field(default=0.0, ge=0)  # decoupled (AdamW)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    threads: int = Field(default=1, ge=1)  # steps this small gain little from more, and lose much on a busy machine
    fold_in_reg: float = Field(default=1.0, gt=0)
    fixed_epochs: int | None = Field(default=None, ge=1)  # a refit: so many epochs on everything, no validation


class NeuralCollaborative(Recommender):
    """He et al. 2017, with the first layer split into a buyer's and an item's part, so all items cost one addition.

    A stranger's vectors are a linear map of the mean item vectors of the history, fitted in closed form on the buyers
    of the log; purchases that came after training move a known buyer's vectors by the same map.
    """

    name = "neural_collaborative"
    Config = NeuralCollaborativeConfig
    config: NeuralCollaborativeConfig
    handles_new_users: ClassVar[bool] = True

    users_vectors_: NDArray[np.float32]  # (n_users, embedding_dim + first layer), products then layers
    items_vectors_: NDArray[np.float32]  # (n_items, embedding_dim + first layer)
    layers_: Layers
    fold_in_: NDArray[np.float32]  # (1 + item vector, user vector)
    epochs_: int  # epochs behind the vectors; what a refit repeats

    def _fit(self, interactions: Interactions, features: "ItemFeatures | None", tracker: Tracker | None) -> None:
        from recommenders.models.neural_training import train  # torch, which answering never needs

        learned = train(interactions, self.config, tracker)
        self.restore(learned.arrays)
        self.learning_curve = learned.curve
        self.fold_in_ = self._fold_in()

    def _fold_in(self) -> NDArray[np.float32]:
        """Ridge regression of the buyers' vectors on what their histories hold."""
        known = np.flatnonzero(self.histories_.counts)
        inputs = self._history_vectors(self.histories_[known].matrix)
        penalty = self.config.fold_in_reg * np.eye(inputs.shape[1])
        penalty[0, 0] = 1e-6  # the intercept goes free
        solved = np.linalg.solve(inputs.T @ inputs + penalty, inputs.T @ self.users_vectors_[known])
        return solved.astype(np.float32)

    def _history_vectors(self, histories: csr_array) -> NDArray[np.float32]:
        """(n, 1 + item vector): one, then the mean item vector of each history (0 for an empty one)."""
        marks = csr_array(
            (np.ones(len(histories.indices), np.float32), histories.indices, histories.indptr), histories.shape
        )
        counts = np.maximum(np.diff(histories.indptr), 1).astype(np.float32)
        return np.hstack([np.ones((len(counts), 1), np.float32), (marks @ self.items_vectors_) / counts[:, None]])

    def user_vectors(self, user_rows: NDArray[np.int32], histories: Histories) -> NDArray[np.float32]:
        """(n, user vector): learned for buyers of the log, moved by what they bought since; folded in for strangers."""
        inputs = self._history_vectors(histories.matrix)
        known = np.flatnonzero(user_rows >= 0)
        vectors = inputs @ self.fold_in_
        if len(known):
            rows = user_rows[known]
            since = inputs[known] - self._history_vectors(self.histories_[rows].matrix)
            since[histories.counts[known] == 0] = 0.0
            vectors[known] = self.users_vectors_[rows] + since @ self.fold_in_
        return vectors

    def score(self, user_rows: NDArray[np.int32], histories: Histories) -> NDArray[np.float32]:
        """(n, n_items): the network's logit of a purchase."""
        return forward(self.user_vectors(user_rows, histories), self.items_vectors_, self.layers_)

    def knows(self, user_rows: NDArray[np.int32], histories: Histories) -> NDArray[np.bool_]:
        """Buyers of the log, and strangers with a history."""
        return (user_rows >= 0) | super().knows(user_rows, histories)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Vectors, layers and the map for strangers."""
        layers = {f"layer{i}.weights": weights for i, (weights, _) in enumerate(self.layers_)}
        biases = {f"layer{i}.biases": biases for i, (_, biases) in enumerate(self.layers_)}
        vectors = {"users": self.users_vectors_, "items": self.items_vectors_, "fold_in": self.fold_in_}
        return {**vectors, **layers, **biases, "epochs": np.array([self.epochs_])}

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """The inverse of arrays()."""
        self.users_vectors_, self.items_vectors_ = arrays["users"], arrays["items"]
        self.layers_ = layers_of(arrays)
        self.epochs_ = int(arrays["epochs"][0])
        if "fold_in" in arrays:
            self.fold_in_ = arrays["fold_in"]


def layers_of(arrays: Mapping[str, NDArray[Any]]) -> Layers:
    """The later layers among named arrays, in order. Raises KeyError if one is missing."""
    n_layers = sum(name.endswith(".biases") for name in arrays)
    return [(arrays[f"layer{i}.weights"], arrays[f"layer{i}.biases"]) for i in range(n_layers)]


def forward(
    users: NDArray[np.float32],
    items: NDArray[np.float32],
    layers: Layers,
) -> NDArray[np.float32]:
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
