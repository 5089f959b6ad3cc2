"""SASRec: self-attention over the events of a user, in their order. Trained in PyTorch, scored in numpy."""

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from recommenders.errors import UnsuitableError
from recommenders.events.histories import Histories
from recommenders.events.interactions import Interactions
from recommenders.models.networks.sasrec.config import NAME, SASRecConfig
from recommenders.models.networks.sasrec.inference import (
    Floats,
    Network,
    encode,
    network_from_arrays,
    network_to_arrays,
    ordered_share,
)
from recommenders.models.networks.suitability import require_repeated_items
from recommenders.models.recommender import ModelConfig, Recommender, TrainingOptions

if TYPE_CHECKING:
    from recommenders.features.items import ItemFeatures
MAX_STORED_USERS = 200_000  # of a log with more users, no user embeddings are stored; requests compute them
MIN_ORDERED_SHARE = 0.1  # of the users with two events or more: at least this share must have several visits


class SASRec(Recommender):
    """Kang & McAuley 2018 with the softmax over all items as its loss (Klenitskiy & Vasilev 2023).

    The training targets follow the task of the log. If the task is the next event, each event is a target, predicted
    from the events before it. If the task is a window, the events of one visit are one token, and the targets of a
    token are the items of the window after it, all together: the lines of an order have no sequence.

    The order of the events within one visit is unknown. Training draws it anew in each epoch where it matters; scoring
    uses the order of the histories (events.interactions.event_order). A log without any order, or with one event of
    each item, is skipped. A log whose task is a window is skipped too, unless `fit_on_windows` is set: other models are
    better there.
    """

    name = NAME
    Config = SASRecConfig
    config: SASRecConfig
    expensive_to_fit: ClassVar[bool] = True
    handles_new_users: ClassVar[bool] = True

    network_: Network
    user_embeddings_: Floats  # (n_users, embedding_dim); (0, embedding_dim) for more than MAX_STORED_USERS users
    epochs_: int  # epochs that trained the kept weights; a refit repeats this number

    def _refit_config(self) -> ModelConfig:
        """The configuration with the number of epochs that early stopping found."""
        return self.config.model_copy(update={"fixed_epochs": self.epochs_})

    def _fit(self, interactions: Interactions, features: "ItemFeatures | None", options: TrainingOptions) -> None:
        require_repeated_items(self.name, interactions)
        if interactions.horizon_days is not None and not self.config.fit_on_windows:
            raise UnsuitableError(
                f"sasrec is not trained where the task is a window: got a window of {interactions.horizon_days:g} "
                "days, for which no hybrid uses it; allowed: logs whose task is the next event; set "
                "models.sasrec.fit_on_windows: true to train it anyway"
            )
        share = ordered_share(self.histories_)
        if share < MIN_ORDERED_SHARE:
            raise UnsuitableError(
                f"sasrec needs order: got {share:.0%} of the users of several events with events at different "
                f"times; allowed: from {MIN_ORDERED_SHARE:.0%}; bring time stamps or set models.sasrec.enabled: false"
            )
        # these import torch, which scoring never needs
        from recommenders.models.networks.sasrec.training import SASRecTrainer
        from recommenders.models.networks.training_loop import train

        result = train(SASRecTrainer, interactions, self.config, options)
        stored = self.histories_[: len(self.users_) if len(self.users_) <= MAX_STORED_USERS else 0]
        self.network_ = network_from_arrays(result.arrays, self.config.n_heads)
        self.user_embeddings_ = encode(stored, self.network_)
        self.learning_curve, self.epochs_ = result.curve, result.epochs

    def memory_needed(self, interactions: Interactions) -> float:
        """Bytes: arrays of the log, the item embeddings, their moments and kept epochs, the logits of a step."""
        n_items, size = len(interactions.items), self.config.embedding_dim
        columns = n_items if n_items <= self.config.full_softmax_items else 3 * self.config.batch_tokens
        step = 4.0 * self.config.batch_tokens * (columns + 40 * size * self.config.n_blocks)
        tables = 4.0 * (10 + self.config.averaged_epochs) * size * n_items
        return 2.5e8 + 200.0 * len(interactions) + tables + 3 * step + super().memory_needed(interactions)

    def user_embeddings(self, user_rows: NDArray[np.int32], histories: Histories) -> Floats:
        """(n, embedding_dim): stored embeddings of users without newer events; computed ones of all others."""
        counts = histories.counts
        stored = (user_rows >= 0) & (user_rows < len(self.user_embeddings_))
        stored[stored] = counts[stored] == self.histories_.counts[user_rows[stored]]
        if stored.all():
            return self.user_embeddings_[user_rows]
        found = np.empty((len(user_rows), self.network_.item_embeddings.shape[1]), dtype=np.float32)
        found[stored] = self.user_embeddings_[user_rows[stored]]
        others = np.flatnonzero(~stored)
        found[others] = encode(histories if len(others) == len(found) else histories[others], self.network_)
        return found

    def score(self, user_rows: NDArray[np.int32], histories: Histories) -> Floats:
        """(n, n_items): the logit of each item to be the next one; 0 for an empty history."""
        scores: Floats = self.user_embeddings(user_rows, histories) @ self.network_.item_embeddings.T
        return scores

    def score_items(
        self, user_rows: NDArray[np.int32], histories: Histories, item_columns: NDArray[np.int32]
    ) -> Floats:
        """The same for some items of each user, (n, m), without scoring the others."""
        embeddings = self.user_embeddings(user_rows, histories)
        scores: Floats = (self.network_.item_embeddings[item_columns] @ embeddings[:, :, None])[..., 0]
        return scores

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The weights and the stored user embeddings."""
        return {
            **network_to_arrays(self.network_),
            "user_embeddings": self.user_embeddings_,
            "epochs": np.array([self.epochs_]),
        }

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """The inverse of arrays()."""
        self.network_ = network_from_arrays(arrays, self.config.n_heads)
        self.user_embeddings_, self.epochs_ = arrays["user_embeddings"], int(arrays["epochs"][0])
