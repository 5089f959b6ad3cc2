"""Folds: each user is held out once, windows do not overlap, and the test window is in no fold."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommenders.datasets.spec import Protocol
from recommenders.errors import ConfigurationError, DataError
from recommenders.events.interactions import Interactions
from recommenders.splitting.folds import activity_groups, before_test, rolling_windows, user_folds
from recommenders.splitting.temporal import split
from recommenders.storage import schema

START = datetime(2026, 1, 1, tzinfo=UTC)
LATEST_OUT = Protocol(split="latest_out", repeat=False)


def events(users: list[int], days: list[float]) -> pa.Table:
    """One purchase per user number and day; each event has an item of its own."""
    table = {
        "user_id": [f"u{user}" for user in users],
        "item_id": [f"i{place:03}" for place in range(len(users))],
        "timestamp": [START + timedelta(days=day) for day in days],
        "event": ["purchase"] * len(users),
        "weight": [1.0] * len(users),
    }
    return schema.conform(pa.table(table), schema.INTERACTIONS, "events")


def log_of_counts(counts: list[int]) -> Interactions:
    """A log in which user i has counts[i] events."""
    users = [user for user, n in enumerate(counts) for _ in range(n)]
    return Interactions.from_table(events(users, [float(place) for place in range(len(users))]))


def ids(table: pa.Table) -> set[str]:
    """The items, which name the events."""
    return set(table["item_id"].to_pylist())


@given(
    counts=st.lists(st.integers(1, 4), min_size=6, max_size=30),
    n_folds=st.integers(2, 4),
    n_groups=st.integers(1, 5),
    seed=st.integers(0, 9),
)
def test_each_user_with_two_events_is_held_out_once_and_groups_are_balanced(
    counts: list[int], n_folds: int, n_groups: int, seed: int
) -> None:
    log = log_of_counts([2, 2, 2, 2, *counts])
    n_events = np.bincount(log.user_rows)
    groups = np.random.default_rng(seed).integers(n_groups, size=len(log.users))
    for given_groups in (None, groups):
        folds = user_folds(log, n_folds, seed, given_groups)
        assert sorted(np.concatenate(folds).tolist()) == np.flatnonzero(n_events > 1).tolist()
        assert all((np.diff(rows) > 0).all() for rows in folds)
        sizes = [len(rows) for rows in folds]
        assert len(folds) == n_folds
        assert max(sizes) - min(sizes) <= 1
    by_group = np.array([np.bincount(groups[rows], minlength=n_groups) for rows in folds])
    assert (by_group.max(axis=0) - by_group.min(axis=0)).max() <= 1


def test_the_folds_depend_on_the_seed_only() -> None:
    log = log_of_counts([3] * 20)
    first, same, other = ([rows.tolist() for rows in user_folds(log, 4, seed)] for seed in (1, 1, 2))
    assert first == same
    assert first != other


def test_users_are_grouped_by_the_quartile_of_their_number_of_events() -> None:
    log = log_of_counts([1, 2, 2, 3, 3, 5, 5, 9, 9])
    assert activity_groups(log).tolist() == [0, 0, 0, 1, 1, 2, 2, 3, 3]
    assert activity_groups(log_of_counts([1, 1])).tolist() == [0, 0]


@given(
    days=st.lists(st.floats(0, 60), min_size=5, max_size=40),
    test_days=st.integers(2, 8),
    n_folds=st.integers(2, 5),
)
def test_windows_follow_each_other_and_end_at_the_test_window(days: list[float], test_days: int, n_folds: int) -> None:
    table, protocol = (
        events([place % 3 for place in range(len(days) + 2)], [0.0, 60.0, *days]),
        Protocol(split="time_cut", test_days=test_days),
    )
    cut = START + timedelta(days=60 - test_days)
    window = timedelta(days=test_days)
    found = list(rolling_windows(table, protocol, n_folds))
    assert len(found) == n_folds
    for place, (name, before, within) in enumerate(found):
        begin = cut - (n_folds - place) * window
        times = table["timestamp"]
        assert ids(before) == ids(table.filter(pc.less_equal(times, begin)))
        assert ids(within) == ids(table.filter(pc.and_(pc.greater(times, begin), pc.less_equal(times, begin + window))))
        assert name == f"{begin:%Y-%m-%d} to {begin + window:%Y-%m-%d}"
    parts = split(table, protocol)
    assert ids(found[-1][1]) == ids(parts.filter(pc.field("part") == "train"))
    assert ids(found[-1][2]) == ids(parts.filter(pc.field("part") == "validation"))


@given(counts=st.lists(st.integers(1, 7), min_size=2, max_size=8), n_folds=st.integers(2, 4))
def test_of_a_user_one_event_is_held_out_per_fold_and_no_later_one_is_training(counts: list[int], n_folds: int) -> None:
    counts = [6, *counts]
    table = events([u for u, n in enumerate(counts) for _ in range(n)], [float(i) for n in counts for i in range(n)])
    test = ids(split(table, LATEST_OUT).filter(pc.field("part") == "test"))
    held_out: list[str] = []
    for place, (name, before, within) in enumerate(rolling_windows(table, LATEST_OUT, n_folds)):
        number = n_folds - place
        assert name == f"{number} before the test event"
        assert not (ids(before) | ids(within)) & test
        for user, n in enumerate(counts):
            own = pc.field("user_id") == f"u{user}"
            assert before.filter(own).num_rows == max(1, n - 1 - number)
            assert within.filter(own).num_rows == (n >= number + 2)
            times = before.filter(own)["timestamp"], within.filter(own)["timestamp"]
            assert not len(times[1]) or pc.max(times[0]).as_py() < pc.min(times[1]).as_py()
        held_out += ids(within)
    assert len(held_out) == len(set(held_out))
    validation = split(table, LATEST_OUT).filter(pc.field("part") == "validation")
    assert ids(within) == ids(validation)


def test_before_test_is_the_log_without_its_test_part() -> None:
    table = events([0, 1, 0, 1], [0.0, 1.0, 2.0, 30.0])
    found = before_test(table, Protocol(split="time_cut", test_days=10))
    assert found.schema == table.schema
    assert ids(found) == {"i000", "i001", "i002"}


@pytest.mark.parametrize(
    ("n_folds", "protocol", "error", "message"),
    [
        (1, Protocol(split="time_cut", test_days=10), ConfigurationError, "folds: got 1; allowed: 2 or more"),
        (4, Protocol(split="time_cut", test_days=10), DataError, r"at most 3 windows of 10 days in the 30\.0 days"),
        (1, LATEST_OUT, ConfigurationError, "folds: got 1; allowed: 2 or more"),
        (4, LATEST_OUT, DataError, "folds: got 4; allowed: at most 3, because no user has more events"),
    ],
)
def test_too_few_or_too_many_windows_are_errors(n_folds: int, protocol: Protocol, error: Any, message: str) -> None:
    table = events([0, 0, 0, 0, 0, 1], [0.0, 10.0, 20.0, 30.0, 40.0, 5.0])
    with pytest.raises(error, match=message):
        next(rolling_windows(table, protocol, n_folds))
    assert next(rolling_windows(table, protocol, 3))[1].num_rows


def test_too_few_or_too_many_parts_of_the_users_are_errors() -> None:
    log = log_of_counts([2, 2, 1])
    with pytest.raises(ConfigurationError, match="folds: got 1; allowed: 2 or more"):
        user_folds(log, 1, 0)
    with pytest.raises(DataError, match="folds: got 3; allowed: at most 2, the number of users with two events"):
        user_folds(log, 3, 0)
    assert [len(rows) for rows in user_folds(log, 2, 0)] == [1, 1]
