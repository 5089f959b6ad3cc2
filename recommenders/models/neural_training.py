"""How NeuMF learns. The one module that imports torch; neural_collaborative imports it while it fits, never to answer."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import nn

from recommenders.datasets.interactions import Interactions
from recommenders.metrics.ranking import ndcg
from recommenders.models.neural_collaborative import NeuralCollaborativeConfig, forward
from recommenders.models.recommender import Tracker, mask_and_rank

DAY = 86_400_000_000  # microseconds
REJECTIONS = 8  # times a drawn negative that the buyer knows is drawn again; what is left then does not teach
VALIDATION_K = 20
INITIAL_SPREAD = 0.05  # of the embeddings; smaller ones spend epochs on leaving the origin


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
        size, widths = config.embedding_dim, config.hidden_layers
        self.size = size
        self.users = nn.Embedding(n_users, 2 * size)  # the factors, then the input of the layers
        self.items = nn.Embedding(n_items, 2 * size + 1)  # and the item's bias
        self.first_user = nn.Linear(size, widths[0])
        self.first_item = nn.Linear(size, widths[0], bias=False)
        outputs = [*widths[1:], 1]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, outputs, strict=True))
        self.dropout = nn.Dropout(config.dropout)
        for table in (self.users, self.items):
            nn.init.normal_(table.weight, std=INITIAL_SPREAD)
        nn.init.zeros_(self.items.weight[:, -1])

    def forward(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """users (batch,), items (batch, n) -> logits (batch, n)."""
        size = self.size
        user, item = self.users(users), self.items(items)  # (batch, 2 size), (batch, n, 2 size + 1)
        product = torch.bmm(item[..., :size], user[:, :size, None])[..., 0]  # its output weights are in the factors
        hidden = self.first_user(user[:, size:])[:, None] + self.first_item(item[..., size:-1])
        for layer in self.layers:
            hidden = layer(self.dropout(torch.relu(hidden)))
        return product + hidden[..., 0] + item[..., -1]

    @torch.no_grad()
    def arrays(self) -> dict[str, NDArray[Any]]:
        """What answering needs: the vectors of both sides with the first layer done, and the later layers."""
        users = [
            self.users.weight[:, : self.size],
            torch.ones(self.users.num_embeddings, 1),
            self.first_user(self.users.weight[:, self.size :]),
        ]
        items = [
            self.items.weight[:, : self.size],
            self.items.weight[:, -1:],
            self.first_item(self.items.weight[:, self.size : -1]),
        ]
        found = {"users": torch.cat(users, 1).numpy(), "items": torch.cat(items, 1).numpy()}
        for i, layer in enumerate(self.layers):
            found[f"layer{i}.weights"] = np.ascontiguousarray(layer.weight.detach().numpy().T).copy()
            found[f"layer{i}.biases"] = layer.bias.detach().numpy().copy()
        return found


def train(log: Interactions, config: NeuralCollaborativeConfig, tracker: Tracker | None) -> Learned:
    """Learns until the validation no longer improves, or for config.fixed_epochs on everything. Seeded."""
    rng = np.random.default_rng(config.seed)
    generator_state = torch.random.get_rng_state()
    try:
        torch.manual_seed(config.seed)
        if config.fixed_epochs is not None:
            return _run(log, None, config, config.fixed_epochs, rng, tracker)
        kept, validation = hold_out_latest(log, config, rng)
        return _run(kept, validation, config, config.epochs, rng, tracker)
    finally:
        torch.random.set_rng_state(generator_state)


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
    network = NeuMF(*log.shape, config)
    start_from_factors(network, log, config)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    sampler = Sampler(log, config, rng)
    curve: list[dict[str, float]] = []
    best, best_arrays = -np.inf, network.arrays()
    best_epoch = 0
    for epoch in range(1, epochs + 1):
        point = {"epoch": float(epoch), "loss": _epoch(network, optimizer, sampler, config)}
        arrays = network.arrays()
        arrays["items"] = arrays["items"].copy()
        arrays["items"][:, network.size] += sampler.logq.astype(np.float32)
        reached = float(epoch) if validation is None else _validate(arrays, validation)
        if validation is not None:
            point[f"validation_ndcg@{VALIDATION_K}"] = reached
        curve.append(point)
        if tracker is not None:
            tracker.log(epoch, {name: value for name, value in point.items() if name != "epoch"})
        if reached > best:
            best, best_arrays, best_epoch = reached, arrays, epoch
        elif epoch - best_epoch >= config.patience:
            break
    return Learned({**best_arrays, "epochs": np.array([best_epoch])}, curve)


def _epoch(
    network: NeuMF, optimizer: torch.optim.Optimizer, sampler: "Sampler", config: NeuralCollaborativeConfig
) -> float:
    """One pass over the positives; returns the mean loss of a sample."""
    network.train()
    total = weight = 0.0
    users, items, weights = sampler.draw()
    labels = torch.zeros(1, items.shape[1])
    labels[0, 0] = 1.0
    n_together = max(1, config.batch_size // items.shape[1])
    for start in range(0, len(users), n_together):
        batch = slice(start, start + n_together)
        logits = network(users[batch], items[batch])
        losses = nn.functional.binary_cross_entropy_with_logits(
            logits, labels.expand_as(logits), weights[batch], reduction="sum"
        )
        loss = losses / weights[batch].sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        total += float(losses.detach())
        weight += float(weights[batch].sum())
    return total / max(weight, 1e-12)


SVD = {"scale": 1.0, "on": True, "alpha": 0.5, "noise": 0.0}


def start_from_factors(network: NeuMF, log: Interactions, config: NeuralCollaborativeConfig) -> None:
    if not SVD["on"]:
        return
    from scipy.sparse import diags_array
    from scipy.sparse.linalg import svds

    X = log.matrix("binary" if not SVD.get("counts") else "weight").astype(np.float64)
    if SVD.get("counts"):
        X.data = np.log1p(X.data)
    a = SVD["alpha"]
    du = np.maximum(X.sum(axis=1), 1e-9) ** -a
    di = np.maximum(X.sum(axis=0), 1e-9) ** -a
    N = diags_array(du) @ X @ diags_array(di)
    k = min(config.embedding_dim, min(X.shape) - 1)
    u, s, vt = svds(N, k=k, v0=np.ones(min(X.shape)), solver="arpack")
    U = u * np.sqrt(s)
    V = vt.T * np.sqrt(s)
    U *= SVD["scale"] / U.std()
    V *= SVD["scale"] / V.std()
    with torch.no_grad():
        for t, M in ((network.users, U), (network.items, V)):
            if SVD.get("gmf", True):
                t.weight[:, :k] = torch.from_numpy(M.astype(np.float32))
            if SVD.get("mlp", True):
                t.weight[:, network.size : network.size + k] = torch.from_numpy(M.astype(np.float32))


class Sampler:
    """Draws an epoch at a time: every known pair once, in a new order, each with items its buyer does not know."""

    def __init__(self, log: Interactions, config: NeuralCollaborativeConfig, rng: np.random.Generator) -> None:
        self.rng, self.negatives, self.n_items = rng, config.negatives, len(log.items)
        pairs = log.matrix("binary").tocoo()
        self.users, self.items = pairs.row.astype(np.int64), pairs.col.astype(np.int64)
        self.keys = self.users * self.n_items + self.items
        self.keys.sort()
        self.weights = _teaching_weights(log, config)
        pop = np.bincount(self.items, minlength=self.n_items) + SVD.get("floor", 1.0)
        q = pop ** SVD.get("power", 0.0)
        self.q = q / q.sum()
        self.cq = np.cumsum(self.q)
        self.cq /= self.cq[-1]
        self.logq = (np.log(self.q) - np.log(self.q).mean()) * SVD.get("corr", 1.0)

    def draw(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """users (n,), items (n, 1 + negatives) positive first, weights (n, 1 + negatives); 0 where no negative was found."""
        order = self.rng.permutation(len(self.users))
        users = self.users[order]
        drawn = np.searchsorted(self.cq, self.rng.random((len(users), self.negatives)))
        known = self._known(users[:, None], drawn)
        for _ in range(REJECTIONS):
            rows, places = np.nonzero(known)
            if not len(rows):
                break
            drawn[rows, places] = again = np.searchsorted(self.cq, self.rng.random(len(rows)))
            known[rows, places] = self._known(users[rows], again)
        items = np.concatenate([self.items[order][:, None], drawn], axis=1)
        weights = np.concatenate([self.weights[order][:, None], ~known], axis=1).astype(np.float32)
        return torch.from_numpy(users), torch.from_numpy(items), torch.from_numpy(weights)

    def _known(self, users: NDArray[np.int64], items: NDArray[np.int64]) -> NDArray[np.bool_]:
        wanted = users * self.n_items + items
        places = np.searchsorted(self.keys, wanted).clip(max=len(self.keys) - 1)
        return np.asarray(self.keys[places] == wanted)


def _teaching_weights(log: Interactions, config: NeuralCollaborativeConfig) -> NDArray[np.float32]:
    W = log.matrix("weight")
    mode = SVD.get("w", "one")
    if mode == "one":
        return np.ones(W.nnz, np.float32)
    if mode == "log":
        w = np.log1p(W.data) / np.log(2)
    if mode == "decay":
        age = (log.timestamps.max() - log.timestamps) / DAY
        D = csr_array((np.exp2(-age / SVD["hl"]), (log.user_rows, log.item_columns)), shape=log.shape)
        D.sum_duplicates()
        w = SVD.get("base", 0.2) + D.data
    if mode == "sqrt":
        w = W.data**0.5
    return (w / w.mean()).astype(np.float32)


def _validate(arrays: dict[str, NDArray[Any]], validation: Validation) -> float:
    n_layers = sum(name.endswith(".biases") for name in arrays)
    layers = [(arrays[f"layer{i}.weights"], arrays[f"layer{i}.biases"]) for i in range(n_layers)]
    scores = forward(arrays["users"][validation.user_rows], arrays["items"], layers)
    ranked = mask_and_rank(scores, VALIDATION_K, validation.candidates, validation.known).item_columns
    return float(np.nanmean(ndcg(ranked, validation.relevant)))
