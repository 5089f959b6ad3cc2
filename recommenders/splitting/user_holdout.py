"""Holds out whole users, whose later events are to be predicted from their earlier ones (Liang et al. 2018)."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommenders.errors import ConfigurationError, DataError
from recommenders.events.histories import Histories
from recommenders.events.ids import IdMap
from recommenders.events.interactions import Interactions
from recommenders.math.ragged import joined_ranges
from recommenders.math.sparse import ones
from recommenders.splitting.early_stopping import HeldOut, Mask


def split_users(log: Interactions, share: float, fold_in: float, seed: int) -> tuple[Interactions, HeldOut]:
    """The log without a share of its users, and these users: their earlier events, and the items of their later ones.

    The history of a held-out user is the first `fold_in` share of the events in time order. Events with equal time
    stamps are put in random order, so a log without times is split at random. Each side gets at least one event, so
    only users with two events can be held out. Items keep their columns; an item that only held-out users have is not
    available in the log, because no model can learn it. The log is not dated, because each held-out user has another
    prediction time. Raises ConfigurationError for a share or fold_in outside (0, 1), DataError if no user can be held
    out.
    """
    for name, value in (("share", share), ("fold_in", fold_in)):
        if not 0 < value < 1:
            raise ConfigurationError(f"{name}: got {value}; allowed: between 0 and 1; give a share")
    rng = np.random.default_rng(seed)
    return hold_out_rows(log, _draw(log, share, rng), fold_in, rng)


def hold_out_rows(
    log: Interactions, rows: NDArray[np.int64], fold_in: float, rng: np.random.Generator, counts: Mask | None = None
) -> tuple[Interactions, HeldOut]:
    """The log without these users, and these users, as split_users() gives them.

    rows: (n,) ascending, users with two events or more. counts: (n_events,) whether the item of an event may be
    relevant (default: of every event).
    """
    is_held_out = np.isin(log.user_rows, rows)
    events, others = log.select(is_held_out), log.select(~is_held_out)
    histories, relevant = _fold_in(events, rows, fold_in, rng, None if counts is None else counts[is_held_out])
    available = log.available & ~_only_in(events, others)
    kept = replace(_without_users(others, rows), available=available, dated=False, horizon_days=None)
    return kept, HeldOut(rows.astype(np.int32), histories, relevant)


def _draw(log: Interactions, share: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """The rows of the held-out users, ascending."""
    counts = np.bincount(log.user_rows, minlength=len(log.users))
    eligible = np.flatnonzero(counts > 1)
    n_held_out = min(max(1, round(share * int((counts > 0).sum()))), len(eligible), int((counts > 0).sum()) - 1)
    if n_held_out < 1:
        raise DataError(
            f"no user can be held out: {len(eligible)} of {(counts > 0).sum()} have two events or more; allowed: one "
            "such user and another one for training; bring a longer log"
        )
    return np.sort(rng.choice(eligible, n_held_out, replace=False))


def _fold_in(
    events: Interactions, held_out: NDArray[np.int64], share: float, rng: np.random.Generator, counts: Mask | None
) -> tuple[Histories, csr_array]:
    """The histories of the held-out users, and their relevant items: (n_held_out, n_items) each."""
    order = np.lexsort((rng.random(len(events)), events.timestamps, events.user_rows))
    places = np.searchsorted(held_out, events.user_rows[order])
    n_events = np.bincount(places, minlength=len(held_out))
    n_known = np.clip(np.rint(share * n_events), 1, n_events - 1).astype(np.int64)
    early = joined_ranges(0, n_events) < n_known[places]
    known = order[early]
    late = ~early if counts is None else ~early & counts[order]
    histories = Histories(
        np.concatenate([[0], np.cumsum(n_known)]),
        events.item_columns[known],
        events.timestamps[known],
        events.weights[known],
        len(events.items),
    )
    return histories, ones(places[late], events.item_columns[order[late]], histories.shape)


def _only_in(log: Interactions, other: Interactions) -> NDArray[np.bool_]:
    """(n_items,) mask of items with events in the first log and none in the second."""
    n_items = len(log.items)
    present = np.bincount(log.item_columns, minlength=n_items) > 0
    return np.asarray(present & (np.bincount(other.item_columns, minlength=n_items) == 0))


def _without_users(log: Interactions, removed: NDArray[np.int64]) -> Interactions:
    """The log without these users in its user map; it must hold no events of them."""
    kept = np.ones(len(log.users), dtype=np.bool_)
    kept[removed] = False
    rows = (np.cumsum(kept) - 1).astype(np.int32)
    return replace(log, users=IdMap(log.users.ids[kept]), user_rows=rows[log.user_rows])
