"""Training windows at the end of a log: what is known before a cut time, and what users bought after it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from recommenders.events.histories import Histories
from recommenders.events.interactions import Interactions

NEWEST = 3  # events per user that are the targets where time windows are not possible


@dataclass(frozen=True, eq=False)
class Window:
    """The log before a cut time, and the targets: the items that users bought after it."""

    log: Interactions
    end: int  # microseconds: the time of the newest event of the window
    user_rows: NDArray[np.int32]  # (n,) known users with at least one target
    targets: csr_array  # (n, n_items)
    new_users: Histories  # (m, n_items) events in the window of users without earlier events, with two visits or more

    @property
    def relevant(self) -> csr_array:
        """(n + m, n_items): the items of the window, of its known users and then of its new users."""
        return csr_array(vstack([self.targets, self.new_users.matrix.astype(bool).astype(np.float32)]))

    @property
    def cut(self) -> int:
        """The cut time in microseconds: the time of the newest event before the window."""
        return int(self.log.timestamps.max(initial=0))


def windows(log: Interactions, n_windows: int, horizon_days: float) -> Iterator[Window]:
    """Yields the windows, the newest first, while at least a third of the events lie before the window."""
    if log.dated:
        horizon = min(horizon_days, float(log.ages().max(initial=0)) / 3)
        for number, (before, within) in enumerate(time_windows(log, n_windows, horizon, step=horizon / 2)):
            if before.sum() * 3 < len(log):
                return
            yield _window(log, before, within if number else ~before)  # the newest window has the newest event
    else:
        yield newest_events(log)


def time_windows(
    log: Interactions, n_windows: int, days: float, step: float
) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Yields the events before each window and those within it, (n_events,) each; the newest window first.

    The newest window ends at the time of the newest event, and each further one `step` days earlier. An event at the
    end of a window is in the next one, so events at the newest time are in none.
    """
    ages = log.ages()
    for number in range(n_windows):
        end = number * step
        before = ages > end + days
        yield before, ~before & (ages > end)


@dataclass(frozen=True, eq=False)
class NewUsers:
    """The log before a window, and the users whose first event is in it."""

    log: Interactions
    user_rows: NDArray[np.int32]  # (n,)
    targets: csr_array  # (n, n_items): the items that they bought in the window, among those available before it


def new_users(log: Interactions, n_windows: int, horizon_days: float) -> Iterator[NewUsers]:
    """Yields the windows at the end of a dated log, each ending where the one after it begins, the newest first.

    While at least a third of the events lie before the window. A window without new users is left out.
    """
    if not log.dated:
        return
    horizon = min(horizon_days, float(log.ages().max(initial=0)) / 3)
    for number, (before, within) in enumerate(time_windows(log, n_windows, horizon, step=horizon)):
        if before.sum() * 3 < len(log):
            return
        earlier = log.select(before)
        earlier = replace(earlier, available=_available(log, earlier))
        known = np.bincount(earlier.user_rows, minlength=len(log.users)) > 0
        after = within if number else ~before  # the newest window has the newest event
        targets = log.select(after & ~known[log.user_rows] & earlier.available[log.item_columns]).matrix("binary")
        rows = np.flatnonzero(np.diff(targets.indptr)).astype(np.int32)
        if len(rows):
            yield NewUsers(earlier, rows, csr_array(targets[rows]))


def newest_events(log: Interactions) -> Window:
    """A window of each user's newest events, for a log that no cut time divides."""
    return _window(log, *_latest_out(log))


def _latest_out(log: Interactions) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Masks of older and newest events. Newest: of each user at most NEWEST, and at most a fifth of its events."""
    counts = np.bincount(log.user_rows, minlength=len(log.users))
    order = np.lexsort((log.timestamps, log.user_rows))
    after = np.cumsum(counts)[log.user_rows[order]] - 1 - np.arange(len(order))  # later events of the same user
    n_newest = np.where(counts >= 3, np.clip(counts // 5, 1, NEWEST), 0)
    newest = np.zeros(len(log), dtype=np.bool_)
    newest[order] = after < n_newest[log.user_rows[order]]
    return ~newest, newest


def _window(log: Interactions, before: NDArray[np.bool_], after: NDArray[np.bool_]) -> Window:
    earlier = log.select(before)
    earlier = replace(earlier, available=_available(log, earlier))
    known = np.bincount(earlier.user_rows, minlength=len(log.users)) > 0
    targets = log.select(after).matrix("binary")
    rows = np.flatnonzero(known & (np.diff(targets.indptr) > 0)).astype(np.int32)
    new = log.select(after & ~known[log.user_rows]).histories()
    visits = np.zeros(len(new), dtype=np.int64)
    np.maximum.at(visits, new.rows, new.visits_ago + 1)
    end = int(log.timestamps[after].max(initial=0))
    return Window(earlier, end, rows, csr_array(targets[rows]), new[np.flatnonzero(visits > 1)])


def _available(log: Interactions, earlier: Interactions) -> NDArray[np.bool_]:
    """The items that could be recommended at the end of an earlier part of a log, (n_items,).

    These are the items on sale at that time, if the log has available items without events and has sale periods;
    otherwise the items bought by then.
    """
    seen = np.bincount(earlier.item_columns, minlength=len(log.items)) > 0
    ever_seen = np.bincount(log.item_columns, minlength=len(log.items)) > 0
    if log.sale_periods is None or not (log.available & ~ever_seen).any():
        return seen
    return log.sale_periods.at(int(earlier.timestamps.max(initial=0))).items


def first_events(new_users: Histories, n_events: int | None) -> tuple[Histories, csr_array]:
    """Returns the first n_events of each new user (None: the first visit), and the targets in later visits.

    Both (n, n_items). The cut never falls inside a visit: the remaining events of a begun visit are in neither.
    """
    starts = new_users.indptr[new_users.rows]
    places = np.arange(len(new_users.item_columns)) - starts
    times = new_users.timestamps
    known = times == times[starts] if n_events is None else places < n_events
    last = np.full(len(new_users), np.iinfo(np.int64).min)
    np.maximum.at(last, new_users.rows[known], times[known])
    return new_users.select(known), new_users.select(times > last[new_users.rows]).matrix
