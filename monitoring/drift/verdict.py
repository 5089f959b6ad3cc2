"""The drift verdict: which columns changed more than they usually do. Pure functions.

A change counts if it is large against the changes of past windows and against the sampling error of users, and if it
is large enough to matter (the floors). Limits are Student's prediction limits of past changes. The alarm rate is
divided by the number of columns, and within a column by the number of its values (Bonferroni).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from monitoring.drift.changes import GAP, MIN_PAST, Change
from monitoring.drift.columns import ITEM_MIX, NUMBERS, VOLUMES, Floats

ALARM_RATE = 0.0125  # false alarms per window, over all columns
TINY = 1e-12
MAX_DEVIATIONS = 3.0  # a past change counts with at most so many median deviations: past drift must not hide the next
NORMAL_MAD = 0.6745  # median absolute deviation of a standard normal variable
# Smaller changes need no action. MIX_FLOOR: the item mix of the small markets of benchmarks/drift.py stays below it.
SHARE_FLOOR, MEAN_FLOOR, MIX_FLOOR, VOLUME_FLOOR = 0.04, 0.08, 0.08, float(np.log(1.15))


@dataclass(frozen=True)
class Deviation:
    """How unusual the newest change of one column is.

    value: index of the value that deviates most. score: its distance from the mean of past changes, in standard
    deviations of past changes or of the sampling of users, whichever is larger. limit: the score from which it counts.
    drifted: beyond limit and floor.
    """

    value: int
    score: float
    limit: float
    drifted: bool


def floor(column: str, n_values: int) -> Floats:
    """The least effects that matter, (n_values,)."""
    if column in VOLUMES:
        return np.full(n_values, VOLUME_FLOOR)
    if column == ITEM_MIX:
        return np.full(n_values, MIX_FLOOR)
    return np.full(n_values, MEAN_FLOOR if column in NUMBERS else SHARE_FLOOR)


def deviations(
    history: Sequence[Mapping[str, Change]], alarm_rate: float = ALARM_RATE, floors: bool = True
) -> dict[str, Deviation]:
    """column -> its deviation in the last window of the history; without columns that have too short a past.

    history: the changes of consecutive windows, oldest first. The last GAP windows before the newest one are no past:
    a change that began there must not raise the limit for itself.
    """
    *before, newest = history
    past = before[: len(before) - GAP]
    known = {name: [changes[name] for changes in past if name in changes] for name in newest}
    known = {
        name: [change for change in found if change.effect.size == newest[name].effect.size]
        for name, found in known.items()
    }
    tested = {name: found for name, found in known.items() if len(found) >= MIN_PAST}
    return {
        name: _deviation(found, newest[name], alarm_rate / len(tested), floor(name, newest[name].effect.size) * floors)
        for name, found in tested.items()
    }


def deviation(newest: Change, usual: Floats, spread: Floats, limit: float, floors: Floats) -> Deviation:
    """How far a change is from the usual one. usual, spread, floors: (n_values,), the least effects that matter."""
    size = np.abs(newest.effect - usual) / np.maximum(np.maximum(spread, newest.error), TINY)
    matters = np.minimum(np.abs(newest.effect), np.abs(newest.effect - usual)) >= floors
    value = int(np.where(matters, size, -1.0).argmax() if matters.any() else size.argmax())
    return Deviation(value, float(size[value]), limit, bool(matters[value] and size[value] > limit))


def _deviation(past: Sequence[Change], newest: Change, alarm_rate: float, floors: Floats) -> Deviation:
    usual, spread = usual_effect(np.array([change.effect for change in past]))
    limit = prediction_limit(len(past), alarm_rate / newest.effect.size / 2)  # a change up or down
    return deviation(newest, usual, spread, limit, floors)


def usual_effect(past: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation of past effects, (n_windows, n_values) -> (n_values,) each.

    Effects further than MAX_DEVIATIONS from the median are moved there: a large change counts, but only as far.
    """
    middle = np.median(past, axis=0)
    reach = MAX_DEVIATIONS * np.median(np.abs(past - middle), axis=0) / NORMAL_MAD
    clipped = np.clip(past, middle - reach, middle + reach)
    return clipped.mean(axis=0), clipped.std(axis=0, ddof=1)


def prediction_limit(n_past: int, alpha: float) -> float:
    """How many standard deviations of n_past values above their mean the next value lies with probability alpha
    (Student's prediction interval).
    """
    return float(student.ppf(1 - alpha, n_past - 1) * np.sqrt(1 + 1 / n_past))
