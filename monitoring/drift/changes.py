"""The change of each window from the windows before it, and the error of that change by the sampling of users.

Input: the encoded log and its windows. Output: for each column and value the change and its size in standard errors.
A window is compared with the pooled REFERENCE windows that end GAP windows before it. The gap keeps a change that began
one or two windows ago out of the reference.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from monitoring.drift.columns import (
    ACTIVITY,
    ITEM_MIX,
    NEW_ITEMS,
    NEW_USERS,
    POPULARITY,
    VOLUMES,
    Codes,
    EncodedLog,
    Flags,
    Floats,
    Rows,
    popularity_places,
)
from monitoring.drift.windows import Window, newest_rows

REFERENCE = 8  # windows; fewer at the begin of the log
MIN_REFERENCE = 2
GAP = 2
FEW_EVENTS = 2.0  # of an item in the window: with so many expected, the change of its share counts half
MIN_VALUES = 100  # known values that a column needs in the window and in the reference
MIN_PAST = 6  # past changes that are needed to judge the newest one
HISTORY = MIN_REFERENCE + GAP + MIN_PAST + GAP + 1  # windows that are needed for a verdict
RECENT = 3  # the newest windows that are judged
YOUNG = 8  # windows: in so young a log, items and users are new to the log that are not new to the market


@dataclass(frozen=True, eq=False)
class Change:
    """The change of one column's values between a reference and a window; arrays (n_values,).

    before, now: shares of labels, means of numbers, orders or users per window of volumes. effect: the difference of
    shares; the difference of means in standard deviations, of the item mix as it is; the logarithm of the ratio of
    volumes. error: standard error of the effect, by users, because the events of one user are not independent.
    """

    before: Floats
    now: Floats
    effect: Floats
    error: Floats


@dataclass(frozen=True, eq=False)
class Comparison:
    """The events of a reference and a window: rows of the log, (n,), whether each is in the window, and its user.

    users: codes (n,) from 0 to n_users - 1. n_windows: of the reference. starts: of its windows and of the newest one.
    """

    rows: Rows
    is_now: Flags
    users: Rows
    n_users: int
    n_windows: int
    starts: Floats


def reference_windows(windows: Sequence[Window], index: int) -> Sequence[Window]:
    """The windows with which windows[index] is compared; empty if there are fewer than MIN_REFERENCE."""
    end = index - GAP
    return windows[max(0, end - REFERENCE) : end] if end >= MIN_REFERENCE else []


def compare(log: EncodedLog, reference: Sequence[Window], window: Window) -> Comparison:
    """The events of the reference and of the window as one."""
    before = newest_rows(reference)
    rows = np.concatenate([before, window.rows])
    ids, users = np.unique(log.users[rows], return_inverse=True)
    starts = np.array([each.start for each in [*reference, window]])
    return Comparison(rows, np.arange(rows.size) >= before.size, users, ids.size, len(reference), starts)


def changes(log: EncodedLog, windows: Sequence[Window], index: int) -> Mapping[str, Change]:
    """The change of each column of windows[index]; without the columns that have fewer than MIN_VALUES values.

    Numbers have two values, their mean and their mean distance from the median of the reference.
    """
    reference = reference_windows(windows, index)
    if not reference or not windows[index].rows.size:
        return {}
    pair = compare(log, reference, windows[index])
    found = {name: _label_change(pair, codes[pair.rows], len(log.names[name])) for name, codes in log.labels.items()}
    found[POPULARITY] = _number_change(pair, popularity(log, pair))
    found[ITEM_MIX] = _mean_change(pair, item_mix(log, pair)[:, None])
    known_from = windows[n_young(log, windows)].start
    is_known = log.seconds[pair.rows] > known_from
    for name in (NEW_ITEMS, NEW_USERS):
        codes = np.where(is_known, is_new(log, pair, name), -1)
        long_enough = np.sum(pair.starts[:-1] >= known_from) >= MIN_REFERENCE
        found[name] = _label_change(pair, codes, 2, first=1) if long_enough else None
    for name, values in log.numbers.items():
        found[name] = _number_change(pair, values[pair.rows])
    for name in VOLUMES:
        found[name] = _volume_change(pair, counts_in_volume(log, pair, name))
    return {name: change for name, change in found.items() if change is not None}


def popularity(log: EncodedLog, pair: Comparison) -> Floats:
    """Place of each event's item by popularity, (n,), learned from the reference events of the other half of users.

    Places that are learned from the tested events would show every item as less popular later.
    """
    items, half = log.items[pair.rows], log.user_half[pair.rows]
    places = np.empty(items.size)
    for side in (True, False):
        places[half == side] = popularity_places(items[half == side], items[(half != side) & ~pair.is_now])
    return places


def item_mix(log: EncodedLog, pair: Comparison) -> Floats:
    """How much the share of each event's item grew, (n,): (now - before) / (now + before), between -1 and 1.

    Learned from the events of the other half of users, because chance alone changes each share a little; nan for items
    without a reference event there: whether items are new is a column of its own. The mean over the window, less the
    mean over the reference, is an estimate of the triangular discrimination of the two distributions of items (Topsoe
    2000, Some inequalities for information divergence and related measures of discrimination): 0 if they are the same,
    2 if they have no item in common.
    """
    items, half = log.items[pair.rows], log.user_half[pair.rows]
    growth = np.empty(items.size)
    for side in (True, False):
        learned = half != side
        counts = [np.bincount(items[learned & of], minlength=items.max() + 1) for of in (~pair.is_now, pair.is_now)]
        is_known = counts[0] > 0
        before, now = (np.where(is_known, count, 0) / max(count[is_known].sum(), 1) for count in counts)
        both = np.where(is_known, before + now, 1.0)
        expected = both / 2 * counts[1].sum()
        found = np.where(is_known, (now - before) / both * expected / (expected + FEW_EVENTS), np.nan)
        growth[half == side] = found[items[half == side]]
    return growth


SCORES = {POPULARITY: popularity, ITEM_MIX: item_mix}  # numbers that are made for each comparison


def n_young(log: EncodedLog, windows: Sequence[Window]) -> int:
    """The number of windows that begin before the log is YOUNG windows old; they do not show what is new.

    In a short log it is smaller, so that the RECENT windows can still be judged.
    """
    starts = np.array([window.start for window in windows])
    begin = starts[0] if len(starts) < 2 else log.seconds.min() + YOUNG * np.diff(starts).min()
    return int(min(np.sum(starts < begin), max(len(windows) - HISTORY - RECENT + 1, 0)))


def is_new(log: EncodedLog, pair: Comparison, name: str) -> Flags:
    """(n,) whether the event's item or user had no event until GAP windows before the window of the event.

    So a new item counts as new in the window of its first event and in the next GAP windows.
    """
    step = float(np.diff(pair.starts).min())
    start = pair.starts[_window_of(log, pair)]
    return np.greater(log.first_seen[name][pair.rows], start - GAP * step)


def counts_in_volume(log: EncodedLog, pair: Comparison, name: str) -> Flags:
    """(n,) which events are counted: the first one of each order, or of each user in each window."""
    if name == ACTIVITY:
        return log.starts_order[pair.rows]
    is_first = np.zeros(pair.rows.size, np.bool_)
    of_window = pair.users * len(pair.starts) + _window_of(log, pair)
    is_first[np.unique(of_window, return_index=True)[1]] = True
    return is_first


def _window_of(log: EncodedLog, pair: Comparison) -> Rows:
    """(n,) the window of each event, as an index into pair.starts."""
    return np.searchsorted(pair.starts, log.seconds[pair.rows], side="left") - 1


def _label_change(pair: Comparison, codes: Codes, n_labels: int, first: int = 0) -> Change | None:
    """The change of the share of each label from `first` on."""
    known = codes >= 0
    sums = [
        np.bincount(pair.users[side] * n_labels + codes[side], minlength=pair.n_users * n_labels)
        .reshape(pair.n_users, n_labels)
        .astype(np.float64)
        for side in (known & ~pair.is_now, known & pair.is_now)
    ]
    counts = [of_user.sum(axis=1) for of_user in sums]
    if min(count.sum() for count in counts) < MIN_VALUES:
        return None
    (before, residual_before), (now, residual_now) = (
        ratio_by_user(of_user[:, first:], count) for of_user, count in zip(sums, counts, strict=True)
    )
    return Change(before, now, now - before, standard_error(residual_now - residual_before))


def _number_change(pair: Comparison, values: Floats) -> Change | None:
    """The change of the mean and of the mean distance from the reference's median."""
    known = ~np.isnan(values)
    sides = known & ~pair.is_now, known & pair.is_now
    if min(side.sum() for side in sides) < MIN_VALUES:
        return None
    distances = np.abs(values - np.median(values[sides[0]]))
    found = _mean_change(pair, np.stack([values, distances], axis=1))
    spread = max(float(values[sides[0]].std()), 1e-12)
    return found and Change(found.before, found.now, found.effect / spread, found.error / spread)


