"""Windows of whole weeks, counted by hand."""

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.drift.changes import HISTORY
from monitoring.drift.judgement import window_days
from monitoring.drift.windows import DAY, WEEK, aligned_windows, newest_rows


def test_windows_begin_whole_weeks_earlier_and_the_oldest_comes_first() -> None:
    seconds = np.arange(30) * DAY
    windows = aligned_windows(seconds, 2 * DAY)
    assert [window.rows.tolist() for window in windows] == [[7, 8], [14, 15], [21, 22], [28, 29]]
    assert [(window.start, window.end) for window in windows][-1] == (27 * DAY, 29 * DAY)
    assert newest_rows(windows[:2]).tolist() == [7, 8, 14, 15]
    assert [window.rows.tolist() for window in aligned_windows(seconds, 2 * DAY, most=2)] == [[21, 22], [28, 29]]
    # nine days need two weeks; the one of days 1 to 9 is not wholly within the log
    assert [window.rows.size for window in aligned_windows(seconds, 9 * DAY)] == [9, 9]
    assert len(aligned_windows(seconds[:3], WEEK)) == 1
    ending = aligned_windows(seconds, 2 * DAY, end=20 * DAY)
    assert [window.rows.tolist() for window in ending] == [[5, 6], [12, 13], [19, 20]]


@given(st.lists(st.floats(0, 40), min_size=2, max_size=60), st.integers(1, 20))
def test_windows_are_disjoint_and_agree_in_weekday(days: list[float], length: int) -> None:
    seconds = np.array(days) * DAY
    windows = aligned_windows(seconds, length * DAY)
    rows = newest_rows(windows)
    assert np.unique(rows).size == rows.size
    starts = np.array([window.start for window in windows])
    np.testing.assert_allclose(np.diff(starts) % WEEK, 0, atol=1e-3)
    for window in windows:
        inside = (seconds > window.start) & (seconds <= window.end)
        assert set(window.rows.tolist()) >= set(np.flatnonzero(inside & (seconds > window.start + 1e-3)).tolist())
        assert np.all(seconds[window.rows] <= window.end)


def test_weekdays_of_a_window_are_those_of_past_windows() -> None:
    """Events on weekdays only: a window that ends on a Monday evening is never compared with a weekend."""
    start = datetime(2026, 1, 5, tzinfo=UTC).timestamp()  # a Monday
    seconds = start + np.array([day for day in range(99) if day % 7 < 5]) * DAY + DAY / 2
    assert {window.rows.size for window in aligned_windows(seconds, DAY)} == {1}


@pytest.mark.parametrize(
    ("a_week", "weeks", "days"), [(2000, 60, 7), (1000, 60, 7), (999, 60, 14), (300, 60, 28), (300, 20, 7), (2, 60, 28)]
)
def test_a_window_has_enough_events_and_the_log_enough_windows(a_week: int, weeks: int, days: int) -> None:
    seconds = np.linspace(0, weeks * WEEK, a_week * weeks, endpoint=False)
    assert window_days(seconds) == days
    assert len(aligned_windows(seconds, days * DAY)) >= HISTORY
    assert window_days(np.empty(0)) == 7
