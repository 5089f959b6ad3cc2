"""Whether the lists of the champion changed while it served; and how they differ from those before its release.

A window is WINDOW_DAYS days from the day of the release on, so whole weeks. The newest one is compared with up to
REFERENCE windows of the same version before it: a release changes the lists by design, so its difference is shown and
is no alarm. The yardstick is the sampling of users. There are no past changes as in monitoring.drift.verdict: the store
has the lists of 30 days, and a version serves for a few weeks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
from scipy.stats import t as student

from monitoring.drift.causes import own_share
from monitoring.drift.changes import Change
from monitoring.drift.judgement import ColumnDrift, summarise
from monitoring.drift.verdict import SHARE_FLOOR, VOLUME_FLOOR, deviation
from monitoring.online.attribution import DAY
from monitoring.online.falls import WINDOW_DAYS
from monitoring.online.reader import OnlineReader
from monitoring.predictions.changes import Compared, Period, compare, nothing
from monitoring.predictions.served import COVERAGE, NEW_ITEMS, SCORE, SHARES, days, served

ALARM_RATE = 0.01  # false alarms per window, over all figures
REFERENCE = 2  # windows; with the newest one they are stored, if the store has the lists of 30 days
RATIO_FLOOR = VOLUME_FLOOR  # of scores and coverage, as a logarithm
METHOD = "deviation by the sampling of users"
NO_VERSION = "no version serves yet"


@dataclass(frozen=True)
class PredictionDrift:
    """The result of a comparison.

    version: the champion, None if there is none. columns: the figures of the newest window against those before it,
    drifted ones first; empty if nothing was tested. not_tested: the others, with the reason. summary: the same in one
    sentence. window_end: the last day of the newest window. release: the figures of the champion's first window against
    those of other versions just before it; empty if they are not known.
    """

    dataset: str
    version: int | None
    columns: tuple[ColumnDrift, ...] = ()
    not_tested: tuple[str, ...] = ()
    summary: str = NO_VERSION
    window_end: date | None = None
    release: tuple[ColumnDrift, ...] = ()

    @property
    def drifted(self) -> bool:
        """Whether a figure changed."""
        return any(column.drifted for column in self.columns)


def prediction_drift(
    dataset: str,
    reader: OnlineReader,
    items: Sequence[pa.Table],
    version: int,
    released: datetime,
    now: int,
    kept_days: float,
) -> tuple[PredictionDrift, pd.DataFrame]:
    """The result for the champion, and what the lists show on each day (served.days).

    items: see served(). released: when the version became the champion, UTC. now: microseconds since 1970, UTC.
    kept_days: after which the store deletes lists. Raises DataError if the store cannot be read.
    """
    begin, today = int(released.timestamp() * 1e6) // DAY, now // DAY
    stored = int(-(-(now - kept_days * DAY) // DAY))  # the first day of which all lists are stored
    newest = begin + ((today - begin) // WINDOW_DAYS - 1) * WINDOW_DAYS  # the first day of the newest whole window
    with served(reader, items, stored, today) as engine:
        found = _while_serving(engine, Period(newest, newest + WINDOW_DAYS, version), begin, stored)
        release = _at_release(engine, Period(begin, begin + WINDOW_DAYS, version), stored, today)
        of_days = days(engine)
    columns, summary = judge(found), summarise(judge(found), found.not_tested)
    end = datetime.fromtimestamp((newest + WINDOW_DAYS - 1) * DAY / 1e6, UTC).date() if columns else None
    return PredictionDrift(dataset, version, columns, found.not_tested, summary, end, judge(release)), of_days


def judge(found: Compared, alarm_rate: float = ALARM_RATE) -> tuple[ColumnDrift, ...]:
    """The verdict of each figure: drifted ones first, the largest change relative to its floor first.

    One change moves several figures: lists without a category also have fewer items. With many lists the error of each
    is small, so the scores do not show which one changed most. The alarm rate is divided by the number of figures, and
    within a figure by the number of its values (Bonferroni).
    """
    judged = [
        _verdict(figure, change, found, alarm_rate / len(found.changes)) for figure, change in found.changes.items()
    ]
    judged.sort(key=lambda each: (each[0].drifted, each[1]), reverse=True)
    return tuple(column for column, _ in judged)


def _while_serving(engine: duckdb.DuckDBPyConnection, window: Period, released: int, stored: int) -> Compared:
    """The newest window against the windows of the version before it."""
    first = _first_day(window.begin, released, stored)
    if first is None:
        n_windows = (window.end - released) // WINDOW_DAYS
        return nothing(
            f"version {window.version} has served for {n_windows} whole windows of {WINDOW_DAYS} days; "
            "it needs two, and their lists have to be stored"
        )
    return compare(engine, Period(first, window.begin, window.version), window)


def _at_release(engine: duckdb.DuckDBPyConnection, window: Period, stored: int, today: int) -> Compared:
    """The first window of a version against the windows of other versions before it, as far as both are stored."""
    first = _first_day(window.begin, window.begin - REFERENCE * WINDOW_DAYS, stored)
    if first is None or window.end > today:
        return nothing("the lists of both are not known")
    return compare(engine, Period(first, window.begin, window.version, others=True), window)


def _first_day(newest: int, earliest: int, stored: int) -> int | None:
    """The first day of the windows that a window is compared with; None if there are none.

    newest: the first day of the window. earliest, stored: the reference begins on neither an earlier day.
    """
    n_windows = min((newest - max(earliest, stored)) // WINDOW_DAYS, REFERENCE)
    return newest - n_windows * WINDOW_DAYS if n_windows > 0 else None


def _verdict(figure: str, change: Change, found: Compared, alarm_rate: float) -> tuple[ColumnDrift, float]:
    """The verdict, and how large the change is: in floors if it counts, else relative to its limit."""
    n_values, is_share = change.effect.size, figure in SHARES
    limit = float(student.ppf(1 - alarm_rate / n_values / 2, found.n_users - 1))  # a change up or down
    floors = np.full(n_values, SHARE_FLOOR if is_share else RATIO_FLOOR)
    change = replace(change, error=np.maximum(change.error, 1 / found.n_users))  # at least that of one user
    verdict = deviation(change, np.zeros(n_values), np.zeros(n_values), limit, floors)
    value = found.names[figure][verdict.value] if is_share else ""
    text = _describe(figure, value, float(change.before[verdict.value]), float(change.now[verdict.value]))
    if figure == SCORE and verdict.value == 1:
        text = f"spread {text.removeprefix('mean ')}"
    share = own_share(change, verdict.value) if n_values > 1 and is_share and verdict.drifted else 1.0
    named = value if n_values > 1 else ""
    size = abs(change.effect[verdict.value]) / floors[0] if verdict.drifted else verdict.score / limit
    return ColumnDrift(figure, verdict.score, limit, METHOD, verdict.drifted, text, named, share), float(size)


def _describe(figure: str, value: str, before: float, now: float) -> str:
    """Such as "'office' 12.0% -> 31.4%" or "mean 0.11 -> 0.052"."""
    if figure == SCORE:
        return f"mean {before:.3g} -> {now:.3g}"
    if figure == COVERAGE:
        return f"effective items {before:,.1f} -> {now:,.1f}"
    return f"{'share of the slots' if figure == NEW_ITEMS else repr(value)} {before:.1%} -> {now:.1%}"
