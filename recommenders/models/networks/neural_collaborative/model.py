"""NeuMF: vectors of buyers and items, multiplied and fed through layers. Trained in PyTorch, answered in numpy."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from recommenders.errors import ConfigurationError
from recommenders.events.histories import Histories
from recommenders.events.interactions import Interactions
from recommenders.models.networks.log_checks import require_repeated_items
from recommenders.models.recommender import ModelConfig, Recommender, Tracker

if TYPE_CHECKING:
    from recommenders.features.items import ItemFeatures

Floats = NDArray[np.float32]
Layers = list[tuple[Floats, Floats]]  # (inputs, outputs) weights and (outputs,) biases

TILE = 2048  # (buyer, item) pairs whose hidden layers are held at once; they fit the second-level cache
READ_TOGETHER = 64  # buyers whose histories are read at once


class NeuralCollaborativeConfig(ModelConfig):
    """Shape and training of the network."""

    embedding_dim: int = Field(default=50, ge=1)
    hidden_layers: tuple[int, ...] = Field(default=(128, 64, 32), min_length=1)
    half_lives: tuple[float, ...] = (1.0, 8.0, 64.0)  # events after which one of the history counts half
    history_length: int = Field(default=128, ge=1)  # newest events that are looked at
    own_vector_events: int = Field(default=5, ge=1)  # buyers of fewer events are told by their history alone
    own_dropout: float = Field(default=0.3, ge=0, lt=1)  # how often others are, while training: as strangers will be
    side_features: bool = False  # items are also what their features say, where there are any
    pretraining_epochs: int = Field(default=0, ge=0)  # first ones, that teach the factors without the layers
    learning_rate: float = Field(default=0.001, gt=0)
    epochs: int = Field(default=100, ge=1)  # at most
    batch_size: int = Field(default=1024, ge=1)  # positives a step; their negatives come on top
    negatives: int = Field(default=8, ge=1)  # for each positive, that go through the layers
    negative_pool: int = Field(default=512, ge=1)  # items of a step out of which the factors choose them
    negative_power: float = Field(default=0.75, ge=0, le=1)  # how much more often popular items are in the pool
    half_life_share: float | None = Field(default=1 / 6, gt=0)  # of the log's span: the age that teaches half as much
    averaged_epochs: int = Field(default=3, ge=1)  # newest ones whose mean weights are validated and kept
    patience: int = Field(default=2, ge=1)  # epochs without a clearly better validation before training stops
    min_gain: float = Field(default=0.01, ge=0)  # of the validation, relative, that is clearly better
    validation_split: float = Field(default=0.2, gt=0, lt=1)  # share of buyers whose latest orders validate
    validation_users: int = Field(default=1000, ge=1)  # at most so many of them
    weight_decay: float = Field(default=0.0, ge=0)  # decoupled (AdamW)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    threads: int = Field(default=1, ge=1)  # more gain little: much of a step is loops of one thread
    # A limit for slow machines. Where it strikes, the best epoch so far is kept, and another run may keep another one.
    max_minutes: float = Field(default=4.5, gt=0)
    fixed_epochs: int | None = Field(default=None, ge=1)  # a refit: so many epochs on everything, no validation


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


class NeuralCollaborative(Recommender):
    """He et al. 2017, with the first layer split into a buyer's and an item's part, so all items cost one addition.

    A buyer's vector is one of its own plus what its newest events say, read anew for every answer. So strangers are
    served like everybody else, by the vectors of the items they took, and every new purchase counts at once. What is
    kept is the mean of some epochs' weights, which ranks better than each and rises more evenly (Izmailov et al. 2018).
    """

    name = "neural_collaborative"
    Config = NeuralCollaborativeConfig
    config: NeuralCollaborativeConfig
    dear_to_fit: ClassVar[bool] = True
    handles_new_users: ClassVar[bool] = True
    scans_cheaply: ClassVar[bool] = False

    network_: Network
    own_rows_: NDArray[np.int32]  # (n_users,) rows of the buyers' own vectors, -1 for who has none
    epochs_: int  # epochs behind the weights; what a refit repeats

    def _fit(self, interactions: Interactions, features: "ItemFeatures | None", tracker: Tracker | None) -> None:
        from recommenders.models.networks.neural_collaborative.training import (
            train,  # torch, which answering never needs
        )

        if self.config.side_features and features is None:
            raise ConfigurationError(
                "neural_collaborative.side_features: got true without item features; allowed where items have any; "
                "bring an items table or set it to false"
            )
        if not self.config.side_features:  # which may tell of items what their events do not
            require_repeated_items(self.name, interactions)
        learned = train(interactions, self.config, tracker, features)
        self.restore(learned.arrays)
        self.learning_curve = learned.curve

    def refit_config(self) -> ModelConfig:
        """As many epochs as early stopping found."""
        return self.config.model_copy(update={"fixed_epochs": self.epochs_})

    def memory_needed(self, interactions: Interactions) -> float:
        """Bytes: tables, two moments, copies of the best and newest epochs and to answer; arrays of the log; a step."""
        config, n_items = self.config, len(interactions.items)
        counts = np.bincount(interactions.user_rows, minlength=1)
        n_own = int((counts >= config.own_vector_events).sum())
        tables = (5 + config.averaged_epochs) * (n_own + n_items)
        floats = tables * (2 * config.embedding_dim + 1) + n_items * (64 + config.hidden_layers[0])
        pairs = config.batch_size * (1 + config.negatives) * 6 * sum(config.hidden_layers)
        reading = 20 * config.batch_size * len(config.half_lives) * 2 * config.embedding_dim
        pool = 8 * config.batch_size * config.negative_pool
        return 2.5e8 + 4.0 * (floats + pairs + reading + pool) + 160.0 * len(interactions) + 24.0 * len(counts)

    def user_vectors(self, user_rows: NDArray[np.int32], histories: Histories) -> Floats:
        """(n, embedding_dim + 1 + first layer): what is scored with the items' vectors."""
        own = np.where(user_rows >= 0, self.own_rows_[user_rows], np.int32(-1))
        return self.network_.users(own, histories)

    def score(self, user_rows: NDArray[np.int32], histories: Histories) -> Floats:
        """(n, n_items): the network's logit, which grows with the chance that an item comes next."""
        return forward(self.user_vectors(user_rows, histories), self.network_.items, self.network_.layers)

    def score_items(
        self, user_rows: NDArray[np.int32], histories: Histories, item_columns: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        """The same logits of the given items alone; item_columns and the result are (n, m)."""
        users, scores = self.user_vectors(user_rows, histories), np.empty(item_columns.shape, np.float32)
        for row, columns in enumerate(item_columns):  # a buyer's items are one product each: nothing to gain together
            items = self.network_.items[columns]
            scores[row] = forward(users[row : row + 1], items, self.network_.layers)[0]
        return scores

    def knows(self, user_rows: NDArray[np.int32], histories: Histories) -> NDArray[np.bool_]:
        """Buyers with a history, and those of the log."""
        return (user_rows >= 0) | super().knows(user_rows, histories)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Vectors and layers, and whose they are."""
        return {**self._arrays, "own_rows": self.own_rows_}

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """The inverse of arrays()."""
        self.own_rows_, self.epochs_ = arrays["own_rows"], int(arrays["epochs"][0])
        self._arrays = {name: array for name, array in arrays.items() if name != "own_rows"}
        self.network_ = Network.of(arrays, self.config)


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
