"""Who or what makes a change: the share of each segment, region or category in the change of a column."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from monitoring.drift.changes import (
    SCORES,
    Change,
    Comparison,
    compare,
    counts_in_volume,
    is_new,
    reference_windows,
)
from monitoring.drift.columns import NEW_ITEMS, NEW_USERS, VOLUMES, Codes, EncodedLog, Floats
from monitoring.drift.windows import Window

LEAST_SHARE = 0.3  # a smaller share in the change is not reported,
LEAST_RATIO = 2.0  # nor one that is less than so many times the share of the events (or, of most events, near it)


@dataclass(frozen=True)
class Part:
    """The events with one value of another column, such as the category 'office'.

    share: of the change in the same direction, in (0, 1]. of_events: share of these events in the reference and window.
    """

    column: str
    value: str
    share: float
    of_events: float

    def __str__(self) -> str:
        return f"{self.column} {self.value!r} makes {self.share:.0%} of it ({self.of_events:.0%} of the events)"


def parts(
    log: EncodedLog, windows: Sequence[Window], index: int, column: str, value: int, change: Change
) -> tuple[Part, ...]:
    """The values of other columns that make most of the change in windows[index], largest share first.

    column, value: what changed. At most one value of each column. Orders and users have no single category.
    """
    pair = compare(log, reference_windows(windows, index), windows[index])
    contributions = event_contributions(log, pair, column, value, change)
    found = [
        _largest_part(name, codes[pair.rows], log.names[name], contributions, float(change.effect[value]))
        for name, codes in log.labels.items()
        if name != column and not (name == "category" and column in (*VOLUMES, NEW_USERS))
    ]
    return tuple(sorted((part for part in found if part), key=lambda part: -part.share))


def own_share(change: Change, value: int) -> float:
    """The share of one label in all shares that moved in the same direction, in (0, 1]."""
    same_direction = change.effect * np.sign(change.effect[value])
    return float(same_direction[value] / same_direction[same_direction > 0].sum())


def event_contributions(log: EncodedLog, pair: Comparison, column: str, value: int, change: Change) -> Floats:
    """(n,) what each event adds to the difference between window and reference; their sum is the difference.

    The difference of shares or means; of volumes the difference of orders or users per window.
    """
    if column in VOLUMES:
        weights = counts_in_volume(log, pair, column).astype(np.float64)
        return np.where(pair.is_now, weights, -weights / pair.n_windows)
    if column in log.labels:
        codes = log.labels[column][pair.rows]
        values = np.where(codes < 0, np.nan, codes == value)
    elif column in (NEW_ITEMS, NEW_USERS):
        values = is_new(log, pair, column).astype(np.float64)
    else:
        values = SCORES[column](log, pair) if column in SCORES else log.numbers[column][pair.rows]
        if value == 1:  # the mean distance from the median
            values = np.abs(values - np.nanmedian(values[~pair.is_now]))
    known = ~np.isnan(values)
    totals = np.where(pair.is_now, (known & pair.is_now).sum(), -(known & ~pair.is_now).sum())
    contributions: Floats = np.where(known, values - change.before[value], 0.0) / totals
    return contributions


def _largest_part(name: str, codes: Codes, names: Sequence[str], contributions: Floats, effect: float) -> Part | None:
    known = codes >= 0
    if not known.any():
        return None
    sums = np.bincount(codes[known], contributions[known], len(names)) * np.sign(effect)
    largest = int(sums.argmax())
    share = sums[largest] / sums[sums > 0].sum() if sums[largest] > 0 else 0.0
    of_events = float(np.mean(codes[known] == largest))
    if share < max(LEAST_SHARE, min(LEAST_RATIO * of_events, (1 + of_events) / 2)):
        return None
    return Part(name, names[largest], float(share), of_events)
