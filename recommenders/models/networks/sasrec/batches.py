"""Training data of SASRec: a log is cut into chunks of histories, with the targets of each token."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recommenders.events.histories import DAY
from recommenders.events.interactions import Interactions
from recommenders.math.ragged import expand_ranges, joined_ranges
from recommenders.models.networks.sasrec.config import SASRecConfig
from recommenders.models.networks.sasrec.inference import token_starts

SECOND = 1_000_000  # microseconds
TARGETS_POWER = 0.5  # a token with n targets counts n to this power: a compromise between equal tokens and equal items
MIN_WEIGHT = 1e-6  # of a target: if all events of a window weigh 0, all targets count alike
MAX_TARGETS = 256  # target events of one token, at most: the first ones of its window


class Batch(NamedTuple):
    """Chunks of histories side by side, padded at their ends; a padding cell has no targets."""

    shape: tuple[int, int]  # (n, width) cells, one token each
    items: NDArray[np.int64]  # (n_events,) columns
    cells: NDArray[np.int64]  # (n_events,) the cell of each event, ascending
    has_targets: NDArray[np.bool_]  # (n x width,); the true cells, in order, are the rows of the targets
    rows: NDArray[np.int64]  # (n_targets,) ascending
    targets: NDArray[np.int64]  # (n_targets,) columns
    weights: NDArray[np.float32]  # (n_targets,)


@dataclass(frozen=True, eq=False)
class TokenisedLog:
    """A log by user and time, cut into tokens. The targets of token i are events target_start[i] <= j < target_stop[i].

    A target is an event after the token, within the window.
    """

    indptr: NDArray[np.int64]  # (n_users + 1,) of the tokens of each user
    items: NDArray[np.int64]  # (n_events,)
    weights: NDArray[np.float32]
    previous: NDArray[np.int64]  # position of the user's previous event of the same item, -1 for none
    bounds: NDArray[np.int64]  # (n_tokens + 1,) of the events of each token
    target_stop: NDArray[np.int64]  # (n_tokens,)

    @property
    def target_start(self) -> NDArray[np.int64]:
        """(n_tokens,) the targets of a token start where the token ends."""
        return self.bounds[1:]


class SequenceBatcher:
    """Makes the batches of an epoch. Each epoch draws the event order within visits, the cuts of long histories anew.

    It also draws anew which chunks form a batch.

    window: microseconds after a token whose events are its targets; None if only the next event is the target.
    """

    def __init__(self, log: Interactions, config: SASRecConfig, rng: np.random.Generator) -> None:
        self.histories, self.config, self.rng = log.histories(), config, rng
        self.window = None if log.horizon_days is None else int(log.horizon_days * DAY)

    def batches(self) -> Iterator[Batch]:
        """All chunks once, in batches of batch_tokens, padding included; a longer chunk is a batch of its own."""
        tokens = self._tokenise()
        first, stop = self._chunks(tokens)
        ends = _batch_ends(stop - first, self.config.batch_tokens)
        for i in self.rng.permutation(len(ends)):
            chosen = slice(ends[i - 1] if i else 0, ends[i])
            yield _batch(tokens, first[chosen], stop[chosen])

    def _tokenise(self) -> TokenisedLog:
        histories = self.histories
        order = np.lexsort((self.rng.random(len(histories.timestamps)), histories.timestamps, histories.rows))
        items = histories.item_columns[order].astype(np.int64)
        starts = token_starts(histories, self.window is not None)
        indptr, bounds = np.searchsorted(starts, histories.indptr), np.append(starts, len(items))
        if self.window is None:
            stop = np.minimum(starts + 2, histories.indptr[histories.rows + 1])
        else:
            ends = _window_ends(histories.rows[starts], histories.timestamps[starts], self.window)
            stop = np.minimum(bounds[ends], bounds[1:] + MAX_TARGETS)
        previous = _previous_occurrences(histories.rows * histories.n_items + items)
        return TokenisedLog(indptr, items, histories.weights[order], previous, bounds, stop)

    def _chunks(self, tokens: TokenisedLog) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First token and stop of each chunk that has targets; short chunks first, equal lengths in random order.

        A history longer than `history_length` is cut at a random place and then every `history_length` tokens.
        """
        length, counts = self.config.history_length, np.diff(tokens.indptr)
        shift = np.where(counts > length, self.rng.integers(0, length, len(counts)), 0)
        n_chunks = -(-(counts + shift) // length)
        users = np.repeat(np.arange(len(counts)), n_chunks)
        number = joined_ranges(0, n_chunks)
        starts = tokens.indptr[users] + number * length - shift[users]
        first = np.maximum(starts, tokens.indptr[users])
        stop = np.minimum(starts + length, tokens.indptr[users + 1])
        n_with_targets = np.append(0, np.cumsum(tokens.target_stop > tokens.target_start))
        useful = n_with_targets[stop] > n_with_targets[first]
        first, stop = first[useful], stop[useful]
        order = np.lexsort((self.rng.random(len(first)), stop - first))
        return first[order], stop[order]


def _batch(log: TokenisedLog, first: NDArray[np.int64], stop: NDArray[np.int64]) -> Batch:
    """The batch of the chunks, from token first to stop each, with their targets."""
    width = int((stop - first).max())
    chunks, tokens = expand_ranges(first, stop)
    cells = chunks * width + tokens - first[chunks]
    event_tokens, events = expand_ranges(log.bounds[tokens], log.bounds[tokens + 1])
    with_targets = log.target_stop[tokens] > log.target_start[tokens]
    has_targets = np.zeros(len(first) * width, dtype=np.bool_)
    has_targets[cells[with_targets]] = True
    target_tokens = tokens[with_targets]
    rows, targets = expand_ranges(log.target_start[target_tokens], log.target_stop[target_tokens])
    # an item with several events in a window is one target
    is_first = log.previous[targets] < log.target_start[target_tokens][rows]
    rows, targets = rows[is_first], targets[is_first]
    weights = np.maximum(log.weights[targets], MIN_WEIGHT).astype(np.float64)
    weights *= (np.bincount(rows) ** TARGETS_POWER / np.bincount(rows, weights))[rows]
    shape = (len(first), width)
    return Batch(
        shape, log.items[events], cells[event_tokens], has_targets, rows, log.items[targets], weights.astype(np.float32)
    )


def _window_ends(users: NDArray[np.int64], times: NDArray[np.int64], window: int) -> NDArray[np.int64]:
    """For tokens sorted by user and time: the position after the last token of the same user within the window."""
    seconds = (times - times.min()) // SECOND
    reach = window // SECOND
    keys = users * (seconds.max(initial=0) + reach + 1) + seconds
    return np.asarray(np.searchsorted(keys, keys + reach, side="right"))


def _previous_occurrences(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n,) the position of the previous occurrence of the same key, -1 for none."""
    order = np.argsort(keys, kind="stable")
    same = keys[order[1:]] == keys[order[:-1]]
    previous = np.full(len(keys), -1)
    previous[order[1:][same]] = order[:-1][same]
    return previous


def _batch_ends(sizes: NDArray[np.int64], batch_tokens: int) -> list[int]:
    """Where batches of ascending sizes end, so that number x largest size stays within batch_tokens."""
    ends, start = [], 0
    while start < len(sizes):
        some = sizes[start : start + batch_tokens]
        start += max(1, int(np.searchsorted(some * np.arange(1, len(some) + 1), batch_tokens, side="right")))
        ends.append(start)
    return ends
