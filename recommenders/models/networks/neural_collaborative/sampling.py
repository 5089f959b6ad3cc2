"""Training data of NeuMF: chunks of histories, the pools of negative items, and the weight of each event."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from recommenders.events.histories import DAY
from recommenders.events.interactions import Interactions
from recommenders.math.ragged import joined_ranges
from recommenders.models.networks.neural_collaborative.config import NeuralCollaborativeConfig

OLDEST_WEIGHT = 0.2  # weight of a very old event, relative to 1 for an event of today
ALWAYS_DRAWN_WEIGHT = 0.999  # a chunk of a larger mean weight is in each epoch; below 1 since sums are rounded
MIN_CHUNK_PROBABILITY = (
    0.25  # lowest share of epochs with a chunk: far fewer steps per epoch would end training too early
)
CHUNK = 64  # target events of one user in a row, from one history; shorter chunks would mix users better
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """Chunks of histories, on the device, one per row. Slots hold events of a user in order; some are targets."""

    users: torch.Tensor  # (n,)
    slots: torch.Tensor  # (n, length) item columns, 0 where empty
    target_positions: torch.Tensor  # (n, m) the slot of each target
    ends: torch.Tensor  # (n, m) number of slots in the history of the target
    weights: torch.Tensor  # (n, m) of the targets, 0 where a row has fewer targets
    pool: torch.Tensor  # (n_pool,) item columns, ascending
    log_probabilities: torch.Tensor  # (n_pool,) log of the probability that an item is in the pool
    known: torch.Tensor  # (n, n_pool) whether the user has events of the item: not a negative


class Sampler:
    """Draws an epoch at a time: events as targets, each with the earlier events of its user as history.

    Most events are a target once an epoch. Chunks whose mean weight is below the mean of the log are in fewer epochs,
    with a weight that corrects for it: the same expected gradient, for fewer steps.

    The history of a target follows the task of the log: if the task is the next event, it is all events before the
    target; if the task is a window, it ends at a random time less than the window earlier.

    Pools are drawn on the device with a probability of (1 + events)^negative_power. The probability that an item is in
    a pool goes with it, so that the loss can correct for the sampling. Bengio & Senécal 2008.
    """

    def __init__(
        self, log: Interactions, config: NeuralCollaborativeConfig, rng: np.random.Generator, device: torch.device
    ) -> None:
        self.rng, self.config, self.device = rng, config, device
        self.n_items, self.horizon_days = len(log.items), log.horizon_days if log.dated else None
        self.histories = histories = log.histories()
        self.users = histories.rows
        self.weights = _event_weights(histories.timestamps, histories.weights, log.dated, config.half_life_share)
        self.chunks = _chunks(histories.indptr, config.history_length)
        self.chunk_probabilities = _chunk_probabilities(self.weights, *self.chunks[1:])
        counts = np.bincount(histories.item_columns, minlength=self.n_items)
        probabilities = np.asarray((1.0 + counts) ** config.negative_power, dtype=np.float64)
        probabilities /= probabilities.sum()
        self.item_probabilities = torch.from_numpy(probabilities).to(device)
        self.log_pool_probabilities = torch.from_numpy(_log_pool_probabilities(probabilities, config.negative_pool)).to(
            device
        )
        self.items = torch.from_numpy(histories.item_columns.astype(np.int64)).to(device)
        self.indptr = torch.from_numpy(histories.indptr).to(device)
        self.pool_positions = torch.full((self.n_items,), -1, device=device)  # of each item in the current pool

    def epoch(self) -> Iterator[Batch]:
        """The targets in batches of about batch_size, from chunks of similar length."""
        first, start, stop = self.chunks
        order = np.lexsort(
            (self.rng.random(len(start)), stop - first, stop - start)
        )  # similar lengths: few empty slots
        order = order[self.rng.random(len(order)) < self.chunk_probabilities[order]]
        before = np.cumsum((stop - start)[order]) - 1
        batches = np.split(order, np.flatnonzero(np.diff(before // self.config.batch_size)) + 1)
        ends = self._history_ends()
        for chosen in self.rng.permutation(len(batches)):
            yield self._batch(batches[chosen], ends)

    def _history_ends(self) -> Integers:
        """(n_events,) the event of the log at which the history of each target ends."""
        if self.horizon_days is None:
            return np.arange(len(self.users), dtype=np.int64)
        seconds = (self.histories.timestamps - self.histories.timestamps.min(initial=0)) // 1_000_000
        span = int(seconds.max(initial=0)) + int(self.horizon_days * DAY / 1e6) + 2
        cuts = seconds - (self.rng.random(len(seconds)) * self.horizon_days * DAY / 1e6).astype(np.int64)
        keys = self.users * span  # sorts by user first, then by time
        return np.asarray(np.searchsorted(keys + seconds, keys + cuts.clip(min=0)))

    def _batch(self, chosen: Integers, ends: Integers) -> Batch:
        first, start, stop = (part[chosen][:, None] for part in self.chunks)
        events = first + np.arange((stop - first).max())
        targets = start + np.arange((stop - start).max())
        is_target = targets < stop
        targets = np.where(is_target, targets, start)
        pool, log_probabilities = self._pool()
        to = self._to_device
        users = to(self.users[first[:, 0]])
        return Batch(
            users,
            torch.where(to(events < stop), self.items[to(events.clip(max=len(self.users) - 1))], 0),
            to(targets - first),
            to((ends[targets] - first).clip(min=0)),
            to(np.where(is_target, self.weights[targets] / self.chunk_probabilities[chosen, None], np.float32(0.0))),
            pool,
            log_probabilities,
            self._known(users, pool),
        )

    def _to_device(self, array: NDArray[np.generic]) -> torch.Tensor:
        return torch.from_numpy(array).to(self.device, non_blocking=True)

    def _pool(self) -> tuple[torch.Tensor, torch.Tensor]:
        if self.n_items <= self.config.negative_pool:
            return torch.arange(self.n_items, device=self.device), self.log_pool_probabilities
        pool = torch.unique(torch.multinomial(self.item_probabilities, self.config.negative_pool, replacement=True))
        return pool, self.log_pool_probabilities.index_select(0, pool)

    def _known(self, users: torch.Tensor, pool: torch.Tensor) -> torch.Tensor:
        """(n, n_pool): whether each user has events of each item of the pool. Costs one look-up per known event."""
        self.pool_positions[pool] = torch.arange(len(pool), device=self.device)
        starts = self.indptr[users]
        counts = self.indptr[users + 1] - starts
        rows = torch.repeat_interleave(counts)
        events = torch.arange(len(rows), device=self.device) + (starts - torch.cumsum(counts, 0) + counts)[rows]
        positions = self.pool_positions.index_select(0, self.items.index_select(0, events))
        known = torch.zeros(len(users), len(pool) + 1, dtype=torch.bool, device=self.device)
        known[rows, positions] = True  # items outside the pool fall into the last column, -1
        self.pool_positions[pool] = -1
        return known[:, :-1]


def _log_pool_probabilities(probabilities: NDArray[np.float64], size: int) -> NDArray[np.float32]:
    """(n_items,) log of the probability that an item is among `size` draws; 0 if the pool holds all items."""
    if len(probabilities) <= size:
        return np.zeros(len(probabilities), dtype=np.float32)
    return np.asarray(np.log(-np.expm1(size * np.log1p(-probabilities))), dtype=np.float32)


def _chunks(indptr: Integers, history_length: int) -> tuple[Integers, Integers, Integers]:
    """(n,) first event of the history, first target, and the event after the last target, of each chunk of the log."""
    counts = np.diff(indptr)
    length = min(CHUNK, history_length)
    n_chunks = -(-counts // length)
    rows = np.repeat(np.arange(len(counts)), n_chunks)
    number = joined_ranges(0, n_chunks)
    start = indptr[rows] + number * length
    first = np.maximum(start - (history_length - length), indptr[rows])
    return first, start, np.minimum(start + length, indptr[rows + 1])


def _chunk_probabilities(weights: NDArray[np.float32], start: Integers, stop: Integers) -> NDArray[np.float32]:
    """(n,) the probability that a chunk is in an epoch: its mean weight, if that is below 1, the mean of the log."""
    sums = np.concatenate([[0.0], np.cumsum(weights, dtype=np.float64)])
    means = (sums[stop] - sums[start]) / np.maximum(stop - start, 1)
    return np.asarray(
        np.where(means > ALWAYS_DRAWN_WEIGHT, 1.0, means.clip(min=MIN_CHUNK_PROBABILITY)), dtype=np.float32
    )


def _event_weights(
    timestamps: Integers, weights: NDArray[np.float32], dated: bool, half_life_share: float | None
) -> NDArray[np.float32]:
    """(n_events,) with mean 1: the weight of an event, halved for each half_life_share of the log's span in age."""
    scaled = weights.astype(np.float64)
    ages = (timestamps.max(initial=0) - timestamps).astype(np.float64)
    if dated and half_life_share is not None and ages.any():
        scaled = scaled * (np.exp2(-ages / (half_life_share * ages.max())) + OLDEST_WEIGHT)
    mean = scaled.mean() if len(scaled) else 0.0
    return (scaled / mean if mean > 0 else np.ones_like(scaled)).astype(np.float32)
