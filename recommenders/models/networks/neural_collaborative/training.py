"""How NeuMF learns: batches, losses, validation, when to stop. Imported while fitting, never to answer."""

import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import nn

from recommenders.errors import UnsuitableError
from recommenders.events.histories import Histories
from recommenders.events.interactions import Interactions
from recommenders.features.items import ItemFeatures
from recommenders.metrics.ranking import ndcg
from recommenders.models.networks.averaging import mean_weights
from recommenders.models.networks.log_checks import latest_moments, one_of_each, users_of_both
from recommenders.models.networks.neural_collaborative.checkpoint import Checkpoint, Progress
from recommenders.models.networks.neural_collaborative.loss import Pairs, cross_entropy, pair_loss
from recommenders.models.networks.neural_collaborative.model import (
    Network,
    NeuralCollaborativeConfig,
    forward,
    own_rows,
)
from recommenders.models.networks.neural_collaborative.network import MASKED, TINY, NeuMF, RowAdam, Taken, sides_of
from recommenders.models.networks.neural_collaborative.sampling import Batch, Sampler
from recommenders.models.recommender import Tracker, mask_and_rank

VALIDATION_K = 50  # longer lists than anybody sees: the figure moves with more than luck
VALIDATION_ITEMS = 5000  # a larger catalogue is stood in for by so many of its items, beside the ones to be found


@dataclass(frozen=True)
class Learned:
    """Arrays of the best epoch, averaged with those before it, and the learning curve up to the last one."""

    arrays: dict[str, NDArray[Any]]
    curve: list[dict[str, float]]


@dataclass(frozen=True)
class Validation:
    """The latest purchases of some buyers, kept from training."""

    user_rows: NDArray[np.int32]
    histories: Histories  # (n, n_items) what came before them
    item_columns: NDArray[np.int64]  # (n_candidates,) ascending
    relevant: csr_array  # (n, n_candidates)
    known: csr_array | None  # (n, n_candidates) masked items, where buyers do not come back


