"""Folds of a log for cross-validation: parts of the users, or windows of time. None has an event of the test window."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recommenders.datasets.spec import Protocol
from recommenders.errors import ConfigurationError, DataError
from recommenders.events.histories import DAY
from recommenders.events.interactions import Interactions
from recommenders.splitting.temporal import event_times, places_of_events, split

ACTIVITY_GROUPS = 4  # quartiles of the number of events


def before_test(interactions: pa.Table, protocol: Protocol) -> pa.Table:
    """The events before the test part. Raises DataError if the log cannot be split."""
    parts = split(interactions, protocol)
    return parts.filter(pc.field("part") != "test").drop_columns("part")


def user_folds(
    log: Interactions, n_folds: int, seed: int, groups: NDArray[np.generic] | None = None
) -> list[NDArray[np.int64]]:
    """The user rows of each fold, ascending. Each user with two events or more is in exactly one fold, drawn at random.

    groups: (n_users,) the group of each user; the numbers of users of a group in two folds differ by 1 at most. So do
    the sizes of the folds. Raises ConfigurationError for fewer than 2 folds, DataError for more folds than users.
    """
    _check_number(n_folds)
    users = np.flatnonzero(np.bincount(log.user_rows, minlength=len(log.users)) > 1)
    if n_folds > len(users):
        raise DataError(
            f"folds: got {n_folds}; allowed: at most {len(users)}, the number of users with two events or more before "
            "the test window, and at least 2; give fewer folds or bring a longer log"
        )
    users = np.random.default_rng(seed).permutation(users)
    if groups is not None:
        users = users[np.argsort(groups[users], kind="stable")]
    # the users of a group are neighbours, and neighbours go to different folds in turn
    return [np.sort(users[number::n_folds]) for number in range(n_folds)]


def activity_groups(log: Interactions) -> NDArray[np.int64]:
    """(n_users,) the quartile of each user's number of events among the users with two events or more, from 0."""
    counts = np.bincount(log.user_rows, minlength=len(log.users))
    if not (counts > 1).any():
        return np.zeros(len(counts), dtype=np.int64)
    edges = np.quantile(counts[counts > 1], np.arange(1, ACTIVITY_GROUPS) / ACTIVITY_GROUPS)
    return np.searchsorted(edges, counts).astype(np.int64)


def rolling_windows(
    interactions: pa.Table, protocol: Protocol, n_folds: int
) -> Iterator[tuple[str, pa.Table, pa.Table]]:
    """Yields the name of each window, the events before it, and its events; the oldest window first (rolling origin).

    time_cut: windows of test_days, each ending where the next begins; the newest ends where the test window begins.
    latest_out: the newest fold holds out the event before each user's test event, the others one event earlier each;
    the first event of a user is never held out. Raises ConfigurationError for fewer than 2 folds, DataError if the log
    is too short.
    """
    _check_number(n_folds)
    split(interactions, protocol)  # raises if there is no event before the test window
    windows = _time_windows if protocol.split == "time_cut" else _single_events
    for name, before, within in windows(interactions, protocol, n_folds):
        yield name, interactions.filter(pa.array(before)), interactions.filter(pa.array(within))


Windows = Iterator[tuple[str, NDArray[np.bool_], NDArray[np.bool_]]]  # name, events before, events within


def _time_windows(interactions: pa.Table, protocol: Protocol, n_folds: int) -> Windows:
    times, window = event_times(interactions), np.int64(protocol.test_days) * DAY
    cut = times.max() - window
    allowed = int((cut - times.min()) // window)
    if n_folds > allowed:
        raise DataError(
            f"folds: got {n_folds}; allowed: at most {allowed} windows of {protocol.test_days} days in the "
            f"{(cut - times.min()) / DAY:.1f} days of events before the test window, and at least 2; give fewer folds, "
            "lower test_days or bring a longer log"
        )
    for number in range(n_folds, 0, -1):
        begin = cut - number * window
        end = begin + window
        name = " to ".join(str(np.datetime64(int(time), "us").astype("datetime64[D]")) for time in (begin, end))
        yield name, times <= begin, (times > begin) & (times <= end)


def _single_events(interactions: pa.Table, protocol: Protocol, n_folds: int) -> Windows:
    before, after = places_of_events(interactions)
    allowed = int(after[before > 0].max(initial=0))
    if n_folds > allowed:
        raise DataError(
            f"folds: got {n_folds}; allowed: at most {allowed}, because no user has more events between the first one "
            "and the test event, and at least 2; give fewer folds or bring a longer log"
        )
    for number in range(n_folds, 0, -1):
        name = f"{number} before the test event"
        yield name, (after > number) | (before == 0), (after == number) & (before > 0)


def _check_number(n_folds: int) -> None:
    if n_folds < 2:
        raise ConfigurationError(f"folds: got {n_folds}; allowed: 2 or more; give the number of folds")
