"""NeuMF: inner products and layers over user and item embeddings. Trained in PyTorch, scored in numpy."""

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from recommenders.errors import ConfigurationError
from recommenders.events.histories import Histories
from recommenders.events.interactions import Interactions
from recommenders.models.networks.neural_collaborative.config import NAME, NeuralCollaborativeConfig
from recommenders.models.networks.neural_collaborative.inference import Floats, Network, forward
from recommenders.models.networks.suitability import require_repeated_items
from recommenders.models.recommender import ModelConfig, Recommender, TrainingOptions

if TYPE_CHECKING:
    from recommenders.features.items import ItemFeatures


class NeuralCollaborative(Recommender):
    """He et al. 2017, with the first layer split into a user part and an item part: an item costs one addition.

    A user is represented by a user embedding plus the pooled item embeddings of the newest events of the history,
    computed anew for each request. So the model also scores cold-start users, by their histories, and each new event
    counts at once. The kept weights are the mean of some epochs, which ranks better than each of them and is less noisy
    (Izmailov et al. 2018).
    """

    name = NAME
    Config = NeuralCollaborativeConfig
    config: NeuralCollaborativeConfig
    expensive_to_fit: ClassVar[bool] = True
    handles_new_users: ClassVar[bool] = True

    network_: Network
    user_embedding_rows_: NDArray[np.int32]  # (n_users,) rows of the user embeddings, -1 for users without one
    epochs_: int  # epochs that trained the kept weights; a refit repeats this number

    def _fit(self, interactions: Interactions, features: "ItemFeatures | None", options: TrainingOptions) -> None:
        # these import torch, which scoring never needs
        from recommenders.models.networks.neural_collaborative.training import NeuMFTrainer
        from recommenders.models.networks.training_loop import train

        if self.config.side_features and features is None:
            raise ConfigurationError(
                "neural_collaborative.side_features: got true without item features; allowed where items have any; "
                "bring an items table or set it to false"
            )
        if not self.config.side_features:  # features can hold patterns of items that their events do not show
            require_repeated_items(self.name, interactions)
        used = features if self.config.side_features else None
        result = train(NeuMFTrainer, interactions, self.config, options, used)
        self.restore({**result.arrays, "epochs": np.array([result.epochs])})
        self.learning_curve = result.curve

    def _refit_config(self) -> ModelConfig:
        """The configuration with the number of epochs that early stopping found."""
        return self.config.model_copy(update={"fixed_epochs": self.epochs_})

    def memory_needed(self, interactions: Interactions) -> float:
        """Bytes: the tables, their moments and their copies for kept epochs and for scoring; log arrays; a step."""
        config, n_items = self.config, len(interactions.items)
        counts = np.bincount(interactions.user_rows, minlength=1)
        n_embedded_users = int((counts >= config.min_user_events).sum())
        tables = (5 + config.averaged_epochs) * (n_embedded_users + n_items)
        floats = tables * (2 * config.embedding_dim + 1) + n_items * (64 + config.hidden_layers[0])
        pairs = config.batch_size * (1 + config.n_negatives) * 6 * sum(config.hidden_layers)
        pooling = 20 * config.batch_size * len(config.pooling_half_lives) * 2 * config.embedding_dim
        pool = 8 * config.batch_size * config.negative_pool
        return 2.5e8 + 4.0 * (floats + pairs + pooling + pool) + 160.0 * len(interactions) + 24.0 * len(counts)

    @property
    def scores_catalogue_cheaply(self) -> bool:
        """Never."""
        return False

    def encode_users(self, user_rows: NDArray[np.int32], histories: Histories) -> Floats:
        """(n, embedding_dim + 1 + first layer): users as forward() takes them."""
        rows = np.where(user_rows >= 0, self.user_embedding_rows_[user_rows], np.int32(-1))
        return self.network_.encode_users(rows, histories)

    def score(self, user_rows: NDArray[np.int32], histories: Histories) -> Floats:
        """(n, n_items): the network's logit, which rises with the probability that an item comes next."""
        return forward(self.encode_users(user_rows, histories), self.network_.items, self.network_.layers)

    def score_items(
        self, user_rows: NDArray[np.int32], histories: Histories, item_columns: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        """The same logits of the given items alone; item_columns and the result are (n, m)."""
        users, scores = self.encode_users(user_rows, histories), np.empty(item_columns.shape, np.float32)
        for row, columns in enumerate(item_columns):  # one product per user: computing users together saves nothing
            items = self.network_.items[columns]
            scores[row] = forward(users[row : row + 1], items, self.network_.layers)[0]
        return scores

    def covers(self, user_rows: NDArray[np.int32], histories: Histories) -> NDArray[np.bool_]:
        """Users with a history, and users of the log."""
        return (user_rows >= 0) | super().covers(user_rows, histories)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The embeddings and layers, and the row of each user's embedding."""
        return {**self._arrays, "user_embedding_rows": self.user_embedding_rows_}

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """The inverse of arrays()."""
        self.user_embedding_rows_, self.epochs_ = arrays["user_embedding_rows"], int(arrays["epochs"][0])
        self._arrays = {name: array for name, array in arrays.items() if name != "user_embedding_rows"}
        self.network_ = Network.from_arrays(arrays, self.config)
