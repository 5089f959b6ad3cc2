"""How NeuMF learns. Only this module imports torch; neural_collaborative imports it to fit, never to answer."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import nn

from recommenders.datasets.interactions import Interactions
from recommenders.metrics.ranking import ndcg
from recommenders.models.neural_collaborative import NeuralCollaborativeConfig, forward, layers_of
from recommenders.models.neural_sampling import Sampler, factors
from recommenders.models.recommender import Tracker, mask_and_rank

VALIDATION_K = 20
RANDOM_SPREAD = 0.05  # of embeddings that no factor fills
FACTOR_SPREAD = 0.3  # of those that start as factors: logits of about one


@dataclass(frozen=True)
class Learned:
    """Arrays of the best epoch, and the learning curve up to the last one."""

    arrays: dict[str, NDArray[Any]]
    curve: list[dict[str, float]]


@dataclass(frozen=True)
class Validation:
    """The latest purchases of some buyers, kept from training."""

    user_rows: NDArray[np.int32]
    relevant: csr_array  # (n, n_items)
    candidates: NDArray[np.bool_]  # (n_items,)
    known: csr_array | None  # (n, n_items) masked items, where buyers do not come back


class NeuMF(nn.Module):
    """He et al. 2017: a factorisation and layers side by side, summed into one logit."""

    def __init__(self, n_users: int, n_items: int, config: NeuralCollaborativeConfig) -> None:
        super().__init__()
        self.size, widths = config.embedding_dim, config.hidden_layers
        self.users = nn.Embedding(n_users, 2 * self.size)  # the factors, then the input of the layers
        self.items = nn.Embedding(n_items, 2 * self.size + 1)  # and the item's bias
        self.first_user = nn.Linear(self.size, widths[0])
        self.first_item = nn.Linear(self.size, widths[0], bias=False)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, [*widths[1:], 1], strict=True))
        self.dropout = nn.Dropout(config.dropout)
        for table in (self.users, self.items):
            nn.init.normal_(table.weight, std=RANDOM_SPREAD)
        nn.init.zeros_(self.items.weight[:, -1])

    @torch.no_grad()
    def start_from(self, users: NDArray[np.float32], items: NDArray[np.float32]) -> None:
        """Both halves start as the factors, (n, n_factors) a side: the paper's pre-training, in closed form."""
        for table, side in ((self.users, users), (self.items, items)):
            width = side.shape[1]
            start = torch.from_numpy(side * np.float32(FACTOR_SPREAD))
            table.weight[:, :width] = start
            table.weight[:, self.size : self.size + width] = start

    def forward(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """users (batch,), items (batch, n) -> logits (batch, n)."""
        size = self.size
        user, item = self.users(users), self.items(items)  # (batch, 2 size), (batch, n, 2 size + 1)
        product = torch.bmm(item[..., :size], user[:, :size, None])[..., 0]  # its output weights are in the factors
        hidden = self.first_user(user[:, size:])[:, None] + self.first_item(item[..., size:-1])
        for layer in self.layers:
            hidden = layer(self.dropout(torch.relu(hidden)))
        logits: torch.Tensor = product + hidden[..., 0] + item[..., -1]
        return logits

    @torch.no_grad()
    def arrays(self, item_correction: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """What answering needs: the vectors of both sides with the first layer done, and the later layers.

        item_correction: (n_items,), added to the items' biases.
        """
        size, users, items = self.size, self.users.weight, self.items.weight
        ones = torch.ones(len(users), 1)  # meets the items' bias
        bias = items[:, -1:] + torch.from_numpy(item_correction)[:, None]
        found = {
            "users": torch.cat([users[:, :size], ones, self.first_user(users[:, size:])], 1).numpy(),
            "items": torch.cat([items[:, :size], bias, self.first_item(items[:, size:-1])], 1).numpy(),
        }
        for i, layer in enumerate(self.layers):
            assert isinstance(layer, nn.Linear)
            found[f"layer{i}.weights"] = layer.weight.numpy().T.copy()
            found[f"layer{i}.biases"] = layer.bias.numpy().copy()
        return found


def train(log: Interactions, config: NeuralCollaborativeConfig, tracker: Tracker | None) -> Learned:
    """Learns until the validation no longer improves, or for config.fixed_epochs on everything. Seeded."""
    rng = np.random.default_rng(config.seed)
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    try:
        torch.manual_seed(config.seed)
        torch.set_num_threads(config.threads)
        if config.fixed_epochs is not None:
            return _run(log, None, config, config.fixed_epochs, rng, tracker)
        kept, validation = hold_out_latest(log, config, rng)
        return _run(kept, validation, config, config.epochs, rng, tracker)
    finally:
        torch.random.set_rng_state(state)
        torch.set_num_threads(threads)


def hold_out_latest(
    log: Interactions, config: NeuralCollaborativeConfig, rng: np.random.Generator
) -> tuple[Interactions, Validation | None]:
    """The log without the latest order of some buyers, and these orders; None if no buyer has two orders."""
    n_users = len(log.users)
    latest = np.full(n_users, np.iinfo(np.int64).min)
    np.maximum.at(latest, log.user_rows, log.timestamps)
    is_latest = log.timestamps == latest[log.user_rows]
    earlier = np.bincount(log.user_rows[~is_latest], minlength=n_users) > 0
    eligible = np.flatnonzero(earlier)
    n_held = min(config.validation_users, int(np.ceil(config.validation_split * len(eligible))))
    if n_held == 0:
        return log, None
    rows = np.sort(rng.choice(eligible, n_held, replace=False)).astype(np.int32)
    held = is_latest & np.isin(log.user_rows, rows)
    kept = log.select(~held)
    relevant = log.select(held).matrix("binary")[rows]
    known = None if log.repeat else kept.matrix("binary")[rows]
    # bought means on sale: an item that left the shelves since may be right for an order of back then
    candidates = np.bincount(log.item_columns, minlength=len(log.items)) > 0
    return kept, Validation(rows, relevant, candidates, known)


def _run(
    log: Interactions,
    validation: Validation | None,
    config: NeuralCollaborativeConfig,
    epochs: int,
    rng: np.random.Generator,
    tracker: Tracker | None,
) -> Learned:
    sampler = Sampler(log, config, rng)
    network = NeuMF(*log.shape, config)
    network.start_from(*factors(log, config.embedding_dim, rng))
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    curve: list[dict[str, float]] = []
    best, best_epoch, best_arrays = -np.inf, 0, network.arrays(sampler.correction)
    for epoch in range(1, epochs + 1):
        point = {"epoch": float(epoch), "loss": _epoch(network, optimizer, sampler, config)}
        arrays = network.arrays(sampler.correction)
        reached = float(epoch)  # without a validation the last epoch is the best
        if validation is not None:
            point[f"validation_ndcg@{VALIDATION_K}"] = reached = _validate(arrays, validation)
        curve.append(point)
        if tracker is not None:
            tracker.log(epoch, {name: value for name, value in point.items() if name != "epoch"})
        if reached > best:
            best, best_epoch, best_arrays = reached, epoch, arrays
        elif epoch - best_epoch >= config.patience:
            break
    return Learned({**best_arrays, "epochs": np.array([best_epoch])}, curve)


def _epoch(
    network: NeuMF, optimizer: torch.optim.Optimizer, sampler: Sampler, config: NeuralCollaborativeConfig
) -> float:
    """One pass over the positives; returns the mean loss of a pair."""
    network.train()
    total = weight = 0.0
    users, items, weights = (torch.from_numpy(drawn) for drawn in sampler.draw())
    labels = torch.zeros(1, items.shape[1])
    labels[0, 0] = 1.0
    n_together = max(1, config.batch_size // items.shape[1])
    for start in range(0, len(users), n_together):
        batch = slice(start, start + n_together)
        logits = network(users[batch], items[batch])
        losses = nn.functional.binary_cross_entropy_with_logits(
            logits, labels.expand_as(logits), weights[batch], reduction="sum"
        )
        taught = weights[batch].sum()
        optimizer.zero_grad(set_to_none=True)
        (losses / taught).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total += losses.item()
        weight += taught.item()
    return total / max(weight, 1e-12)


def _validate(arrays: dict[str, NDArray[Any]], validation: Validation) -> float:
    """Mean NDCG of the kept purchases, ranked by the code that answers requests."""
    scores = forward(arrays["users"][validation.user_rows], arrays["items"], layers_of(arrays))
    ranked = mask_and_rank(scores, VALIDATION_K, validation.candidates, validation.known).item_columns
    return float(np.nanmean(ndcg(ranked, validation.relevant)))
