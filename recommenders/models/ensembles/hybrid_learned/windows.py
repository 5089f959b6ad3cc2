"""Earlier moments of a log, what was known then and what was wanted next: hybrid_learned learns from them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommenders.events.histories import Histories
from recommenders.events.interactions import Interactions

NEWEST = 3  # events of each user to learn from where there is no window


@dataclass(frozen=True, eq=False)
class Window:
    """What was known at an earlier moment, and what was wanted next."""

    log: Interactions
    end: int  # microseconds: the time of the newest event after the moment
    user_rows: NDArray[np.int32]  # (n,) who wanted something
    wanted: csr_array  # (n, n_items)
    newcomers: Histories  # (m, n_items) what those did next who had never come before; of more than one visit

    @property
    def cut(self) -> int:
        """The moment, in microseconds: the time of the newest event that was known."""
        return int(self.log.timestamps.max(initial=0))


def windows(log: Interactions, n_windows: int, horizon_days: float) -> Iterator[Window]:
    """Earlier moments of the log, the newest first, while at least a third of the events lie before."""
    if log.dated:
        ages = log.ages()
        horizon = min(horizon_days, float(ages.max(initial=0)) / 3)
        for number in range(n_windows):
            cut = horizon * (1 + number / 2)
            before = ages > cut
            if before.sum() * 3 < len(log):
                return
            yield _window(log, before, ~before & ((ages > cut - horizon) | (number == 0)))
    else:
        yield newest_events(log)


def newest_events(log: Interactions) -> Window:
    """Each user's newest events as a window, where no moment divides the log."""
    return _window(log, *_latest_out(log))


def _latest_out(log: Interactions) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """All but each user's newest events, at most NEWEST and no more than a fifth of the user's, and those."""
    counts = np.bincount(log.user_rows, minlength=len(log.users))
    order = np.lexsort((log.timestamps, log.user_rows))
    after = np.cumsum(counts)[log.user_rows[order]] - 1 - np.arange(len(order))  # events that follow of the same user
    held = np.where(counts >= 3, np.clip(counts // 5, 1, NEWEST), 0)
    newest = np.zeros(len(log), dtype=np.bool_)
    newest[order] = after < held[log.user_rows[order]]
    return ~newest, newest


def _window(log: Interactions, before: NDArray[np.bool_], after: NDArray[np.bool_]) -> Window:
    earlier = log.select(before)
    earlier = replace(earlier, available=_available(log, earlier))
    known = np.bincount(earlier.user_rows, minlength=len(log.users)) > 0
    wanted = log.select(after).matrix("binary")
    rows = np.flatnonzero(known & (np.diff(wanted.indptr) > 0)).astype(np.int32)
    new = log.select(after & ~known[log.user_rows]).histories()
    visits = np.zeros(len(new), dtype=np.int64)
    np.maximum.at(visits, new.rows, new.visits_ago + 1)
    end = int(log.timestamps[after].max(initial=0))
    return Window(earlier, end, rows, csr_array(wanted[rows]), new[np.flatnonzero(visits > 1)])


def _available(log: Interactions, earlier: Interactions) -> NDArray[np.bool_]:
    """What could be recommended at the end of an earlier part of a log: (n_items,).

    What was on sale then where the log offers items that nobody has bought and knows when they are sold; else what had
    been bought.
    """
    seen = np.bincount(earlier.item_columns, minlength=len(log.items)) > 0
    ever_seen = np.bincount(log.item_columns, minlength=len(log.items)) > 0
    if log.sale_periods is None or not (log.available & ~ever_seen).any():
        return seen
    return log.sale_periods.at(int(earlier.timestamps.max(initial=0))).items


def first_events(newcomers: Histories, n_events: int | None) -> tuple[Histories, csr_array]:
    """What is known of new buyers, (n, n_items), after so many events (None: their first visit), and what they wanted
    in later visits, (n, n_items). The cut never falls inside a visit: the rest of one that has begun is neither.
    """
    starts = newcomers.indptr[newcomers.rows]
    places = np.arange(len(newcomers.item_columns)) - starts
    times = newcomers.timestamps
    known = times == times[starts] if n_events is None else places < n_events
    last = np.full(len(newcomers), np.iinfo(np.int64).min)
    np.maximum.at(last, newcomers.rows[known], times[known])
    return newcomers.select(known), newcomers.select(times > last[newcomers.rows]).matrix
