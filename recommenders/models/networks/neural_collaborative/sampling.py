"""What NeuMF learns from: stretches of histories, the pool negatives come from, and how much an event teaches."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from recommenders.events.histories import DAY
from recommenders.events.interactions import Interactions
from recommenders.models.networks.neural_collaborative.config import NeuralCollaborativeConfig

OLDEST = 0.2  # weight of an event long past, beside 1 for one of today
ALWAYS = 0.999  # mean weight of a stretch that is told in each epoch: sums of equal weights round
RARELY = 0.25  # of the epochs tell a stretch that hardly counts: far fewer steps an epoch would end training too early
STRETCH = 64  # events of one buyer that are told together, from one history; fewer would mix buyers better
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """Some stretches of histories, on the device, one a row. Slots hold a buyer's events in order; some are told."""

    users: torch.Tensor  # (n,)
    slots: torch.Tensor  # (n, length) item columns, 0 where empty
    told: torch.Tensor  # (n, m) the slot of each event that is told
    ends: torch.Tensor  # (n, m) how many slots are seen before it
    weights: torch.Tensor  # (n, m) what it teaches, 0 where a row tells fewer
    pool: torch.Tensor  # (n_pool,) item columns, ascending
    chances: torch.Tensor  # (n_pool,) log of the probability that an item is in the pool
    known: torch.Tensor  # (n, n_pool) no negatives: the buyer took them