class Trainer:
    """A network, its optimisers and its sampler. epoch() is one pass over the events of the log; seeded by `rng`.

    On a GPU the products are taken in bfloat16. torch.compile is left out: lengths differ from batch to batch, and
    what it saves on shapes like these it spends on compiling anew.
    """

    def __init__(
        self,
        log: Interactions,
        config: NeuralCollaborativeConfig,
        rng: np.random.Generator,
        features: ItemFeatures | None = None,
    ) -> None:
        self.config = config
        sides = sides_of(features, rng) if config.side_features and features is not None else None
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.sampler = Sampler(log, config, rng, self.device)
        own = own_rows(np.bincount(log.user_rows, minlength=len(log.users)), config)
        self.own_rows = torch.from_numpy(own.astype(np.int64)).to(self.device)
        self.network = NeuMF(int(own.max(initial=-1)) + 1, len(log.items), config, sides).to(self.device)
        self.own = RowAdam(self.network.own, config.learning_rate, config.weight_decay)
        self.items = RowAdam(self.network.items, config.learning_rate, config.weight_decay)
        self.layers = torch.optim.AdamW(
            self.network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )

    def epoch(self, factors_only: bool = False) -> float:
        """One pass over the events; returns the mean loss of an event."""
        self.network.train()
        losses = [self.step(batch, factors_only) for batch in self.sampler.epoch()]
        return float(torch.stack(losses).sum()) / max(len(self.sampler.users), 1)

    def step(self, batch: Batch, factors_only: bool = False) -> torch.Tensor:
        """Learns from one batch, or pre-trains what needs no layers; returns the sum of its losses."""
        own = self.own.take(self.own_rows[batch.users].clamp(min=0))
        items = self.items.take(torch.cat([batch.slots.flatten(), batch.pool]))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            loss = self._loss(batch, own, items, factors_only)
        self.layers.zero_grad(set_to_none=True)
        (loss / batch.told.numel()).backward()  # type: ignore[no-untyped-call]
        self.layers.step()
        self.own.step(own)
        self.items.step(items)
        return loss.detach()

    def _loss(self, batch: Batch, own: Taken, items: Taken, factors_only: bool) -> torch.Tensor:
        """The sum of the cross entropies of each target among negatives the network itself finds hard.

        The factors, cheap for the whole pool, choose the negatives by their own softmax, and only those few go through
        the layers. Both choices are undone by importance weights, so what is estimated is the softmax over all items
        the buyer does not know. Bengio & Senécal 2008.
        """
        network, width = self.network, self.network.size + 1
        slots, pool = items.places[: batch.slots.numel()].view_as(batch.slots), items.places[batch.slots.numel() :]
        vectors = network.with_sides(items.vectors, items.ids)
        factors, first = network.users(self._own_vectors(batch, own), vectors, slots, batch.ends)
        told, weights = slots.gather(1, batch.told).view(-1, 1), batch.weights.flatten()
        scored, hidden = network.scored(vectors)
        if factors_only:
            positive = (factors * scored[told[:, 0], : width - 1]).sum(dim=1) + scored[told[:, 0], -1]
            scores = self._pool_scores(factors, scored[pool], batch)
            known = batch.known[:, None].expand(-1, batch.told.shape[1], -1).flatten(0, 1)
            return (cross_entropy(positive[:, None].float(), scores.float().masked_fill(known, MASKED)) * weights).sum()
        chosen, shift = self._choose(factors.detach(), scored.detach()[pool], batch)
        columns = torch.cat([told, pool[chosen]], dim=1)
        if self.device.type != "cpu":
            logits = network.logits(factors, first, scored, hidden, columns).float()
            return (cross_entropy(logits[:, :1], logits[:, 1:] + shift) * weights).sum()
        pairs = Pairs(columns, nn.functional.pad(shift, (1, 0)), weights, network.dropout)
        factors = nn.functional.pad(factors, (0, 1), value=1.0)  # what meets the bias
        return pair_loss(pairs, factors, first, scored, hidden, *network.layers.parameters())

    def _pool_scores(self, factors: torch.Tensor, pool: torch.Tensor, batch: Batch) -> torch.Tensor:
        """(n m, n_pool) of factors (n m, size) and pool (n_pool, size + 1), what chance did for the pool undone."""
        return torch.addmm(pool[:, -1] - batch.chances, factors, pool[:, :-1].T)

    def _own_vectors(self, batch: Batch, own: Taken) -> torch.Tensor:
        """(n, 2 size), 0 for who has none; now and then for others too, so that strangers are learned as well."""
        left = torch.rand(len(batch.users), device=self.device) >= self.network.own_dropout
        left &= self.own_rows[batch.users] >= 0
        return own.vectors[own.places] * left[:, None]

    @torch.no_grad()
    def _choose(self, factors: torch.Tensor, pool: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Places in the pool, and what to add to their logits to undo both choices, each (n, n_negatives).

        That is minus the log of how often each is expected to be drawn; where a buyer knows the whole pool, MASKED.
        factors: (n, size). pool: (n_pool, size + 1) factors and bias.
        """
        scores = self._pool_scores(factors, pool, batch).float()
        scores = scores.sub_(scores.amax(dim=1, keepdim=True)).exp_()
        # only now: an exponential of what is masked takes four times as long
        scores.view(len(batch.users), -1, len(pool)).mul_((~batch.known).float()[:, None])
        sums = torch.cumsum(scores, dim=1)
        total = sums[:, -1:].clamp(min=torch.finfo(sums.dtype).tiny)
        drawn = torch.rand(len(sums), self.network.n_negatives, device=self.device) * total
        chosen = torch.searchsorted(sums, drawn).clamp_(max=scores.shape[1] - 1)
        known = batch.known.gather(1, chosen.view(len(batch.users), -1)).view_as(chosen)
        surprise = -torch.log((scores.gather(1, chosen) / total).clamp_(min=TINY) * self.network.n_negatives)
        return chosen, (surprise - batch.chances[chosen]).masked_fill_(known, MASKED)


def train(
    log: Interactions,
    config: NeuralCollaborativeConfig,
    tracker: Tracker | None,
    features: ItemFeatures | None = None,
) -> Learned:
    """Learns until the validation no longer improves, or for config.fixed_epochs on everything. Seeded.

    With a folder for checkpoints, a fit of the same log and recipe that was cut goes on behind its last epoch.
    """
    rng = np.random.default_rng(config.seed)
    checkpoint = Checkpoint.of(None if tracker is None else tracker.checkpoints, log, config, features)
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        try:
            torch.manual_seed(config.seed)
            torch.set_num_threads(config.threads)
            if config.fixed_epochs is not None:
                return _run(Trainer(log, config, rng, features), None, config.fixed_epochs, tracker, checkpoint)
            kept, validation = hold_out_latest(log, config, rng)
            if validation is None:
                raise UnsuitableError(
                    "neural_collaborative has nothing to learn from: got 0 users with two events; allowed: from 1; "
                    "bring a longer log or set models.neural_collaborative.enabled: false"
                )
            return _run(Trainer(kept, config, rng, features), validation, config.epochs, tracker, checkpoint)
        finally:
            torch.set_num_threads(threads)


def hold_out_latest(
    log: Interactions, config: NeuralCollaborativeConfig, rng: np.random.Generator
) -> tuple[Interactions, Validation | None]:
    """The log without the latest order of some users, and these orders; None if no user has two events.

    Where no user has two orders, one event of each, drawn at random, stands for the latest order: without validation
    nothing would end the training before the last epoch.
    """
    is_latest = latest_moments(log)
    eligible = users_of_both(log, is_latest)
    if not len(eligible):
        is_latest = one_of_each(log, rng)
        eligible = users_of_both(log, is_latest)
    n_held = min(config.validation_users, int(np.ceil(config.validation_split * len(eligible))))
    if n_held == 0:
        return log, None
    rows = np.sort(rng.choice(eligible, n_held, replace=False)).astype(np.int32)
    held = is_latest & np.isin(log.user_rows, rows)
    kept = log.select(~held)
    relevant = log.select(held).matrix("binary")[rows]
    # bought means on sale: an item that left the shelves since may be right for an order of back then
    bought = np.unique(log.item_columns)
    if len(bought) > VALIDATION_ITEMS:
        bought = np.union1d(rng.choice(bought, VALIDATION_ITEMS, replace=False), relevant.indices)
    known = None if log.repeat else kept.matrix("binary")[rows][:, bought]
    return kept, Validation(rows, kept.histories()[rows], bought.astype(np.int64), relevant[:, bought], known)


def _run(
    trainer: Trainer, validation: Validation | None, epochs: int, tracker: Tracker | None, checkpoint: Checkpoint
) -> Learned:
    config = trainer.config
    first = Progress(trainer.network.arrays(), deque(maxlen=config.averaged_epochs))
    so_far = checkpoint.load(trainer) or first
    for point in so_far.curve:  # who tries again reports to another run, which is to show the whole curve
        _tell(tracker, point)
    started = time.monotonic() - so_far.seconds
    while not so_far.ended(epochs, config):
        _next_epoch(trainer, validation, so_far)
        so_far.seconds = time.monotonic() - started
        checkpoint.save(trainer, so_far)
        _tell(tracker, so_far.curve[-1])
    checkpoint.remove()
    told = {"own_rows": trainer.own_rows.cpu().numpy().astype(np.int32), "epochs": np.array([so_far.best_epoch])}
    return Learned({**so_far.best_arrays, **told}, so_far.curve)


def _next_epoch(trainer: Trainer, validation: Validation | None, so_far: Progress) -> None:
    config, epoch = trainer.config, len(so_far.curve) + 1
    point = {"epoch": float(epoch), "loss": trainer.epoch(factors_only=epoch <= config.pretraining_epochs)}
    if not np.isfinite(point["loss"]):
        got = f"loss {point['loss']} in epoch {epoch} with learning_rate {config.learning_rate}"
        raise UnsuitableError(f"neural_collaborative diverged: {got}; set a lower learning_rate")
    reached = float(epoch)  # without a validation the last epoch is the best
    so_far.newest.append(trainer.network.arrays())
    arrays = mean_weights(so_far.newest)
    if validation is not None:
        point[f"validation_ndcg@{VALIDATION_K}"] = reached = _validate(trainer, arrays, validation, config)
    so_far.curve.append(point)
    if reached > so_far.best:
        so_far.best, so_far.best_epoch, so_far.best_arrays = reached, epoch, arrays
    if validation is None or reached > so_far.gained * (1 + config.min_gain):
        so_far.gained, so_far.gained_at = reached, epoch


def _tell(tracker: Tracker | None, point: dict[str, float]) -> None:
    if tracker is not None:
        tracker.log(int(point["epoch"]), {name: value for name, value in point.items() if name != "epoch"})


def _validate(
    trainer: Trainer, arrays: dict[str, NDArray[Any]], validation: Validation, config: NeuralCollaborativeConfig
) -> float:
    """Mean NDCG of the kept purchases, ranked by the code that answers requests."""
    network = Network.of(arrays, config)
    own = trainer.own_rows.cpu().numpy()[validation.user_rows]
    users = network.users(own, validation.histories)
    scores = forward(users, network.items[validation.item_columns], network.layers)
    everything = np.ones(scores.shape[1], dtype=np.bool_)
    ranked = mask_and_rank(scores, VALIDATION_K, everything, validation.known).item_columns
    return float(np.nanmean(ndcg(ranked, validation.relevant)))
