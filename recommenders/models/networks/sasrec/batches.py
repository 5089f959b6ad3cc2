"""What the sequential model learns from: pieces of histories, what each of their events foretells, and validation."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommenders.events.histories import DAY, Histories
from recommenders.events.interactions import Interactions
from recommenders.models.networks.log_checks import latest_moments, users_of_both
from recommenders.models.networks.sasrec.config import SASRecConfig
from recommenders.models.networks.sasrec.inference import expand, token_starts

SECOND = 1_000_000  # microseconds
TARGETS_POWER = 0.5  # a token that foretells n items counts n to this power: a token's voice against an item's
LEAST_WEIGHT = 1e-6  # of an event: where all of a window weigh nothing, all are foretold alike
MAX_TARGETS = 256  # events of a window that a token foretells at most: those that come first


class Batch(NamedTuple):
    """Pieces side by side, padded behind their ends; what is padded foretells nothing."""

    shape: tuple[int, int]  # (n, width) cells, a token each
    items: NDArray[np.int64]  # (n_events,) columns
    cells: NDArray[np.int64]  # (n_events,) the cell of each, ascending
    foretells: NDArray[np.bool_]  # (n x width,); the true ones, in order, are the rows of the targets
    rows: NDArray[np.int64]  # (n_targets,) ascending
    targets: NDArray[np.int64]  # (n_targets,) columns
    weights: NDArray[np.float32]  # (n_targets,)


@dataclass(frozen=True, eq=False)
class Ordered:
    """A log by buyer and time, cut into tokens, with what follows: the events first[i] <= j < stop[i] of token i."""

    indptr: NDArray[np.int64]  # (n_users + 1,) of each buyer's tokens
    items: NDArray[np.int64]  # (n_events,)
    weights: NDArray[np.float32]
    previous: NDArray[np.int64]  # the buyer's event of the same item before this one, -1 for none
    bounds: NDArray[np.int64]  # (n_tokens + 1,) of each token's events
    stop: NDArray[np.int64]  # (n_tokens,)

    @property
    def first(self) -> NDArray[np.int64]:
        """(n_tokens,) what follows a token begins where it ends."""
        return self.bounds[1:]


class Sequences:
    """The batches of an epoch, drawn anew: the order within moments, the cuts of long histories, the company.

    window: microseconds after a token in which what happens is foretold; None for the next event alone.
    """

    def __init__(self, log: Interactions, config: SASRecConfig, rng: np.random.Generator) -> None:
        self.histories, self.config, self.rng = log.histories(), config, rng
        self.window = None if log.horizon_days is None else int(log.horizon_days * DAY)

    def batches(self) -> Iterator[Batch]:
        """All pieces once, in batches of batch_tokens, padding included, or of one piece that is longer."""
        ordered = self._ordered()
        first, stop = self._pieces(ordered)
        ends = _batch_ends(stop - first, self.config.batch_tokens)
        for i in self.rng.permutation(len(ends)):
            chosen = slice(ends[i - 1] if i else 0, ends[i])
            yield _batch(ordered, first[chosen], stop[chosen])

    def _ordered(self) -> Ordered:
        known = self.histories
        order = np.lexsort((self.rng.random(len(known.timestamps)), known.timestamps, known.rows))
        items = known.item_columns[order].astype(np.int64)
        starts = token_starts(known, self.window is not None)
        indptr, bounds = np.searchsorted(starts, known.indptr), np.append(starts, len(items))
        if self.window is None:
            stop = np.minimum(starts + 2, known.indptr[known.rows + 1])
        else:
            ends = _window_ends(known.rows[starts], known.timestamps[starts], self.window)
            stop = np.minimum(bounds[ends], bounds[1:] + MAX_TARGETS)
        previous = _previous(known.rows * known.n_items + items)
        return Ordered(indptr, items, known.weights[order], previous, bounds, stop)

    def _pieces(self, ordered: Ordered) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First token and stop of each piece that foretells anything, short ones first, equals in random order.

        A history longer than `length` is cut at a random place and every `length` from there.
        """
        length, counts = self.config.length, np.diff(ordered.indptr)
        shift = np.where(counts > length, self.rng.integers(0, length, len(counts)), 0)
        n_pieces = -(-(counts + shift) // length)
        users = np.repeat(np.arange(len(counts)), n_pieces)
        number = np.arange(len(users)) - np.repeat(np.cumsum(n_pieces) - n_pieces, n_pieces)
        starts = ordered.indptr[users] + number * length - shift[users]
        first = np.maximum(starts, ordered.indptr[users])
        stop = np.minimum(starts + length, ordered.indptr[users + 1])
        told = np.append(0, np.cumsum(ordered.stop > ordered.first))
        useful = told[stop] > told[first]
        first, stop = first[useful], stop[useful]
        order = np.lexsort((self.rng.random(len(first)), stop - first))
        return first[order], stop[order]


def _batch(ordered: Ordered, first: NDArray[np.int64], stop: NDArray[np.int64]) -> Batch:
    """The tokens from first to stop of each piece, and what they foretell."""
    width = int((stop - first).max())
    pieces, tokens = expand(first, stop)
    cells = pieces * width + tokens - first[pieces]
    held, events = expand(ordered.bounds[tokens], ordered.bounds[tokens + 1])
    tells = ordered.stop[tokens] > ordered.first[tokens]
    foretells = np.zeros(len(first) * width, dtype=np.bool_)
    foretells[cells[tells]] = True
    told = tokens[tells]
    rows, targets = expand(ordered.first[told], ordered.stop[told])
    fresh = ordered.previous[targets] < ordered.first[told][rows]  # bought twice in a window is foretold once
    rows, targets = rows[fresh], targets[fresh]
    weights = np.maximum(ordered.weights[targets], LEAST_WEIGHT).astype(np.float64)
    weights *= (np.bincount(rows) ** TARGETS_POWER / np.bincount(rows, weights))[rows]
    shape = (len(first), width)
    return Batch(
        shape, ordered.items[events], cells[held], foretells, rows, ordered.items[targets], weights.astype(np.float32)
    )


def _window_ends(users: NDArray[np.int64], times: NDArray[np.int64], window: int) -> NDArray[np.int64]:
    """For each of some moments by user and time, the place behind its user's last within the window after it."""
    seconds = (times - times.min()) // SECOND
    reach = window // SECOND
    keys = users * (seconds.max(initial=0) + reach + 1) + seconds
    return np.asarray(np.searchsorted(keys, keys + reach, side="right"))


def _previous(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n,) the place of the same key's occurrence before this one, -1 for none."""
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


@dataclass(frozen=True)
class Validation:
    """What some buyers did last, kept from training."""

    histories: Histories  # (n, n_items) before that
    relevant: csr_array  # (n, n_items)
    candidates: NDArray[np.bool_]  # (n_items,)
    exclude_known: bool


def hold_out_latest(
    log: Interactions, config: SASRecConfig, rng: np.random.Generator
) -> tuple[Interactions, Validation | None]:
    """The log without the last window, or where there is none the latest event, of some users who have earlier ones.

    Where no user has events both within the last window and before it, the latest moment of each user stands for it:
    without validation nothing would end the training before the last epoch. None where no user has two events.
    """
    if log.horizon_days is None:
        order = np.argsort(log.user_rows, kind="stable")  # a log is in the order of time
        held = np.zeros(len(log), dtype=np.bool_)
        held[order[np.append(np.diff(log.user_rows[order]) != 0, True)[: len(log)]]] = True
    else:
        held = log.timestamps > log.timestamps.max(initial=0) - log.horizon_days * DAY
        if not len(users_of_both(log, held)):
            held = latest_moments(log)
    eligible = users_of_both(log, held)
    n_held = min(config.validation_users, (len(eligible) + 1) // 2)
    if n_held == 0:
        return log, None
    rows = np.sort(rng.choice(eligible, n_held, replace=False))
    held &= np.isin(log.user_rows, rows)
    kept = log.select(~held)
    relevant = log.select(held).matrix("binary")[rows]
    # bought means on sale: an item that left the shelves since may be right for an order of back then
    candidates = np.bincount(log.item_columns, minlength=len(log.items)) > 0
    return kept, Validation(kept.histories()[rows], relevant, candidates, not log.repeat)
