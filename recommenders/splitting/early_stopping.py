"""Holds out events of some users, for early stopping: which events, of which users, and what remains of the log."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommenders.events.histories import DAY, Histories
from recommenders.events.interactions import Interactions

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class HeldOut:
    """The held-out users: what is known of them, and the items of their held-out events."""

    user_rows: NDArray[np.int32]  # (n,) ascending
    histories: Histories  # (n, n_items) the events that are not held out
    relevant: csr_array  # (n, n_items) binary


def hold_out(
    log: Interactions, masks: Iterable[Mask], share: float, max_users: int, rng: np.random.Generator
) -> tuple[Interactions, HeldOut | None]:
    """The log without the held-out events of some users, and these users. (log, None) if no user has other events.

    masks: the events that may be held out, (n_events,) each; the first one is used that leaves an event of some user
    on both sides. Of these users, a share is drawn, rounded up, but not more than max_users.
    """
    for mask in masks:
        eligible = users_on_both_sides(log, mask)
        n_users = min(max_users, int(np.ceil(share * len(eligible))))
        if n_users:
            rows = np.sort(rng.choice(eligible, n_users, replace=False)).astype(np.int32)
            held_out = mask & np.isin(log.user_rows, rows)
            kept = log.select(~held_out)
            return kept, HeldOut(rows, kept.histories()[rows], log.select(held_out).matrix("binary")[rows])
    return log, None


def users_on_both_sides(log: Interactions, mask: Mask) -> NDArray[np.int64]:
    """Rows, ascending, of the users with events inside and outside the mask (n_events,)."""
    inside, outside = (np.bincount(log.user_rows[part], minlength=len(log.users)) for part in (mask, ~mask))
    return np.flatnonzero((inside > 0) & (outside > 0))


def latest_visits(log: Interactions) -> Mask:
    """(n_events,) whether an event belongs to the latest visit of its user."""
    latest = np.full(len(log.users), np.iinfo(np.int64).min)
    np.maximum.at(latest, log.user_rows, log.timestamps)
    return np.asarray(log.timestamps == latest[log.user_rows])


def latest_events(log: Interactions) -> Mask:
    """(n_events,) true for the last event of each user, in the order of the log."""
    return _last_of_each_user(log, np.argsort(log.user_rows, kind="stable"))  # a log is sorted by time


def last_window(log: Interactions, days: float) -> Mask:
    """(n_events,) whether an event is in the last days of the log."""
    return np.asarray(log.timestamps > log.timestamps.max(initial=0) - days * DAY)


def random_events(log: Interactions, rng: np.random.Generator) -> Mask:
    """(n_events,) true for one event of each user, drawn at random."""
    return _last_of_each_user(log, np.lexsort((rng.random(len(log)), log.user_rows)))


def _last_of_each_user(log: Interactions, order: NDArray[np.int64]) -> Mask:
    """(n_events,) true for the last event of each user in an order (n_events,) that is sorted by user."""
    found = np.zeros(len(log), dtype=np.bool_)
    found[order[np.append(np.diff(log.user_rows[order]) != 0, True)[: len(log)]]] = True
    return found
