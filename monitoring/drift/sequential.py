"""Detects a fall of quality on fresh labels, window by window, with a controlled rate of false alarms.

Tastes can change while every input keeps its distribution; then only the quality of the lists shows it. A window is the
quality of each of its users, such as the hit rate of the user's lists. The values of one user are not independent, so a
user counts once in a window.

The test is an e-detector (Shin, Ramdas and Rinaldo 2023, E-detectors: a nonparametric framework for sequential change
detection): the largest evidence that the mean has been below `level` since any past window. It is summed over windows,
so a small fall is found too, only later. The evidence of a window is that of its mean, which is nearly normal with many
users; it is averaged over several sizes of the fall (Robbins 1970, Statistical methods related to the law of the
iterated logarithm). As long as the mean is not below the level, the mean number of windows until a false alarm is at
least 1 / alarm_rate. The level is set by the first windows of a version (baseline).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp
from scipy.stats import chi2, norm

Floats = NDArray[np.float64]

ALARM_RATE = 0.01  # false alarms per window
TOLERANCE = 0.05  # a fall by this part of the baseline needs no action
BASELINE_ERROR = 0.05  # probability that the baseline's true mean is below its lower bound
CHANCE = 0.01  # probability that windows without a difference of their own get one
MIN_USERS = 30  # a window with fewer users gives no evidence: its mean is not nearly normal
FALLS = np.geomspace(0.25, 4, 9)  # the sizes of a fall, in standard errors of a window


@dataclass(frozen=True)
class Baseline:
    """The quality of the first windows.

    level: the mean that is still good. spread: standard deviation between users. drift: standard deviation between
    windows that users do not explain.
    """

    level: float
    spread: float
    drift: float


@dataclass(frozen=True, eq=False)
class QualityTest:
    """evidence: (n_windows,) the evidence for a fall after each window, as logarithm to base 10; limit: the evidence
    from which it is an alarm.
    """

    baseline: Baseline
    evidence: Floats
    limit: float

    @property
    def alarms(self) -> NDArray[np.bool_]:
        """(n_windows,) whether the evidence reached the limit."""
        return self.evidence >= self.limit


def detect_fall(
    baseline: Sequence[Floats], windows: Sequence[Floats], alarm_rate: float = ALARM_RATE, tolerance: float = TOLERANCE
) -> QualityTest:
    """Tests each window after the baseline for a lower mean quality.

    baseline, windows: the values of one quality, one array (n_users,) per window, each value in [0, 1]; nan (undefined)
    is left out. Raises ValueError for a value outside [0, 1], or if the baseline has fewer than MIN_USERS values.
    """
    good = fit_baseline([_known(values) for values in baseline], tolerance)
    evidence, found = np.full(FALLS.size, -np.inf), []
    for values in windows:
        evidence = np.maximum(evidence, 0.0) + window_evidence(_known(values), good)
        found.append(float(logsumexp(evidence) - np.log(FALLS.size)))
    return QualityTest(good, np.array(found) / np.log(10), -float(np.log10(alarm_rate)))


def fit_baseline(windows: Sequence[Floats], tolerance: float = TOLERANCE) -> Baseline:
    """Level and spread of the first windows, each (n_users,) without nan.

    The level is the lower bound of the mean, less the tolerance.
    """
    windows = [window for window in windows if window.size]
    values = np.concatenate([np.empty(0), *windows])
    if values.size < MIN_USERS:
        raise ValueError(f"the baseline has {values.size} values; it needs {MIN_USERS}; add windows to it")
    rare = 1 / (values.size + 2)  # values that are all the same may differ in as many users by Laplace's rule
    spread, drift = max(float(values.std(ddof=1)), float(np.sqrt(rare * (1 - rare)))), 0.0
    if len(windows) > 2:
        means, df = np.array([window.mean() for window in windows]), len(windows) - 1
        expected = float(np.mean([spread**2 / window.size for window in windows]))
        found = float(means.var(ddof=1))
        if found * df > expected * chi2.ppf(1 - CHANCE, df):  # else the users explain how the windows differ
            drift = float(np.sqrt(found - expected))
    error = np.sqrt(spread**2 / values.size + drift**2 / len(windows))
    bound = float(values.mean() - norm.ppf(1 - BASELINE_ERROR) * error)
    return Baseline(max(bound * (1 - tolerance), 0.0), spread, drift)


def window_evidence(values: Floats, baseline: Baseline) -> Floats:
    """(n_falls,) logarithm of how much likelier the window's mean is after a fall of each size than at the level."""
    if values.size < MIN_USERS:
        return np.zeros(FALLS.size)
    spread = max(baseline.spread, float(values.std(ddof=1)))
    error = np.sqrt(spread**2 / values.size + baseline.drift**2)
    if not error:
        return np.zeros(FALLS.size)
    fall = (baseline.level - float(values.mean())) / error
    evidence: Floats = FALLS * fall - FALLS**2 / 2
    return evidence


def _known(values: Floats) -> Floats:
    known: Floats = np.asarray(values, np.float64)
    known = known[~np.isnan(known)]
    if known.size and not (known.min() >= 0 and known.max() <= 1):
        raise ValueError(f"a quality is in [0, 1]; got {known.min():g} to {known.max():g}; give one value per user")
    return known
