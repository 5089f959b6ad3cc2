"""SASRec: attention over a buyer's events, in their order. Trained in PyTorch, answered in numpy."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from recommenders.errors import UnsuitableError
from recommenders.events.histories import Histories
from recommenders.events.interactions import Interactions
from recommenders.models.networks.log_checks import require_repeated_items
from recommenders.models.recommender import ModelConfig, Recommender, Tracker

if TYPE_CHECKING:
    from recommenders.features.items import ItemFeatures

Floats = NDArray[np.float32]

LAYERS = ("qkv", "out", "up", "down")  # of a block, in the order they are used
TILE = 4096  # tokens of several histories whose hidden layers are held at once
STORED = 200_000  # buyers of a log whose vectors are kept with the model; of a larger log they are made when asked for
ORDERED_SHARE = 0.1  # of the buyers with two events or more: so many must have them at different moments
EPSILON = np.float32(1e-6)


class SequentialConfig(ModelConfig):
    """Where it learns, shape and training of the network."""

    # Whether it is trained, too, where the question is a window after a cut: no hybrid makes use of it there.
    windows: bool = False
    embedding_dim: int = Field(default=64, ge=1)
    blocks: int = Field(default=2, ge=1)
    heads: int = Field(default=1, ge=1)
    length: int = Field(default=200, ge=1)  # newest tokens of a buyer looked at: events or moments (see Sequential)
    dropout: float = Field(default=0.3, ge=0, lt=1)
    learning_rate: float = Field(default=0.004, gt=0)
    warm_up: int = Field(default=100, ge=1)  # steps until the learning rate is reached
    weight_decay: float = Field(default=0.0, ge=0)  # decoupled (AdamW), of all but the items' vectors
    epochs: int = Field(default=100, ge=1)  # at most
    averaged_epochs: int = Field(default=5, ge=1)  # newest ones whose mean weights are validated and kept
    # Epochs without a better validation before training stops. The curve of a few hundred users is uneven, and may
    # stand still for long before it rises again.
    patience: int = Field(default=20, ge=1)
    # Of a step. A small step costs as much a token as a large one, and a minute holds more of them.
    batch_tokens: int = Field(default=1024, ge=1)
    full_softmax_items: int = Field(default=4000, ge=0)  # a larger catalogue is learned from samples of its items
    negatives: int = Field(default=1024, ge=1)  # items drawn for a step of such a catalogue, beside those of the step
    validation_users: int = Field(default=1000, ge=1)  # at most so many, and at most half of them, validate
    threads: int = Field(default=1, ge=1)  # steps this small gain little from more, and lose much on a busy machine
    # A limit for slow machines. Where it strikes, the best epoch so far is kept, and another run may keep another one.
    max_minutes: float = Field(default=5.0, gt=0)
    fixed_epochs: int | None = Field(default=None, ge=1)  # a refit: so many epochs on everything, no validation

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        if self.embedding_dim % self.heads:
            raise ValueError(
                f"heads: got {self.heads} for embedding_dim {self.embedding_dim}; choose a divisor of embedding_dim"
            )
        return self


class Network(NamedTuple):
    """The learned weights, (inputs, outputs) each, as numpy uses them."""

    items: Floats  # (n_items, embedding_dim), read at the entrance and again at the exit
    positions: Floats  # (length, embedding_dim)
    blocks: list[dict[str, tuple[Floats, Floats]]]  # layer -> weights and biases
    heads: int
    by_moment: bool  # a token is all that was bought at one moment; else one event


class Sequential(Recommender):
    """Kang & McAuley 2018 with the softmax over all items as its loss (Klenitskiy & Vasilev 2023).

    What it learns to foretell is the question of the log. Where the question is what comes next, every event is
    foretold from those before it. Where it is what will be wanted within a window, a buyer's events of one moment are
    one token, and each foretells the items of the window behind it, all together: an order's lines are no sequence.

    The order of events within one moment is unknown, and drawn anew in every epoch where it matters; when answering, it
    is that of the histories (datasets.interactions.in_order). A log without any order, or where each item was seen
    once, is skipped; so is one that asks for a window, unless `windows` is set: other models are better there. A
    fitted model given as `start_from` before fit(...) lends its weights, the items' by their ids.
    """

    name = "sequential"
    Config = SequentialConfig
    config: SequentialConfig
    dear_to_fit: ClassVar[bool] = True
    handles_new_users: ClassVar[bool] = True

    network_: Network
    users_vectors_: Floats  # (n_users, embedding_dim); (0, embedding_dim) where more than STORED buyers are known
    epochs_: int  # epochs behind the weights; what a refit repeats
    start_from: "Sequential | None" = None

    def refit_config(self) -> ModelConfig:
        """As many epochs as early stopping found."""
        return self.config.model_copy(update={"fixed_epochs": self.epochs_})

    def _fit(self, interactions: Interactions, features: "ItemFeatures | None", tracker: Tracker | None) -> None:
        require_repeated_items(self.name, interactions)
        if interactions.horizon_days is not None and not self.config.windows:
            raise UnsuitableError(
                f"sequential is not trained where a window is asked about: got one of {interactions.horizon_days:g} "
                "days, for which no hybrid makes use of it; allowed: logs that ask what comes next; set "
                "models.sequential.windows: true to train it anyway"
            )
        share = ordered_share(self.histories_)
        if share < ORDERED_SHARE:
            raise UnsuitableError(
                f"sequential needs order: got {share:.0%} of the buyers of several events with events at different "
                f"moments; allowed: from {ORDERED_SHARE:.0%}; bring time stamps or set models.sequential.enabled: false"
            )
        from recommenders.models.networks.sasrec.training import train  # torch, which answering never needs

        learned = train(interactions, self.config, tracker, self.start_from)
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


def ordered_share(histories: Histories) -> float:
    """Of the buyers with two events or more, the share whose events are not all of one moment; 0 if there are none."""
    several = histories.counts > 1
    first, last = histories.indptr[:-1][several], histories.indptr[1:][several] - 1
    return float(np.mean(histories.timestamps[first] != histories.timestamps[last])) if several.any() else 0.0


def network_of(arrays: Mapping[str, NDArray[Any]], heads: int) -> Network:
    """The network among named arrays. Raises KeyError if a part is missing."""
    n_blocks = sum(name.startswith("block") and name.endswith("qkv.weights") for name in arrays)

    def layers(i: int) -> dict[str, tuple[Floats, Floats]]:
        return {name: (arrays[f"block{i}.{name}.weights"], arrays[f"block{i}.{name}.biases"]) for name in LAYERS}

    blocks = [layers(i) for i in range(n_blocks)]
    return Network(arrays["items"], arrays["positions"], blocks, heads, bool(arrays["by_moment"][0]))


def arrays_of(network: Network) -> dict[str, NDArray[Any]]:
    """The inverse of network_of."""
    found: dict[str, NDArray[Any]] = {"items": network.items, "positions": network.positions}
    for i, block in enumerate(network.blocks):
        for name, (weights, biases) in block.items():
            found |= {f"block{i}.{name}.weights": weights, f"block{i}.{name}.biases": biases}
    return {**found, "by_moment": np.array([network.by_moment])}


def encode(histories: Histories, network: Network) -> Floats:
    """(n, embedding_dim): what the newest tokens of each history say of what comes; 0 for an empty one."""
    starts = token_starts(histories, network.by_moment)
    ends = np.searchsorted(starts, histories.indptr) if network.by_moment else histories.indptr
    counts = np.minimum(np.diff(ends), len(network.positions))
    found = np.zeros((len(counts), network.items.shape[1]), dtype=np.float32)
    for rows in _tiles(counts):
        last, steps = ends[rows + 1], counts[rows]
        which, tokens = expand(last - steps, last)
        vectors = np.zeros((len(rows), int(steps.max()), found.shape[1]), dtype=np.float32)
        vectors[which, tokens - (last - steps)[which]] = token_vectors(histories.item_columns, starts, tokens, network)
        found[rows] = _encode_together(vectors, steps, network)
    return found


def token_starts(histories: Histories, by_moment: bool) -> NDArray[np.int64]:
    """(n_tokens,) the first event of each token: an event alone, or all those of one buyer at one moment."""
    n_events = len(histories.item_columns)
    if not by_moment:
        return np.arange(n_events)
    begins = np.append(True, histories.timestamps[1:] != histories.timestamps[:-1])[:n_events]
    begins[histories.indptr[:-1][histories.counts > 0]] = True
    return np.flatnonzero(begins)


def token_vectors(
    item_columns: NDArray[np.int32], starts: NDArray[np.int64], tokens: NDArray[np.int64], network: Network
) -> Floats:
    """(len(tokens), embedding_dim): the sum of a token's items over the root of their number, so that all are alike."""
    scale = np.float32(network.items.shape[1] ** 0.5)
    if not network.by_moment:
        return network.items[item_columns[tokens]] * scale
    bounds = np.append(starts, len(item_columns))
    sizes = bounds[tokens + 1] - bounds[tokens]
    _, events = expand(bounds[tokens], bounds[tokens + 1])
    sums = np.add.reduceat(network.items[item_columns[events]], np.cumsum(sizes) - sizes)
    vectors: Floats = sums * (scale / np.sqrt(sizes, dtype=np.float32))[:, None]
    return vectors


