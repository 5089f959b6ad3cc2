"""Judges the newest windows of a log: the verdict of each column as text, and the columns that drifted of late."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from monitoring.drift.causes import Part, own_share, parts
from monitoring.drift.changes import HISTORY, MIN_VALUES, RECENT, Change, changes
from monitoring.drift.columns import ACTIVITY, ITEM_MIX, NEW_ITEMS, NEW_USERS, POPULARITY, VOLUMES, EncodedLog, Floats
from monitoring.drift.verdict import ALARM_RATE, Deviation, deviations
from monitoring.drift.windows import DAY, MAX_WINDOWS, WEEK, Window, aligned_windows

METHOD = "deviation from past windows"
WINDOW_EVENTS = 1_000  # events that a window should have


@dataclass(frozen=True)
class ColumnDrift:
    """The verdict of one column.

    score: how far the change is from past changes, in their standard deviations; threshold: the score from which it
    counts. value: the label that changed most, "" for numbers. share: of this label in the change of all labels.
    change: the change in the column's own units. parts: who or what makes it; only of drifted columns.
    """

    name: str
    score: float
    threshold: float
    method: str
    drifted: bool
    change: str
    value: str = ""
    share: float = 1.0
    parts: tuple[Part, ...] = ()

    @property
    def title(self) -> str:
        """The name without log_: logarithms are compared, but the text shows the values themselves."""
        return self.name.removeprefix("log_")

    @property
    def cause(self) -> str:
        """The change and its parts, as text."""
        own = f", {self.share:.0%} of the change" if self.value and self.drifted else ""
        return "; ".join([f"{self.change}{own}", *map(str, self.parts)])

    @property
    def evidence(self) -> str:
        """The change with its score and limit, and its parts, as text."""
        return f"{self.cause} ({self.score:.1f} standard deviations, limit {self.threshold:.1f})"


@dataclass(frozen=True, eq=False)
class Judgement:
    """The verdicts about the newest window.

    windows: oldest first. columns: drifted ones first, largest score relative to its threshold first. not_tested: the
    other columns, with the reason. recent: the columns that drifted in each of the newest RECENT windows that could be
    judged, newest last.
    """

    windows: Sequence[Window]
    columns: tuple[ColumnDrift, ...]
    not_tested: tuple[str, ...]
    recent: tuple[tuple[str, ...], ...]


def window_days(seconds: Floats) -> int:
    """The length of a window for a log of events: the fewest whole weeks that usually have WINDOW_EVENTS events.

    seconds: the times of the events, (n,). The log has HISTORY such windows, if it has as many weeks.
    """
    if not seconds.size:
        return 7
    age = np.floor((seconds.max() - seconds) / WEEK).astype(np.int64)
    a_week = float(np.median(np.bincount(age)[:MAX_WINDOWS]))
    longest = max(int(np.ptp(seconds) / WEEK) // HISTORY, 1)
    return 7 * int(min(np.ceil(WINDOW_EVENTS / max(a_week, 1.0)), longest))


def judge(log: EncodedLog, days: int, alarm_rate: float = ALARM_RATE) -> Judgement:
    """Compares the newest `days` days with past windows. The log's newest event ends the newest window."""
    windows = aligned_windows(log.seconds, days * DAY)
    if len(windows) < HISTORY:
        reason = f"every column ({len(windows)} windows of {days} days; {HISTORY} are needed)"
        return Judgement(windows, (), (reason,), ())
    history = [changes(log, windows, index) for index in range(len(windows))]
    return judge_history(log, windows, history, alarm_rate)


def judge_history(
    log: EncodedLog, windows: Sequence[Window], history: Sequence[Mapping[str, Change]], alarm_rate: float = ALARM_RATE
) -> Judgement:
    """The same from changes that are known already: one mapping per window."""
    ends = [end for end in range(len(history) - RECENT + 1, len(history) + 1) if end >= HISTORY]
    recent = [deviations(history[:end], alarm_rate) for end in ends]
    tested = recent[-1]
    columns = [_verdict(log, windows, name, found, history[-1][name]) for name, found in tested.items()]
    # every change of what is bought changes the item mix, so a column that says more comes first
    columns.sort(key=lambda one: (one.drifted, one.name != ITEM_MIX, one.score / one.threshold), reverse=True)
    drifted = tuple(tuple(sorted(name for name, found in each.items() if found.drifted)) for each in recent)
    return Judgement(windows, tuple(columns), _not_tested(log, windows[-1], tested), drifted)


def summarise(columns: tuple[ColumnDrift, ...], not_tested: tuple[str, ...]) -> str:
    """The verdicts in one sentence. columns: drifted ones first, largest score relative to its threshold first."""
    if not columns:
        return f"not tested: {', '.join(not_tested)}"
    drifted = [column for column in columns if column.drifted]
    if not drifted:
        return f"no drift; closest to its limit: {columns[0].title}, {columns[0].evidence}"
    largest, *others = drifted
    rest = "".join(f"; also {column.title}: {column.evidence}" for column in others)
    return f"{largest.title} changed most: {largest.evidence}{rest}"


def all_columns(log: EncodedLog) -> tuple[str, ...]:
    return (*log.labels, POPULARITY, ITEM_MIX, *log.numbers, NEW_ITEMS, NEW_USERS, *VOLUMES)


def _verdict(log: EncodedLog, windows: Sequence[Window], name: str, found: Deviation, change: Change) -> ColumnDrift:
    is_label = name in log.labels
    value = log.names[name][found.value] if is_label else ""
    last = len(windows) - 1
    return ColumnDrift(
        name,
        found.score,
        found.limit,
        METHOD,
        found.drifted,
        _describe(name, value, float(change.before[found.value]), float(change.now[found.value]), found.value),
        value,
        own_share(change, found.value) if is_label and found.drifted else 1.0,
        parts(log, windows, last, name, found.value, change) if found.drifted else (),
    )


def _describe(name: str, value: str, before: float, now: float, index: int) -> str:
    """Such as "'office' 12.0% -> 31.4%" or "typical value 6 -> 72"."""
    if value:
        return f"{value!r} {before:.1%} -> {now:.1%}"
    if name == ITEM_MIX:
        return f"difference of the items' shares {now - before:.2f}, where 0 is none and 2 all"
    if name in (NEW_ITEMS, NEW_USERS):
        return f"share of the events {before:.1%} -> {now:.1%}"
    if name in VOLUMES:
        what = "orders" if name == ACTIVITY else "users with an event"
        return f"{what} per window {before:,.0f} -> {now:,.0f}"
    if index == 1:
        return f"spread {before:.2f} -> {now:.2f}"
    if name.startswith("log_"):
        return f"geometric mean {np.exp(before):.3g} -> {np.exp(now):.3g}"
    return f"mean {'rank ' if name == POPULARITY else ''}{before:.2f} -> {now:.2f}"


def _not_tested(log: EncodedLog, newest: Window, tested: Mapping[str, Deviation]) -> tuple[str, ...]:
    """The columns that are not tested, with the reason."""
    found = []
    for name in all_columns(log):
        if name in tested:
            continue
        known = log.labels[name] >= 0 if name in log.labels else ~np.isnan(log.numbers.get(name, log.seconds))
        before, now = int(known[: log.n_reference].sum()), int(known[newest.rows].sum())
        reason = f"{before} known before, {now} now" if before + now else "not in this source"
        enough = now >= MIN_VALUES and before >= MIN_VALUES
        found.append(f"{name} ({'too few past windows' if enough else reason})")
    return tuple(found)