def _mean_change(pair: Comparison, values: Floats) -> Change | None:
    """The change of the means of values (n, n_values) whose rows are nan where they are unknown."""
    known = ~np.isnan(values[:, 0])
    sides = known & ~pair.is_now, known & pair.is_now
    if min(side.sum() for side in sides) < MIN_VALUES:
        return None
    (before, residual_before), (now, residual_now) = (
        ratio_by_user(
            np.stack([np.bincount(pair.users[side], of[side], pair.n_users) for of in values.T], axis=1),
            np.bincount(pair.users[side], minlength=pair.n_users).astype(np.float64),
        )
        for side in sides
    )
    return Change(before, now, now - before, standard_error(residual_now - residual_before))


def _volume_change(pair: Comparison, counted: Flags) -> Change | None:
    """The logarithm of the number of counted events relative to an average window of the reference."""
    before, now = (
        np.bincount(pair.users[counted & side], minlength=pair.n_users).astype(np.float64) / n_windows
        for side, n_windows in ((~pair.is_now, pair.n_windows), (pair.is_now, 1))
    )
    if not before.sum() or not now.sum():
        return None
    error = np.sqrt(np.sum((now / now.sum() - before / before.sum()) ** 2))
    both = before.sum(), now.sum(), np.log(now.sum() / before.sum()), error
    return Change(*(np.array([value]) for value in both))


def ratio_by_user(sums: Floats, counts: Floats) -> tuple[Floats, Floats]:
    """The ratio sum / count over all users, (n_values,), and the influence of each user on it, (n_users, n_values)."""
    total = counts.sum()
    ratio = sums.sum(axis=0) / total
    return ratio, (sums - ratio * counts[:, None]) / total


def standard_error(influence: Floats) -> Floats:
    """The standard error by the users' influences, (n_values,), as with a bootstrap of users (linearised)."""
    error: Floats = np.sqrt(np.sum(influence**2, axis=0))
    return error
