"""Detects a broken feed: missing values, unknown ids, constant values, wrong units and times, gaps, duplicate rows.

Input: reference and current events; output: the problems found. A market changes the shares that checks.py measures
slowly; a broken export changes them suddenly and by a large amount.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from monitoring.drift.feed.checks import build_checks
from monitoring.drift.feed.events import Events
from monitoring.drift.feed.gaps import Gap, category_gap, longest_gap
from monitoring.drift.feed.shares import FeedCheck, healthy
from monitoring.drift.windows import DAY, Window

ALARM_RATE = 0.01  # false alarms per window, over all checks; the margins of the checks lower it further


@dataclass(frozen=True)
class FeedProblem:
    """One column of a broken feed.

    before, now: share of events, mean of past windows and newest window; for a gap the number of users who bought in
    the same hours. limit: the value that `now` has crossed. text: the same as a sentence, with one example.
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
    days: int | None = None,
) -> tuple[FeedProblem, ...]:
    """The problems of the newest events (current), at most one per column.

    reference, current: schema INTERACTIONS. items: schema ITEMS, every state. earlier_items: the catalogue as it was
    read before, with the values of a column that is empty in `items` now; by default `items`. Without a past window to
    compare with, there are no problems. days: the length of the window of current events; by default the whole days
    from the last reference event to the newest one.
    """
    if not reference.num_rows or not current.num_rows:
        return ()
    log = Events(reference, current)
    checks = build_checks(log, items, users, items if earlier_items is None else earlier_items)
    last = log.seconds[: log.n_reference].max()
    newest, past = log.windows(days or max(round(float(log.seconds.max() - last) / DAY), 1))
    problems: dict[str, FeedProblem] = {}
    for check in checks:
        if check.column not in problems and (problem := _run_check(check, newest, past, ALARM_RATE / len(checks))):
            problems[check.column] = problem
    if gap := _gap(log, items, newest, past, problems):
        problems.setdefault(gap.column, _gap_problem(gap))
    return tuple(problems.values())


def _gap(log: Events, items: pa.Table, newest: Window, past: Sequence[Window], known: Collection[str]) -> Gap | None:
    """A gap that no known problem explains: a wrong clock makes gaps, and items that are unknown have no category."""
    if "time of day" in known:
        return None
    if (gap := longest_gap(log, newest, past)) or {"item_id", "the item's category"} & set(known):
        return gap
    return category_gap(log, items, newest, past)


def _gap_problem(gap: Gap) -> FeedProblem:
    return FeedProblem(gap.column, gap.usual_users, 0.0, gap.least_users, gap.text)


def describe(problems: Sequence[FeedProblem], most: int = 4) -> str:
    """The problems in one sentence, "" if there are none."""
    rest = f"; and {len(problems) - most} more" if len(problems) > most else ""
    return "; ".join(problem.text for problem in problems[:most]) + rest


def _run_check(check: FeedCheck, newest: Window, past: Sequence[Window], alpha: float) -> FeedProblem | None:
    shares, now = check.past_shares(past), check.share(newest)
    if not shares.size or np.isnan(now):
        return None
    shares = healthy(shares, lambda past: check.limits(past, newest.rows.size, alpha))
    low, high = check.limits(shares, newest.rows.size, alpha)
    if low <= now <= high:
        return None
    before, rose = float(shares.mean()), now > high
    example = f"{'example' if rose else 'counterexample'}: {check.example(check.last_event(newest, rose))}"
    unit = "ids" if check.once_per_id else "events"
    text = f"{check.column} {check.property_text} in {now:.0%} of the newest {unit}, {before:.0%} before ({example})"
    return FeedProblem(check.column, before, now, high if rose else low, text)
