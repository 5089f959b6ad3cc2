"""Training windows of a log: their cut times, their users, and the items available at that time."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from recommenders.events.histories import DAY, Histories
from recommenders.events.ids import IdMap
from recommenders.events.interactions import Interactions
from recommenders.events.sale_periods import SalePeriods
from recommenders.splitting.windows import Window, first_events, new_users, newest_events, time_windows, windows

Log = Callable[[dict[int, list[float]]], Interactions]


@pytest.fixture
def bought(toy_events: Any) -> Log:
    """A log from user -> days; the n-th event of a user is of item n."""

    def made(days: dict[int, list[float]]) -> Interactions:
        pairs = [(user, item) for user, own in days.items() for item in range(len(own))]
        return Interactions.from_table(toy_events(pairs, [day for own in days.values() for day in own]))

    return made


def days_of(log: Interactions, times: Any) -> Any:
    """Days since the log began."""
    return np.round((np.asarray(times) - log.timestamps.min()) / DAY, 3)


def span(log: Interactions, window: Window) -> tuple[float, int, float]:
    """The day of the newest known event, how many events are known, and the day on which the window ends."""
    return float(days_of(log, window.cut)), len(window.log), float(days_of(log, window.end))


def test_windows_one_step_apart_divide_the_newest_events(bought: Log) -> None:
    log = bought({0: [0, 5, 9.5, 10, 19, 20, 29, 30]})
    found = [
        (days_of(log, log.timestamps[before]), days_of(log, log.timestamps[within]))
        for before, within in time_windows(log, 3, 10.0, step=10.0)
    ]
    assert [within.tolist() for _, within in found] == [[20, 29], [10, 19], [0, 5, 9.5]]
    assert [before.tolist() for before, _ in found] == [[0, 5, 9.5, 10, 19], [0, 5, 9.5], []]


def test_windows_begin_half_a_horizon_apart_and_have_the_length_of_one(bought: Log) -> None:
    log = bought({0: [*range(60)]})
    # up to day 59: a window of 12 days begins after day 46, the others six days earlier each
    assert [span(log, window) for window in windows(log, 3, 12.0)] == [(46, 47, 59), (40, 41, 52), (34, 35, 46)]
    assert [window.targets.nnz for window in windows(log, 3, 12.0)] == [
        13,
        12,
        12,
    ]  # the first window has the newest event


def test_there_is_no_window_with_less_than_a_third_of_the_events_before_it(bought: Log) -> None:
    log = bought({0: [*range(60)]})
    assert [len(window.log) for window in windows(log, 9, 13.0)] == [46, 40, 33, 27, 20]
    assert [len(window.log) for window in windows(log, 9, 13.5)] == [46, 39, 32, 26]  # the next would leave 19
    # no window is longer than a third of the log
    assert [len(window.log) for window in windows(log, 1, 100.0)] == [40]
    hours = bought({0: [hour / 24 for hour in range(13)]})
    assert [len(window.log) for window in windows(hours, 1, 100.0)] == [8]


def test_the_newest_events_are_a_fifth_of_each_users_at_least_one_at_most_three(bought: Log) -> None:
    counts = {0: 2, 1: 3, 2: 4, 3: 9, 4: 10, 5: 14, 6: 15, 7: 24, 8: 25}
    log = bought({user: [float(user + item) for item in range(n)] for user, n in counts.items()})
    window = newest_events(log)
    n_newest = dict(zip(window.user_rows.tolist(), np.diff(window.targets.indptr).tolist(), strict=True))
    assert n_newest == {1: 1, 2: 1, 3: 1, 4: 2, 5: 2, 6: 3, 7: 3, 8: 3}
    for place, user in enumerate(window.user_rows.tolist()):
        assert window.targets[[place]].indices.tolist() == [*range(counts[user] - n_newest[user], counts[user])]
    assert len(window.log) == sum(counts.values()) - sum(n_newest.values())


def test_known_users_have_targets_and_new_users_have_two_visits(bought: Log) -> None:
    log = bought(
        {
            0: [0, 55],  # known by one event
            1: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],  # known, and never seen again
            2: [56, 57],  # two visits
            3: [56, 56],  # one visit of two items
            4: [56],
            5: [55, 57, 59],  # three visits
        }
    )
    (window,) = windows(log, 1, 12.0)
    assert window.user_rows.tolist() == [0]
    assert window.targets.toarray().tolist() == [[0, 1] + [0] * 8]
    assert window.new_users.counts.tolist() == [2, 3]
    assert days_of(log, window.new_users.timestamps).tolist() == [56, 57, 55, 57, 59]


@pytest.mark.parametrize("step", [1.0, 1 / 128])  # days from one event to the next
@pytest.mark.parametrize("horizon", [5.0, 29.5, 100.0])  # in steps; no window is longer than a third of the log
def test_new_users_are_those_whose_first_event_is_in_a_window(toy_events: Any, horizon: float, step: float) -> None:
    rng, n = np.random.default_rng(0), 90
    users, items = rng.integers(40, size=n).tolist(), rng.integers(25, size=n).tolist()
    days = [step * place for place in range(n)]
    log = Interactions.from_table(toy_events(list(zip(users, items, strict=True)), days))
    found, expected = [], []
    for window in new_users(log, 17, horizon * step):
        bought = (log.items.ids[window.targets[[place]].indices].tolist() for place in range(len(window.user_rows)))
        new = dict(zip(log.users.ids[window.user_rows].tolist(), map(set, bought), strict=True))
        found.append((len(window.log), new))
    length = min(horizon, (n - 1) / 3)
    for number in range(17):
        begin, end = (int(np.ceil(n - 1 - length * windows_later)) for windows_later in (number + 1, number))
        if 3 * begin < n:
            break
        new = {}
        for place in range(begin, end if number else n):  # the newest window has the newest event
            if users[place] not in users[:begin] and items[place] in items[:begin]:
                new.setdefault(f"u{users[place]:02}", set()).add(f"i{items[place]:02}")
        if new:
            expected.append((begin, new))
    assert found == expected
    assert sum(len(new) for _, new in found) > 5
    assert not list(new_users(replace(log, dated=False), 17, horizon))


def test_available_items_are_those_bought_before_or_those_on_sale() -> None:
    """Item 0 was bought once before the window, item 1 once within it, item 2 never; item 3 once; its sale ended."""
    events = Interactions(
        IdMap.from_ids(["u"]),
        IdMap.from_ids(["i0", "i1", "i2", "i3"]),
        np.zeros(3, np.int32),
        np.array([3, 0, 1], np.int32),
        np.array([4, 5, 55], np.int64) * DAY,
        *(np.ones(3, np.float32) for _ in range(2)),
        available=np.array([True, True, True, False]),
        repeat=True,
        dated=True,
        horizon_days=12.0,
    )
    always, never = np.iinfo(np.int64).min, np.iinfo(np.int64).max
    ends = np.array([never, never, never, 5 * DAY])
    on_sale = SalePeriods(np.array([always, always, 60 * DAY, always]), ends)

    def available(log: Interactions) -> list[bool]:
        (window,) = windows(log, 1, 12.0)
        return list(window.log.available)

    assert available(events) == [True, False, False, True]
    assert available(replace(events, sale_periods=on_sale)) == [True, True, False, False]
    # if all items on sale have been bought, sale periods are not used
    known = replace(events, sale_periods=on_sale, available=np.array([True, True, False, False]))
    assert available(known) == [True, False, False, True]


def test_each_new_user_is_known_by_its_own_first_events() -> None:
    came = Histories(
        np.array([0, 3, 5, 9]),
        np.array([1, 2, 3, 0, 4, 5, 1, 2, 3], np.int32),
        np.array([1, 2, 3, 1, 2, 4, 5, 6, 7], np.int64),
        np.ones(9, np.float32),
        6,
    )
    for n_events in (1, 2):
        known, targets = first_events(came, n_events)
        own = [came[[row]].item_columns.tolist() for row in range(3)]
        assert [known[[row]].item_columns.tolist() for row in range(3)] == [items[:n_events] for items in own]
        assert [sorted(targets[[row]].indices.tolist()) for row in range(3)] == [sorted(o[n_events:]) for o in own]
