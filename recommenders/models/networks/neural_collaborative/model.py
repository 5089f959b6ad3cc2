"""NeuMF: vectors of buyers and items, multiplied and fed through layers. Trained in PyTorch, answered in numpy."""

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from recommenders.errors import ConfigurationError
from recommenders.events.histories import Histories
from recommenders.events.interactions import Interactions
from recommenders.models.networks.log_checks import require_repeated_items
from recommenders.models.networks.neural_collaborative.config import NeuralCollaborativeConfig
from recommenders.models.networks.neural_collaborative.inference import Floats, Network, forward
from recommenders.models.recommender import ModelConfig, Recommender, Tracker

if TYPE_CHECKING:
    from recommenders.features.items import ItemFeatures


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
