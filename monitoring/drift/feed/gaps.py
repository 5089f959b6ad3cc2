"""Finds hours without events in which every earlier week had many: a missing day, or a category that is cut off."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pyarrow as pa

from monitoring.drift.changes import MIN_PAST
from monitoring.drift.feed.events import Events, Flags
from monitoring.drift.windows import DAY, Window

MIN_GAP = DAY / 2  # seconds
MIN_USERS = 10  # who bought in the same hours of each past window, so that no event is no chance
OPEN = 0.5  # of the usual users; with fewer, the shop was closed for a part of these hours
MOST_GAPS = 5  # the longest ones are examined


@dataclass(frozen=True)
class Gap:
    """Hours without events. usual_users, least_users: who bought in the same hours of past windows: mean, least."""

    column: str
    usual_users: float
    least_users: float
    text: str


def longest_gap(log: Events, newest: Window, past: Sequence[Window]) -> Gap | None:
    """The longest gap between any two events of the newest window, if all past windows have events there."""
    return _find_gap(log, newest, past, np.ones(log.seconds.size, np.bool_), "timestamp", "")


def category_gap(log: Events, items: pa.Table, newest: Window, past: Sequence[Window]) -> Gap | None:
    """The gap of a category of items; the one with the most users in past windows. items: every state."""
    codes, ids = log.factorized("item_id")
    category_of = pd.Series(items["category"].to_pylist(), items["item_id"].to_pylist()).dropna()
    category_of = category_of[~category_of.index.duplicated(keep="last")]
    categories = category_of.reindex(ids).to_numpy()[codes]
    gaps = [
        _find_gap(log, newest, past, categories == name, "category", f" of category {name!r}")
        for name in sorted(category_of.unique())
    ]
    found = [gap for gap in gaps if gap is not None]
    return max(found, key=lambda gap: gap.usual_users, default=None)


def _find_gap(
    log: Events, newest: Window, past: Sequence[Window], counted: Flags, column: str, of_what: str
) -> Gap | None:
    if len(past) < MIN_PAST:
        return None
    times = log.seconds[newest.rows][counted[newest.rows]]
    edges = np.concatenate([[newest.start], np.sort(times), [newest.end]])
    lengths = np.diff(edges)
    for place in np.argsort(-lengths, kind="stable")[:MOST_GAPS]:
        begin, end = edges[place], edges[place + 1]
        if end - begin < MIN_GAP:
            return None
        hours = begin - newest.start, end - newest.start
        users = [_count_users(log, window, counted, *hours) for window in past]
        n_empty = int(np.argmax([*map(bool, users), True]))
        if 0 < n_empty < len(users) / 2:  # it was cut off already, in the window before these
            users = users[n_empty + 1 :]
        if min(users) >= MIN_USERS and (counted.all() or _is_open(log, newest, past, *hours)):
            text = (
                f"no event{of_what} from {_show(begin)} to {_show(end)}; in the same hours of earlier weeks "
                f"{min(users)} users or more had one"
            )
            return Gap(column, float(np.mean(users)), float(min(users)), text)
    return None


def _is_open(log: Events, newest: Window, past: Sequence[Window], begin: float, end: float) -> bool:
    """Whether at least a share OPEN of the usual users had an event of any category in these hours."""
    everything = np.ones(log.seconds.size, np.bool_)
    usual = np.median([_count_users(log, window, everything, begin, end) for window in past])
    return bool(_count_users(log, newest, everything, begin, end) >= OPEN * usual)


def _count_users(log: Events, window: Window, counted: Flags, begin: float, end: float) -> int:
    """The number of users with a counted event between two times after the start of the window."""
    rows = window.rows[counted[window.rows]]
    times = log.seconds[rows] - window.start
    return int(np.unique(log.codes("user_id")[rows[(times > begin) & (times < end)]]).size)


def _show(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"
