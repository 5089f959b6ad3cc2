"""Alarms in windows without a change, and the delay of alarms after a change."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from measuring.drift.logs import Log, days_before
from measuring.drift.window_changes import Injection
from monitoring.drift.changes import HISTORY, RECENT, Change, changes
from monitoring.drift.columns import EncodedLog, encode
from monitoring.drift.feed.problems import find_feed_problems
from monitoring.drift.judgement import judge_history
from monitoring.drift.verdict import deviations
from monitoring.drift.windows import DAY, MAX_WINDOWS, Window, aligned_windows

FEED_WEEKS = 22  # of history; the feed checks use 20 past windows
LOG_WEEKS = MAX_WINDOWS + 2
FIRST = 20  # windows before the first one that is judged; an older log has no fewer
Alarms = list[list[str]]  # the columns that drifted, one list per window


def drift_alarms(log: Log, days: int, end: float, first: int = FIRST) -> Alarms:
    """The columns that drift in each window of the log, from window number `first` on, oldest first."""
    encoded = encode(log.events, log.events.slice(0, 0), log.items, log.users)
    windows = aligned_windows(log.seconds, days * DAY, end, most=10_000)
    history = [changes(encoded, windows, index) for index in range(len(windows))]
    return [
        sorted(name for name, found in deviations(history[max(0, last - MAX_WINDOWS) : last]).items() if found.drifted)
        for last in range(max(first, HISTORY), len(windows) + 1)
        if windows[last - 1].rows.size
    ]


def feed_alarms(log: Log, n_windows: int, end: float) -> Alarms:
    """The columns of a broken feed in each of the last n_windows weeks, oldest first."""
    found = []
    for week in reversed(range(n_windows)):
        stop = days_before(end, 7 * week)
        parts = (
            log.between(days_before(stop, 7 * FEED_WEEKS), days_before(stop, 7)),
            log.between(days_before(stop, 7), stop),
        )
        problems = find_feed_problems(*parts, log.items, log.users, days=7)
        found.append([problem.column for problem in problems])
    return found


def market_delays(log: Log, end: float, injections: Mapping[str, Injection], seed: int) -> dict[str, dict[str, Any]]:
    """name -> the first of RECENT weekly windows after the change with an alarm (None: none), and whether the alarm
    names the cause and the feed counts as broken.
    """
    start = days_before(end, 7 * RECENT)
    reference, newest = log.between(days_before(end, 7 * LOG_WEEKS), start), log.between(start, end)
    base = encode(reference, newest, log.items, log.users)
    windows = aligned_windows(base.seconds, 7 * DAY, end)
    history = [changes(base, windows, index) for index in range(len(windows) - RECENT)]
    return {
        name: _market_delay(log, (reference, newest), history, injection, end, seed)
        for name, injection in injections.items()
    }


def _market_delay(
    log: Log,
    parts: tuple[pa.Table, pa.Table],
    history: list[Mapping[str, Change]],
    injection: Injection,
    end: float,
    seed: int,
) -> dict[str, Any]:
    reference, newest = parts
    changed = injection.change(newest, reference, log.items, np.random.default_rng(seed))
    encoded = encode(reference, changed, log.items, log.users)
    windows = aligned_windows(encoded.seconds, 7 * DAY, end)
    history = [*history, *(changes(encoded, windows, index) for index in range(len(history), len(windows)))]
    for delay in range(1, RECENT + 1):
        last = len(windows) - RECENT + delay
        columns = judge_history(encoded, windows[:last], history[:last]).columns
        if columns and columns[0].drifted:
            named = columns[0].title == injection.column and injection.value in ("", columns[0].value)
            broken = _feed_is_broken(log, encoded, reference, changed, windows[last - 1])
            return {"delay": delay, "named": named and not broken, "by": columns[0].title}
    return {"delay": None, "named": False, "by": None}


def _feed_is_broken(log: Log, encoded: EncodedLog, reference: pa.Table, changed: pa.Table, window: Window) -> bool:
    table, seconds = pa.concat_tables([reference, changed]), encoded.seconds
    past = table.filter(pa.array((seconds > days_before(window.start, 7 * FEED_WEEKS)) & (seconds <= window.start)))
    now = table.filter(pa.array((seconds > window.start) & (seconds <= window.end)))
    return bool(find_feed_problems(past, now, log.items, log.users, days=7))


def fault_delays(log: Log, end: float, injections: Mapping[str, Injection], seed: int) -> dict[str, dict[str, Any]]:
    """The same for faults of the feed: the delay until the feed counts as broken, and whether the column is named."""
    start = days_before(end, 7 * RECENT)
    reference, newest = log.between(days_before(end, 7 * (FEED_WEEKS + RECENT)), start), log.between(start, end)
    found = {}
    for name, injection in injections.items():
        changed = injection.change(newest, reference, log.items, np.random.default_rng(seed))
        found[name] = _fault_delay(log, reference, changed, injection)
    return found


def _fault_delay(log: Log, reference: pa.Table, changed: pa.Table, injection: Injection) -> dict[str, Any]:
    table = pa.concat_tables([reference, changed])
    seconds = table["timestamp"].cast(pa.int64()).to_numpy() / 1e6
    last = seconds.max()
    for delay in range(1, RECENT + 1):
        stop = days_before(last, 7 * (RECENT - delay))
        is_past, is_now = seconds <= stop - 7 * DAY, (seconds > stop - 7 * DAY) & (seconds <= stop)
        parts = table.filter(pa.array(is_past)), table.filter(pa.array(is_now))
        columns = [problem.column for problem in find_feed_problems(*parts, log.items, log.users, days=7)]
        if columns:
            return {"delay": delay, "named": injection.column in columns, "by": ", ".join(columns)}
    return {"delay": None, "named": False, "by": None}