class Sampler:
    """Draws an epoch at a time: events as targets, each behind what its buyer had done before.

    Most are told once an epoch. Stretches whose events count less than the log's mean are told in fewer epochs, with a
    weight that makes up for it: the same gradient in expectation, for fewer steps.

    What is told follows the question of the log: where it is what comes next, the events before the target are seen;
    where it is what will be wanted within a window, only those up to a random moment less than the window earlier.

    Pools are drawn on the device with a probability of (1 + events)^negative_power; an item's chance to be in one goes
    with it, so that the loss can undo the choice. Bengio & Senécal 2008.
    """

    def __init__(
        self, log: Interactions, config: NeuralCollaborativeConfig, rng: np.random.Generator, device: torch.device
    ) -> None:
        self.rng, self.config, self.device = rng, config, device
        self.n_items, self.horizon_days = len(log.items), log.horizon_days if log.dated else None
        self.histories = histories = log.histories()
        self.users = histories.rows
        self.weights = _weights(histories.timestamps, histories.weights, log.dated, config.half_life_share)
        self.stretches = _stretches(histories.indptr, config.history_length)
        self.shares = _shares(self.weights, *self.stretches[1:])
        counts = np.bincount(histories.item_columns, minlength=self.n_items)
        chances = np.asarray((1.0 + counts) ** config.negative_power, dtype=np.float64)
        chances /= chances.sum()
        self.chances = torch.from_numpy(chances).to(device)
        self.pooled = torch.from_numpy(_log_pooled(chances, config.negative_pool)).to(device)
        self.items = torch.from_numpy(histories.item_columns.astype(np.int64)).to(device)
        self.indptr = torch.from_numpy(histories.indptr).to(device)
        self.place = torch.full((self.n_items,), -1, device=device)  # of each item in the current pool

    def epoch(self) -> Iterator[Batch]:
        """The targets in batches of about batch_size, from stretches of like length."""
        first, start, stop = self.stretches
        order = np.lexsort((self.rng.random(len(start)), stop - first, stop - start))  # like lengths waste no slots
        order = order[self.rng.random(len(order)) < self.shares[order]]
        before = np.cumsum((stop - start)[order]) - 1
        batches = np.split(order, np.flatnonzero(np.diff(before // self.config.batch_size)) + 1)
        ends = self._ends()
        for chosen in self.rng.permutation(len(batches)):
            yield self._batch(batches[chosen], ends)

    def _ends(self) -> Integers:
        """(n_events,) up to which event of the log each target's history is seen."""
        if self.horizon_days is None:
            return np.arange(len(self.users), dtype=np.int64)
        seconds = (self.histories.timestamps - self.histories.timestamps.min(initial=0)) // 1_000_000
        span = int(seconds.max(initial=0)) + int(self.horizon_days * DAY / 1e6) + 2
        asked = seconds - (self.rng.random(len(seconds)) * self.horizon_days * DAY / 1e6).astype(np.int64)
        keys = self.users * span  # the buyer first, then the moment
        return np.asarray(np.searchsorted(keys + seconds, keys + asked.clip(min=0)))

    def _batch(self, chosen: Integers, ends: Integers) -> Batch:
        first, start, stop = (part[chosen][:, None] for part in self.stretches)
        places = first + np.arange((stop - first).max())
        targets = start + np.arange((stop - start).max())
        tells = targets < stop
        targets = np.where(tells, targets, start)
        pool, chances = self._pool()
        to = self._to_device
        users = to(self.users[first[:, 0]])
        return Batch(
            users,
            torch.where(to(places < stop), self.items[to(places.clip(max=len(self.users) - 1))], 0),
            to(targets - first),
            to((ends[targets] - first).clip(min=0)),
            to(np.where(tells, self.weights[targets] / self.shares[chosen, None], np.float32(0.0))),
            pool,
            chances,
            self._known(users, pool),
        )

    def _to_device(self, array: NDArray[np.generic]) -> torch.Tensor:
        return torch.from_numpy(array).to(self.device, non_blocking=True)

    def _pool(self) -> tuple[torch.Tensor, torch.Tensor]:
        if self.n_items <= self.config.negative_pool:
            return torch.arange(self.n_items, device=self.device), self.pooled
        pool = torch.unique(torch.multinomial(self.chances, self.config.negative_pool, replacement=True))
        return pool, self.pooled.index_select(0, pool)

    def _known(self, users: torch.Tensor, pool: torch.Tensor) -> torch.Tensor:
        """(n, n_pool): whether each buyer ever took each item of the pool; costs a look-up for each known event."""
        self.place[pool] = torch.arange(len(pool), device=self.device)
        starts = self.indptr[users]
        counts = self.indptr[users + 1] - starts
        rows = torch.repeat_interleave(counts)
        events = torch.arange(len(rows), device=self.device) + (starts - torch.cumsum(counts, 0) + counts)[rows]
        places = self.place.index_select(0, self.items.index_select(0, events))
        known = torch.zeros(len(users), len(pool) + 1, dtype=torch.bool, device=self.device)
        known[rows, places] = True  # what is not in the pool falls into the last column, -1
        self.place[pool] = -1
        return known[:, :-1]


def _log_pooled(chances: NDArray[np.float64], size: int) -> NDArray[np.float32]:
    """(n_items,) log of the probability that an item is among `size` draws; 0 where all items are a pool."""
    if len(chances) <= size:
        return np.zeros(len(chances), dtype=np.float32)
    return np.asarray(np.log(-np.expm1(size * np.log1p(-chances))), dtype=np.float32)


def _stretches(indptr: Integers, history_length: int) -> tuple[Integers, Integers, Integers]:
    """(n,) first event seen, first event told, and the one behind the last told, of each stretch of the log."""
    counts = np.diff(indptr)
    length = min(STRETCH, history_length)
    n_each = -(-counts // length)
    rows = np.repeat(np.arange(len(counts)), n_each)
    number = np.arange(len(rows)) - np.repeat(np.cumsum(n_each) - n_each, n_each)
    start = indptr[rows] + number * length
    first = np.maximum(start - (history_length - length), indptr[rows])
    return first, start, np.minimum(start + length, indptr[rows + 1])


def _shares(weights: NDArray[np.float32], start: Integers, stop: Integers) -> NDArray[np.float32]:
    """(n,) the share of the epochs that tell each stretch: its mean weight where that is below the log's, 1."""
    sums = np.concatenate([[0.0], np.cumsum(weights, dtype=np.float64)])
    means = (sums[stop] - sums[start]) / np.maximum(stop - start, 1)
    return np.asarray(np.where(means > ALWAYS, 1.0, means.clip(min=RARELY)), dtype=np.float32)


def _weights(
    timestamps: Integers, weights: NDArray[np.float32], dated: bool, half_life_share: float | None
) -> NDArray[np.float32]:
    """(n_events,) around 1: an event's own weight, halved every half_life_share of the span back to the oldest."""
    taught = weights.astype(np.float64)
    ages = (timestamps.max(initial=0) - timestamps).astype(np.float64)
    if dated and half_life_share is not None and ages.any():
        taught = taught * (np.exp2(-ages / (half_life_share * ages.max())) + OLDEST)
    mean = taught.mean() if len(taught) else 0.0
    return (taught / mean if mean > 0 else np.ones_like(taught)).astype(np.float32)
