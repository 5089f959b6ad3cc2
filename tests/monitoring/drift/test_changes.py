"""The change of a window and its error: by hand, against a bootstrap of users, and with changes that are put in."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from monitoring.drift.changes import GAP, REFERENCE, Change, changes, compare, popularity, reference_windows
from monitoring.drift.columns import (
    ACTIVE_USERS,
    ACTIVITY,
    ITEM_MIX,
    NEW_ITEMS,
    NEW_USERS,
    POPULARITY,
    VOLUMES,
    EncodedLog,
)
from monitoring.drift.windows import DAY, WEEK, Window, aligned_windows

MakeLog = Callable[..., EncodedLog]


@pytest.fixture(scope="module")
def log(still_log: MakeLog) -> EncodedLog:
    return still_log(np.random.default_rng(0))


@pytest.fixture(scope="module")
def windows(log: EncodedLog) -> list[Window]:
    return aligned_windows(log.seconds, WEEK)


def newest(log: EncodedLog, windows: list[Window]) -> dict[str, Change]:
    return dict(changes(log, windows, len(windows) - 1))


def test_the_reference_ends_before_the_gap() -> None:
    windows = [Window(np.array([n]), n, n + 1) for n in range(20)]
    assert [window.start for window in reference_windows(windows, 19)] == [*range(19 - GAP - REFERENCE, 19 - GAP)]
    assert [window.start for window in reference_windows(windows, 5)] == [0, 1, 2]
    assert not reference_windows(windows, 3)


def test_the_changes_of_labels_numbers_and_activity_are_those_counted_by_hand(log, windows) -> None:
    found, last = newest(log, windows), windows[-1].rows
    before = np.concatenate([window.rows for window in windows[-1 - GAP - REFERENCE : -1 - GAP]])
    of_users = {"region", NEW_USERS, *VOLUMES}
    assert set(found) == {"category", "log_unit_price", "rating", POPULARITY, ITEM_MIX, NEW_ITEMS, *of_users}
    for side, rows in (("before", before), ("now", last)):
        shares = np.bincount(log.labels["category"][rows], minlength=8) / rows.size
        np.testing.assert_allclose(getattr(found["category"], side), shares)
        assert getattr(found["rating"], side)[0] == pytest.approx(log.numbers["rating"][rows].mean())
        distance = np.abs(log.numbers["rating"][rows] - np.median(log.numbers["rating"][before])).mean()
        assert getattr(found["rating"], side)[1] == pytest.approx(distance)
    spread = log.numbers["rating"][before].std()
    np.testing.assert_allclose(found["rating"].effect, (found["rating"].now - found["rating"].before) / spread)
    activity = found[ACTIVITY]
    assert activity.now[0] == np.unique(log.orders[last]).size
    assert activity.before[0] == pytest.approx(np.unique(log.orders[before]).size / REFERENCE)
    assert activity.effect[0] == pytest.approx(np.log(activity.now[0] / activity.before[0]))
    n_users = [np.unique(log.users[window.rows]).size for window in windows]
    active = found[ACTIVE_USERS]
    assert active.now[0] == n_users[-1]
    assert active.before[0] == pytest.approx(np.mean(n_users[-1 - GAP - REFERENCE : -1 - GAP]))
    assert active.effect[0] == pytest.approx(np.log(active.now[0] / active.before[0]))


def test_the_error_is_that_of_a_bootstrap_of_users(log, windows) -> None:
    """Users who like one category make the error of its share larger than that of as many independent events."""
    found, rng = newest(log, windows), np.random.default_rng(1)
    pair = compare(log, reference_windows(windows, len(windows) - 1), windows[-1])
    codes = log.labels["category"][pair.rows]
    sums = np.zeros((2, pair.n_users, 8))
    np.add.at(sums, (pair.is_now.astype(int), pair.users, codes), 1)
    effects = []
    for _ in range(2000):
        drawn = sums[:, rng.integers(pair.n_users, size=pair.n_users)].sum(axis=1)
        effects.append(np.subtract(*(drawn / drawn.sum(axis=1, keepdims=True))[::-1]))
    np.testing.assert_allclose(found["category"].error, np.std(effects, axis=0), rtol=0.1)
    share = found["category"].now
    assert np.all(found["category"].error > np.sqrt(share * (1 - share) / windows[-1].rows.size))


def test_an_event_that_is_counted_twice_for_each_user_changes_no_error(log, windows) -> None:
    """Twice the same rows are no more information: only users count."""
    doubled = [Window(np.repeat(window.rows, 2), window.start, window.end) for window in windows]
    once, twice = newest(log, windows)["region"], newest(log, doubled)["region"]
    np.testing.assert_allclose(twice.error, once.error)
    np.testing.assert_allclose(twice.effect, once.effect)


def test_the_change_of_the_item_mix_is_the_triangular_discrimination(still_log) -> None:
    """With many events. Without a change it is 0 on average, because it is learned from other users."""
    log = still_log(np.random.default_rng(0), n_windows=15, n_orders=2000)
    windows = aligned_windows(log.seconds, WEEK)
    assert newest(log, windows)[ITEM_MIX].effect[0] == pytest.approx(0, abs=0.002)
    turned = np.where(log.seconds > log.seconds.max() - WEEK, 299 - log.items, log.items)
    before = 1 / np.arange(1.0, 301) ** 0.9  # as the items are drawn
    before /= before.sum()
    now = before[::-1]
    expected = np.sum((now - before) ** 2 / (now + before))
    found = newest(replace(log, items=turned), windows)[ITEM_MIX].effect[0]
    assert 0.9 * expected < found < expected  # items with few events count less


def test_popularity_is_learned_from_other_users(log, windows) -> None:
    """Places that are learned from the tested events would be lower in the reference than in the window."""
    pair = compare(log, reference_windows(windows, len(windows) - 1), windows[-1])
    places, half = popularity(log, pair), log.user_half[pair.rows]
    sold = log.items[pair.rows]
    only = np.setdiff1d(sold[half & ~pair.is_now], sold[~half & ~pair.is_now])  # no other user bought them
    assert only.size
    assert np.isnan(places[half & np.isin(sold, only)]).all()
    effects = [changes(log, windows, index)[POPULARITY].effect[0] for index in range(GAP + REFERENCE, len(windows))]
    assert abs(np.mean(effects)) < 3 * np.std(effects) / np.sqrt(len(effects))


def test_new_items_and_users_count_as_new_for_as_long_as_the_gap(log, windows) -> None:
    """A tenth of the lines of the newest window is of an item that nobody bought before."""
    rows = windows[-1 - GAP].rows[::10]
    items = log.items.copy()
    items[rows] = items.max() + 1
    changed = replace(log, items=items)
    share = [changes(changed, windows, len(windows) - 1 - back)[NEW_ITEMS].now[0] for back in (GAP, GAP + 1)]
    assert share[0] == pytest.approx(changes(log, windows, len(windows) - 1 - GAP)[NEW_ITEMS].now[0] + 0.1, abs=0.01)
    assert share[1] < 0.05
    items[windows[-1].rows[::10]] = items.max()
    assert changes(replace(log, items=items), windows, len(windows) - 1)[NEW_ITEMS].now[0] > 0.1
    items[windows[-2 - GAP].rows[0]] = items.max()  # bought once before: no longer new
    assert changes(replace(log, items=items), windows, len(windows) - 1)[NEW_ITEMS].now[0] < 0.05


def test_columns_with_few_values_and_the_begin_of_a_log_have_no_change(log, windows) -> None:
    rating = log.numbers["rating"].copy()
    rating[windows[-1].rows[99:]] = np.nan
    assert "rating" not in newest(replace(log, numbers={"rating": rating}), windows)
    rating[windows[-1].rows[99]] = 1.0
    assert "rating" in newest(replace(log, numbers={"rating": rating}), windows)
    assert not changes(log, windows, GAP + 1)
    empty = Window(np.empty(0, np.int64), windows[-1].end, windows[-1].end + DAY)
    assert not changes(log, [*windows, empty], len(windows))
