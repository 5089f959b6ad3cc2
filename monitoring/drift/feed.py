"""Detects a broken feed: missing values, unknown ids, constant values, dates without a time of day, duplicate rows.

Input: reference and current events; output: the problems found. A market changes the shares that feed_checks.py
measures slowly; a broken export changes them suddenly and by a large amount.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from monitoring.drift.events import Events, Window
from monitoring.drift.feed_checks import FeedCheck, build_checks

ALARM_RATE = 0.01  # false alarms per window, over all checks; the margins of the checks lower it further


@dataclass(frozen=True)
class FeedProblem:
    """One column of a broken feed.

    before, now: share of events, mean of past windows and newest window. limit: the share that `now` has crossed.
    text: the same as a sentence, with one example.
    """

    column: str
    before: float
    now: float
    limit: float
    text: str


def find_feed_problems(
    reference: pa.Table,
    current: pa.Table,
    items: pa.Table,
    users: pa.Table | None = None,
    earlier_items: pa.Table | None = None,
) -> tuple[FeedProblem, ...]:
    """The problems of the newest events (current), at most one per column.

    reference, current: schema INTERACTIONS. items: schema ITEMS, every state. earlier_items: the catalogue as it was
    read before, with the values of a column that is empty in `items` now; by default `items`. Without a past window to
    compare with, there are no problems.
    """
    if not reference.num_rows or not current.num_rows:
        return ()
    log = Events(reference, current)
    checks = build_checks(log, items, users, items if earlier_items is None else earlier_items)
    newest, past = log.windows()
    problems: dict[str, FeedProblem] = {}
    for check in checks:
        if check.column not in problems and (problem := _run_check(check, newest, past, ALARM_RATE / len(checks))):
            problems[check.column] = problem
    return tuple(problems.values())


def describe(problems: Sequence[FeedProblem], most: int = 4) -> str:
    """The problems in one sentence, "" if there are none."""
    rest = f"; and {len(problems) - most} more" if len(problems) > most else ""
    return "; ".join(problem.text for problem in problems[:most]) + rest


def _run_check(check: FeedCheck, newest: Window, past: Sequence[Window], alpha: float) -> FeedProblem | None:
    shares, now = check.past_shares(past), check.share(newest)
    if not shares.size or np.isnan(now):
        return None
    low, high = check.limits(shares, newest.rows.size, alpha)
    if low <= now <= high:
        return None
    before, rose = float(shares.mean()), now > high
    example = f"{'example' if rose else 'counterexample'}: {check.example(check.last_event(newest, rose))}"
    unit = "ids" if check.once_per_id else "events"
    text = f"{check.column} {check.property_text} in {now:.0%} of the newest {unit}, {before:.0%} before ({example})"
    return FeedProblem(check.column, before, now, high if rose else low, text)
