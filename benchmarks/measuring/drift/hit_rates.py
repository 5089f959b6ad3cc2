"""Simulated hit rates of users, to measure the sequential test of quality."""

import numpy as np

from monitoring.drift.sequential import Floats, detect_fall

USERS = (300, 1_000, 2_500)
N_LISTS = 5_000  # in a window
HIT_RATE, FALLEN = 0.10, 0.07
N_BASELINE, N_STILL, N_FALLEN = 6, 26, 12  # windows
CONCENTRATION = 12.0  # of the Beta distribution of the users' hit rates: a standard deviation of 0.08


def false_alarms(n_users: int, n_series: int) -> list[bool]:
    """Whether each window of each series without a change is an alarm."""
    found = []
    for seed in range(n_series):
        windows = _windows(np.random.default_rng([seed, n_users]), n_users, [HIT_RATE] * (N_BASELINE + N_STILL))
        found += detect_fall(windows[:N_BASELINE], windows[N_BASELINE:]).alarms.tolist()
    return found


def delays(n_users: int, n_series: int) -> list[int]:
    """The windows from the fall to the alarm (1: the first), N_FALLEN + 1 if there is none."""
    found = []
    for seed in range(n_series):
        rates = [HIT_RATE] * N_BASELINE + [FALLEN] * N_FALLEN
        windows = _windows(np.random.default_rng([seed, n_users, 1]), n_users, rates)
        alarms = np.flatnonzero(detect_fall(windows[:N_BASELINE], windows[N_BASELINE:]).alarms)
        found.append(int(alarms[0]) + 1 if alarms.size else N_FALLEN + 1)
    return found


def _windows(rng: np.random.Generator, n_users: int, rates: list[float]) -> list[Floats]:
    """The hit rate of each user in each window. A user keeps the own rate; it has lists in six of ten windows."""
    mean = CONCENTRATION * HIT_RATE
    of_user = rng.beta(mean, CONCENTRATION - mean, n_users)
    windows = []
    for rate in rates:
        n_lists = rng.poisson(N_LISTS / n_users / 0.6, n_users) * (rng.random(n_users) < 0.6)
        hits = rng.binomial(n_lists, of_user * rate / HIT_RATE)
        windows.append(hits[n_lists > 0] / n_lists[n_lists > 0])
    return windows