def expand(first: NDArray[np.int64], stop: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The number of each range first <= i < stop, and each of its places, one range after the other."""
    sizes = stop - first
    rows = np.repeat(np.arange(len(sizes)), sizes)
    return rows, np.arange(len(rows)) + (first - np.cumsum(sizes) + sizes)[rows]


def _tiles(counts: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Rows with tokens, those of like counts together, TILE tokens in all."""
    order = np.argsort(counts, kind="stable")[::-1]
    start, stop = 0, int(np.count_nonzero(counts))
    while start < stop:
        n_together = max(1, TILE // int(counts[order[start]]))
        yield order[start : min(start + n_together, stop)]
        start += n_together


def _encode_together(hidden: Floats, counts: NDArray[np.int64], network: Network) -> Floats:
    """Tokens (n, width, size), oldest first -> (n, size). What stands behind a history's last is never looked at."""
    width, last = hidden.shape[1], counts - 1
    hidden += network.positions[:width]
    steps = np.arange(width)
    unseen = np.where(steps > steps[:, None], np.float32(-np.inf), np.float32(0.0))
    for block in network.blocks[:-1]:
        hidden = _forward(block, hidden, hidden, unseen, network.heads)
    asked = hidden[np.arange(len(last)), last][:, None]  # of the last block only the last tokens' outcome is read
    unseen = unseen[last][:, None, None]
    return normalised(_forward(network.blocks[-1], hidden, asked, unseen, network.heads)[:, 0])


def _forward(
    block: dict[str, tuple[Floats, Floats]], hidden: Floats, asked: Floats, unseen: Floats, heads: int
) -> Floats:
    """One block: hidden (n, width, size), the tokens that ask (n, m, size) -> their new vectors (n, m, size).

    unseen: (m, width), or (n, 1, m, width): -inf where a token must not look.
    """
    n, _, size = hidden.shape
    weights, biases = block["qkv"]
    keys_values = normalised(hidden) @ weights[:, size:] + biases[size:]
    queries = normalised(asked) @ weights[:, :size] + biases[:size]

    def split(vectors: Floats) -> Floats:
        return vectors.reshape(n, -1, heads, size // heads).transpose(0, 2, 1, 3)

    shares = split(queries) @ split(keys_values[..., :size]).transpose(0, 1, 3, 2)
    shares *= np.float32((heads / size) ** 0.5)
    shares += unseen
    shares -= shares.max(axis=-1, keepdims=True)
    np.exp(shares, out=shares)
    shares /= shares.sum(axis=-1, keepdims=True)
    values = split(keys_values[..., size:])
    seen: Floats = np.matmul(shares, values).transpose(0, 2, 1, 3).reshape(n, -1, size)
    attended: Floats = asked + _linear(block, "out", seen)
    inner = _linear(block, "up", normalised(attended))
    np.maximum(inner, 0.0, out=inner)
    outcome: Floats = attended + _linear(block, "down", inner)
    return outcome


def _linear(block: dict[str, tuple[Floats, Floats]], name: str, inputs: Floats) -> Floats:
    weights, biases = block[name]
    outputs: Floats = inputs @ weights
    outputs += biases
    return outputs


def normalised(vectors: Floats) -> Floats:
    """Each vector scaled to a mean square of one (Zhang & Sennrich 2019)."""
    squares = np.einsum("...i,...i->...", vectors, vectors) / np.float32(vectors.shape[-1])
    scaled: Floats = vectors / np.sqrt(squares + EPSILON)[..., None]
    return scaled
