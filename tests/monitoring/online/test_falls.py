"""A fall of the quality is put down to the release with which it came, or to the time in which the champion served."""

from datetime import UTC, date, datetime, timedelta

import numpy as np

from monitoring.online.daily import DailyValues
from monitoring.online.falls import AFTER_RELEASE, FIRST, QualityFall, fall_by_release, fall_while_serving

FIRST_DAY = 20_000
RELEASED = datetime.fromtimestamp((FIRST_DAY + 28) * 86_400, UTC) + timedelta(hours=9)
N_USERS = 400


def days(rates: list[float], version: int, begin: int, seed: int = 0) -> list[DailyValues]:
    """A week of lists for each hit rate; each user gets one list on one day of the week."""
    rng = np.random.default_rng(seed)
    found = []
    for week, rate in enumerate(rates):
        for day in range(7):
            ids = [f"u{user}" for user in range(day, N_USERS, 7)]
            values = (rng.random(len(ids)) < rate).astype(float)
            found.append(DailyValues(begin + 7 * week + day, version, True, ids, values))
    return found


def by_release(before: list[float], since: list[float]) -> QualityFall:
    known = days(before, 7, FIRST_DAY + 28 - 7 * len(before)) + days(since, 8, FIRST_DAY + 28, seed=1)
    return fall_by_release(known, 8, RELEASED, (7,))


def test_a_worse_version_is_found_in_its_first_window() -> None:
    found = by_release([0.4, 0.4, 0.4], [0.2])
    assert found.fell
    assert found.window_end == date.fromordinal(719_163 + FIRST_DAY + 34)
    assert "version 8 against the versions before it: the quality fell; mean 0." in found.reason
    assert not by_release([0.4, 0.4, 0.4], [0.4]).fell
    assert not by_release([0.2, 0.2, 0.2], [0.4]).fell


def test_the_lists_of_a_version_that_was_taken_back_are_no_baseline() -> None:
    """Version 7 mixed up its items for a week, and version 6 served again until the release of version 8."""
    known = [*days([0.4], 6, FIRST_DAY + 7), *days([0.0], 7, FIRST_DAY + 14), *days([0.4], 6, FIRST_DAY + 21)]
    known += days([0.2], 8, FIRST_DAY + 28, seed=1)
    assert fall_by_release(known, 8, RELEASED, earlier=(6,)).fell
    assert not fall_by_release(known, 8, RELEASED, earlier=(6, 7)).fell


def test_a_release_is_judged_in_its_first_windows_only() -> None:
    later = by_release([0.4] * 3, [0.4] * AFTER_RELEASE + [0.2])
    assert not later.fell
    assert "has served for more than" in later.reason
    assert fall_while_serving(days([0.4] * FIRST + [0.2], 8, FIRST_DAY + 28), 8, RELEASED).fell


def test_a_decay_is_found_against_the_own_first_windows() -> None:
    def decay(rates: list[float]) -> QualityFall:
        known = days([0.8], 7, FIRST_DAY + 21) + days(rates, 8, FIRST_DAY + 28, seed=2)
        return fall_while_serving(known, 8, RELEASED)

    assert decay([0.4, 0.4, 0.2]).fell
    assert not decay([0.4, 0.4, 0.4, 0.4]).fell  # the version before had better lists; that is the other test
    assert not decay([0.4, 0.4]).fell
    assert decay([0.4, 0.4]).window_end is None


def test_days_of_a_window_that_is_not_over_do_not_count() -> None:
    known = days([0.4] * 3, 7, FIRST_DAY + 7) + days([0.0], 8, FIRST_DAY + 28)[:6]
    assert fall_by_release(known, 8, RELEASED, (7,)).window_end is None


def test_too_few_users_are_no_evidence() -> None:
    few = [DailyValues(FIRST_DAY + day, 7, True, ["u1"], np.ones(1)) for day in range(28)]
    found = fall_by_release(few + days([0.0], 8, FIRST_DAY + 28), 8, RELEASED, (7,))
    assert (found.fell, found.window_end) == (False, None)
    assert "not tested; 1 mature windows, 4 users of 30 before them" in found.reason


def test_a_user_counts_once_in_a_window() -> None:
    same = [
        DailyValues(FIRST_DAY + day, 8, True, [f"u{n}" for n in range(40)], np.full(40, day % 2)) for day in range(28)
    ]
    found = fall_while_serving(same, 8, datetime.fromtimestamp(FIRST_DAY * 86_400, UTC))
    assert found.mean is not None
    assert 0.4 < found.mean < 0.6
    assert not found.fell
