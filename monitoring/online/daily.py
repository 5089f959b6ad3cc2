"""Online quality by day: the table of results, which days are final, and the daily values of users."""

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from monitoring.online.attribution import DAY, Attribution, attributed
from monitoring.online.business import count_slots, find_sessions
from monitoring.online.quality import judge
from monitoring.online.reader import OnlineReader, Span
from monitoring.online.slices import RATIOS, SUMS, figures, label_users

ONLINE_QUALITY = pa.schema(
    [
        ("day", pa.date32()),  # of the lists, UTC
        ("mature", pa.bool_()),  # all events that may belong to the lists of the day have happened
        ("by", pa.string()),
        ("value", pa.string()),
        ("shown_by", pa.string()),  # impressions: only lists with one count; answers: all lists count
        ("attribution", pa.string()),  # Attribution.describe()
        ("n_users", pa.int64()),
        ("n_judged_users", pa.int64()),  # with a list after which they bought something
        *((name, pa.int64() if name.startswith("n_") else pa.float64()) for name in SUMS),
        *((f"{name}{end}", pa.float64()) for name in RATIOS for end in ("", "_low", "_high")),
    ]
)


@dataclass(frozen=True, eq=False)
class DailyValues:
    """A metric of the lists of a version on one day: the mean of each user with a defined value; values: (n_users,)."""

    day: int  # since 1970, UTC
    version: int
    mature: bool
    user_ids: list[str]
    values: NDArray[np.float64]

    @property
    def n(self) -> int:
        """The number of users."""
        return len(self.values)

    @property
    def sum(self) -> float:
        """The sum of the values."""
        return float(self.values.sum())


def online_quality(
    reader: OnlineReader,
    users: pa.Table,
    now: int,
    rules: Attribution,
    kept_days: float,
    earlier: pa.Table | None = None,
) -> pa.Table:
    """The figures of all days, in ONLINE_QUALITY, in order of time.

    users: in schema.USERS. now: microseconds since 1970, UTC. kept_days: after which the store deletes lists. earlier:
    the last result. Of it these days stay as they are: mature ones, if the attribution is the same, and those of which
    the store may have deleted lists. Raises DataError if the store cannot be read.
    """
    earlier = ONLINE_QUALITY.empty_table() if earlier is None else earlier
    span = reader.span(now)
    days = [day for day in days_of(span, now, kept_days) if day not in _final_days(earlier, rules)]
    if span is None or not days:
        return earlier
    found = [earlier.filter(pc.invert(pc.is_in(earlier["day"], _dates(days))))]
    with attributed(reader, rules, days[0] * DAY, (days[-1] + 1) * DAY) as engine:
        label_users(engine, users)
        for day in _with_lists(engine, days):
            judge(engine, day, rules)
            count_slots(engine, day)
            find_sessions(engine, day, rules)
            found.append(_as_table(figures(engine), day, is_mature(day, span, rules), shown_by(engine, day), rules))
    return pa.concat_tables(found).sort_by([(name, "ascending") for name in ("day", "by", "value")])


def daily_values(
    reader: OnlineReader, now: int, rules: Attribution, n_days: int, metric: str = "hit_rate"
) -> list[DailyValues]:
    """A metric of quality.METRICS on the last n_days, as far as lists are stored, for tests over time.

    In order of days, then of versions. now: microseconds since 1970, UTC. Raises DataError if the store cannot be read.
    """
    span = reader.span(now)
    days = days_of(span, now, n_days)
    if span is None or not days:
        return []
    values = []
    with attributed(reader, rules, days[0] * DAY, (days[-1] + 1) * DAY) as engine:
        for day in _with_lists(engine, days):
            judge(engine, day, rules)
            found = engine.execute(
                f"""
                select version, list(user_id order by user_id), list(value order by user_id)
                from (select version, judged.user_id, avg({metric}) as value from judged join lists using (list)
                      where {metric} is not null group by all)
                group by version order by version
                """
            ).fetchall()
            mature = is_mature(day, span, rules)
            values += [DailyValues(day, version, mature, ids, np.array(of_users)) for version, ids, of_users in found]
    return values


def days_of(span: Span | None, now: int, kept_days: float) -> list[int]:
    """The days with lists, of which the store has deleted none because of their age."""
    if span is None:
        return []
    return [
        day for day in range(span.first_list // DAY, span.last_list // DAY + 1) if day * DAY >= now - kept_days * DAY
    ]


def is_mature(day: int, span: Span, rules: Attribution) -> bool:
    """Whether events are known from the whole time in which one may belong to a list of the day."""
    return (day + 1) * DAY + rules.longest <= span.newest_event


def shown_by(engine: duckdb.DuckDBPyConnection, day: int) -> str:
    """Which lists of a day count: those with "impressions", or all "answers" as there are no impressions."""
    (with_impressions,) = engine.execute("select count(*) from days where day = $1", [day]).fetchall()[0]
    return "impressions" if with_impressions else "answers"


def _with_lists(engine: duckdb.DuckDBPyConnection, days: Sequence[int]) -> list[int]:
    """The days with a list that counts, in order."""
    shown = {day for (day,) in engine.execute("select distinct day from shown").fetchall()}
    return [day for day in days if day in shown]


def _final_days(earlier: pa.Table, rules: Attribution) -> set[int]:
    final = earlier.filter(pc.and_(earlier["mature"], pc.equal(earlier["attribution"], rules.describe())))
    return set(final["day"].cast(pa.int32()).to_pylist())


def _dates(days: Sequence[int]) -> pa.Array:
    return pa.array(days, pa.int32()).cast(pa.date32())


def _as_table(rows: pd.DataFrame, day: int, mature: bool, shown: str, rules: Attribution) -> pa.Table:
    n = len(rows)
    same = {"day": _dates([day] * n), "mature": [mature] * n, "shown_by": [shown] * n}
    same["attribution"] = [rules.describe()] * n
    columns = [
        same[field.name] if field.name in same else pa.array(rows[field.name], from_pandas=True).cast(field.type)
        for field in ONLINE_QUALITY
    ]
    return pa.table(columns, schema=ONLINE_QUALITY)
