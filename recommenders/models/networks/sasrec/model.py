"""SASRec: attention over a buyer's events, in their order. Trained in PyTorch, answered in numpy."""

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from recommenders.errors import UnsuitableError
from recommenders.events.histories import Histories
from recommenders.events.interactions import Interactions
from recommenders.models.networks.log_checks import require_repeated_items
from recommenders.models.networks.sasrec.config import SASRecConfig
from recommenders.models.networks.sasrec.inference import Floats, Network, arrays_of, encode, network_of, ordered_share
from recommenders.models.recommender import ModelConfig, Recommender, Tracker

if TYPE_CHECKING:
    from recommenders.features.items import ItemFeatures
STORED = 200_000  # buyers of a log whose vectors are kept with the model; of a larger log they are made when asked for
ORDERED_SHARE = 0.1  # of the buyers with two events or more: so many must have them at different moments


class SASRec(Recommender):
    """Kang & McAuley 2018 with the softmax over all items as its loss (Klenitskiy & Vasilev 2023).

    What it learns to foretell is the question of the log. Where the question is what comes next, every event is
    foretold from those before it. Where it is what will be wanted within a window, a buyer's events of one moment are
    one token, and each foretells the items of the window behind it, all together: an order's lines are no sequence.

    The order of events within one moment is unknown, and drawn anew in every epoch where it matters; when answering, it
    is that of the histories (datasets.interactions.in_order). A log without any order, or where each item was seen
    once, is skipped; so is one that asks for a window, unless `windows` is set: other models are better there.
    """

    name = "sasrec"
    Config = SASRecConfig
    config: SASRecConfig
    dear_to_fit: ClassVar[bool] = True
    handles_new_users: ClassVar[bool] = True

    network_: Network
    users_vectors_: Floats  # (n_users, embedding_dim); (0, embedding_dim) where more than STORED buyers are known
    epochs_: int  # epochs behind the weights; what a refit repeats

    def refit_config(self) -> ModelConfig:
        """As many epochs as early stopping found."""
        return self.config.model_copy(update={"fixed_epochs": self.epochs_})

    def _fit(self, interactions: Interactions, features: "ItemFeatures | None", tracker: Tracker | None) -> None:
        require_repeated_items(self.name, interactions)
        if interactions.horizon_days is not None and not self.config.windows:
            raise UnsuitableError(
                f"sasrec is not trained where a window is asked about: got one of {interactions.horizon_days:g} "
                "days, for which no hybrid makes use of it; allowed: logs that ask what comes next; set "
                "models.sasrec.windows: true to train it anyway"
            )
        share = ordered_share(self.histories_)
        if share < ORDERED_SHARE:
            raise UnsuitableError(
                f"sasrec needs order: got {share:.0%} of the buyers of several events with events at different "
                f"moments; allowed: from {ORDERED_SHARE:.0%}; bring time stamps or set models.sasrec.enabled: false"
            )
        from recommenders.models.networks.sasrec.training import train  # torch, which answering never needs

        learned = train(interactions, self.config, tracker)
        stored = self.histories_[: len(self.users_) if len(self.users_) <= STORED else 0]
        self.network_ = network_of(learned.arrays, self.config.heads)
        self.users_vectors_ = encode(stored, self.network_)
        self.learning_curve, self.epochs_ = learned.curve, learned.epochs

    def memory_needed(self, interactions: Interactions) -> float:
        """Bytes: arrays along the log, the items' table, its moments and the epochs kept of it, a step's logits."""
        n_items, size = len(interactions.items), self.config.embedding_dim
        columns = n_items if n_items <= self.config.full_softmax_items else 3 * self.config.batch_tokens
        step = 4.0 * self.config.batch_tokens * (columns + 40 * size * self.config.blocks)
        tables = 4.0 * (10 + self.config.averaged_epochs) * size * n_items
        return 2.5e8 + 200.0 * len(interactions) + tables + 3 * step + super().memory_needed(interactions)

    def vectors(self, user_rows: NDArray[np.int32], histories: Histories) -> Floats:
        """(n, embedding_dim): stored ones of buyers without newer events, the network's answer for the others."""
        counts = histories.counts
        stored = (user_rows >= 0) & (user_rows < len(self.users_vectors_))
        stored[stored] = counts[stored] == self.histories_.counts[user_rows[stored]]
        if stored.all():
            return self.users_vectors_[user_rows]
        found = np.empty((len(user_rows), self.network_.items.shape[1]), dtype=np.float32)
        found[stored] = self.users_vectors_[user_rows[stored]]
        others = np.flatnonzero(~stored)
        found[others] = encode(histories if len(others) == len(found) else histories[others], self.network_)
        return found

    def score(self, user_rows: NDArray[np.int32], histories: Histories) -> Floats:
        """(n, n_items): the logit of an item being next; 0 for all without a history."""
        scores: Floats = self.vectors(user_rows, histories) @ self.network_.items.T
        return scores

    def score_items(
        self, user_rows: NDArray[np.int32], histories: Histories, item_columns: NDArray[np.int32]
    ) -> Floats:
        """The same for some items of each buyer, (n, m), without scoring the others."""
        vectors = self.vectors(user_rows, histories)
        scores: Floats = (self.network_.items[item_columns] @ vectors[:, :, None])[..., 0]
        return scores

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Weights and the known buyers' vectors."""
        return {**arrays_of(self.network_), "users": self.users_vectors_, "epochs": np.array([self.epochs_])}

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """The inverse of arrays()."""
        self.network_ = network_of(arrays, self.config.heads)
        self.users_vectors_, self.epochs_ = arrays["users"], int(arrays["epochs"][0])
