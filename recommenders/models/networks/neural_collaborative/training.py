"""Training of NeuMF: its batches, optimisers and validation. Imported only for fitting."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from recommenders.errors import UnsuitableError
from recommenders.events.histories import Histories
from recommenders.events.interactions import Interactions
from recommenders.features.items import ItemFeatures
from recommenders.models.networks.neural_collaborative.config import NAME, NeuralCollaborativeConfig
from recommenders.models.networks.neural_collaborative.inference import Network, forward, user_embedding_rows
from recommenders.models.networks.neural_collaborative.network import NeuMF, project_features
from recommenders.models.networks.neural_collaborative.sampled_loss import SampledLoss
from recommenders.models.networks.neural_collaborative.sampling import Batch, Sampler
from recommenders.models.networks.sparse_adamw import SparseAdamW
from recommenders.models.networks.trainer import Trainer
from recommenders.models.networks.validation import Scorer, Validation
from recommenders.splitting.early_stopping import Mask, hold_out, latest_visits, random_events

VALIDATION_ITEMS = 5000  # items of a larger catalogue that the validation ranks, besides the relevant ones
TABLE_RATE = 6.0  # factor of the learning rate of the tables: a row is updated in few of the steps


class NeuMFTrainer(Trainer[NeuralCollaborativeConfig]):
    """A network, its optimisers and its sampler for a log. An epoch is one pass over its events."""

    name = NAME
    module: SampledLoss
    validation_k = 50  # longer than a list that users see: the metric is less noisy

    def __init__(
        self,
        log: Interactions,
        config: NeuralCollaborativeConfig,
        rng: np.random.Generator,
        features: ItemFeatures | None = None,
    ) -> None:
        self.config, self.rng, self.untrained_epochs = config, rng, config.pretraining_epochs
        projected = None if features is None else project_features(features, rng)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.sampler = Sampler(log, config, rng, device)
        rows = user_embedding_rows(np.bincount(log.user_rows, minlength=len(log.users)), config)
        network = NeuMF(int(rows.max(initial=-1)) + 1, len(log.items), config, projected)
        self.module = SampledLoss(network, torch.from_numpy(rows.astype(np.int64))).to(device)
        tables = [*network.user_embeddings.parameters(), *network.item_embeddings.parameters()]
        layers = [parameter for name, parameter in network.named_parameters() if "embeddings" not in name]
        rate, decay = config.learning_rate, config.weight_decay
        self.optimizers = [
            SparseAdamW(tables, lr=rate * TABLE_RATE, weight_decay=decay),
            torch.optim.AdamW(layers, lr=rate, weight_decay=decay, fused=True),
        ]

    @staticmethod
    def hold_out(
        log: Interactions, config: NeuralCollaborativeConfig, rng: np.random.Generator
    ) -> tuple[Interactions, Validation | None]:
        """The latest visit of some users. Raises UnsuitableError if no user has two events.

        If no user has two visits, one event of each user, drawn at random, replaces the latest visit: without a
        validation, training would always run until the last epoch.
        """

        def masks() -> Iterator[Mask]:
            yield latest_visits(log)
            yield random_events(log, rng)

        kept, held_out = hold_out(log, masks(), config.validation_split, config.validation_users, rng)
        if held_out is None:
            raise UnsuitableError(
                f"{NAME} has nothing to learn from: got 0 users with two events; allowed: from 1; bring a longer log "
                f"or set models.{NAME}.enabled: false"
            )
        return kept, Validation.from_held_out(log, held_out, VALIDATION_ITEMS, rng)

    def batches(self, epoch: int) -> Iterator[tuple[Batch, bool]]:
        """The batches of an epoch, and whether it trains the factors without the layers."""
        return ((batch, epoch <= self.config.pretraining_epochs) for batch in self.sampler.epoch())

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The weights of the network, and the row of each user's embedding."""
        rows = self.module.user_embedding_rows.cpu().numpy().astype(np.int32)
        return {**self.module.network.arrays(), "user_embedding_rows": rows}

    def scorer(self, arrays: Mapping[str, NDArray[Any]]) -> Scorer:
        """The logits of such weights."""
        network = Network.from_arrays(arrays, self.config)

        def score(
            user_rows: NDArray[np.int32], histories: Histories, item_columns: NDArray[np.int64]
        ) -> NDArray[np.float32]:
            users = network.encode_users(arrays["user_embedding_rows"][user_rows], histories)
            return forward(users, network.items[item_columns], network.layers)

        return score
