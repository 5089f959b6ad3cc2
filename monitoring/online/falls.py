"""Whether the quality of the served lists fell: with the champion's release, or while it served.

A window is WINDOW_DAYS days, whole weeks, so that each has the same weekdays; a user counts once in it. The two tests
have other baselines. For a release it is the quality of the lists of earlier versions just before it; for a decay it is
that of the champion's own first windows. The test itself is monitoring.drift.sequential.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np
from numpy.typing import NDArray

from monitoring.drift.sequential import MIN_USERS, QualityTest, detect_fall
from monitoring.online.daily import DailyValues

WINDOW_DAYS = 7
BEFORE_RELEASE = 4  # windows of the baseline of a release, at most
FIRST = 2  # windows of the baseline of a decay
AFTER_RELEASE = 2  # windows of a champion in which a fall is put down to its release

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class QualityFall:
    """The result of one test.

    fell: there is enough evidence in the newest window. reason: the same as text. mean: of the newest window. level:
    below which a mean counts as a fall. evidence, limit: logarithms to base 10. window_end: the last day of the newest
    window. If nothing was tested, all but the first two are None.
    """

    fell: bool
    reason: str
    mean: float | None = None
    level: float | None = None
    evidence: float | None = None
    limit: float | None = None
    window_end: date | None = None


def fall_by_release(
    days: Sequence[DailyValues], version: int, released: datetime, earlier: Collection[int], length: int = WINDOW_DAYS
) -> QualityFall:
    """Whether the lists of a version are worse than those of earlier versions before it, in its first windows.

    days: mature ones, oldest first, of one metric. released: when the version became the champion, UTC. earlier: the
    champions before it, without those that were taken back: against their lists no version would be worse.
    """
    begin = _day_of(released)
    before = [one for one in days if one.day < begin and one.version in earlier]
    own = _windows([one for one in days if one.version == version], begin, length)
    windows = own[:AFTER_RELEASE]
    if len(own) > AFTER_RELEASE:
        return QualityFall(False, f"version {version} has served for more than {AFTER_RELEASE} windows")
    first = min((one.day for one in before), default=begin)
    n_before = min((begin - first + length - 1) // length, BEFORE_RELEASE)
    baseline = _windows(before, begin - n_before * length, length)
    return _test(baseline, windows, f"version {version} against the versions before it")


def fall_while_serving(
    days: Sequence[DailyValues], version: int, released: datetime, length: int = WINDOW_DAYS
) -> QualityFall:
    """Whether the lists of a version became worse than in its first windows. The arguments are those of the other."""
    windows = _windows([one for one in days if one.version == version], _day_of(released), length)
    return _test(windows[:FIRST], windows[FIRST:], f"version {version} against its first {FIRST} windows")


def _test(baseline: Sequence["_Window"], windows: Sequence["_Window"], what: str) -> QualityFall:
    n_values = sum(window.values.size for window in baseline)
    if not windows or n_values < MIN_USERS:
        return QualityFall(
            False, f"{what}: not tested; {len(windows)} mature windows, {n_values} users of {MIN_USERS} before them"
        )
    found = detect_fall([window.values for window in baseline], [window.values for window in windows])
    newest, fell = windows[-1], bool(found.alarms[-1])
    end = datetime.fromtimestamp(newest.end * 86_400, UTC).date()
    mean = float(newest.values.mean()) if newest.values.size else None
    reason, evidence = _reason(what, fell, mean, found), float(found.evidence[-1])
    return QualityFall(fell, reason, mean, found.baseline.level, evidence, found.limit, end)


def _reason(what: str, fell: bool, mean: float | None, found: QualityTest) -> str:
    verdict = "the quality fell" if fell else "no fall of the quality"
    shown = "no list was judged" if mean is None else f"mean {mean:.4f}"
    return (
        f"{what}: {verdict}; {shown} in the newest window, at least {found.baseline.level:.4f} is good; "
        f"evidence {found.evidence[-1]:.1f}, limit {found.limit:.1f}"
    )


@dataclass(frozen=True, eq=False)
class _Window:
    """values: (n_users,), the mean of each user's days. end: its last day, since 1970."""

    end: int
    values: Floats


def _windows(days: Sequence[DailyValues], begin: int, length: int) -> list[_Window]:
    """The whole windows from a day on, oldest first: those whose last day, or a later one, is known."""
    last = max((one.day for one in days), default=begin - 1)
    found = []
    for start in range(begin, last - length + 2, length):
        of_users: dict[str, list[float]] = {}
        for one in days:
            if start <= one.day < start + length:
                for user_id, value in zip(one.user_ids, one.values.tolist(), strict=True):
                    of_users.setdefault(user_id, []).append(value)
        found.append(_Window(start + length - 1, np.array([float(np.mean(each)) for each in of_users.values()])))
    return found


def _day_of(time: datetime) -> int:
    return int(time.timestamp() // 86_400)
