"""Profiles a data set: DuckDB computes the figures from its Parquet files, in bounded memory."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from recommenders.datasets.reading.ingest import TABLES, Counts
from recommenders.datasets.reading.lines import text_literal
from recommenders.datasets.reading.relations import show
from recommenders.errors import DataError

TOP = (0.01, 0.1, 0.2)  # shares of the items sold, best sellers first
TOP_VALUES = 8  # shown values of an attribute; the others are one row
CURVE_POINTS = 200
FEW_DAYS = 56  # a log up to this length is shown by day, a longer one by week
RAW = 300  # shown characters of a line in quarantine
Figures = dict[str, Any]

LOG = """
    select count(*) as events, min(time) as first_event, max(time) as last_event,
        date_diff('day', min(time)::date, max(time)::date) + 1 as days,
        (select count(*) from per_day) as active_days,
        (select count(*) from per_user) as users, (select count(*) from per_item) as items_sold,
        (select count(distinct item_id) from items) as items_in_catalogue,
        (select count(*) from users) as users_in_table,
        (select count(*) from (select distinct user_id, item_id from log)) as pairs
    from log
"""
SILENCE = """
    select day + 1 as from_day, next - day - 1 as days
    from (select day, lead(day) over (order by day) as next from per_day) where next > day + 1
    order by days desc, from_day limit 1
"""
ORDERS = """
    select count(*) as orders, avg(n) as lines_mean, median(n) as lines_median, max(n) as lines_max
    from (select count(*) as n from log where order_id is not null group by order_id)
"""
ACTIVITY = """
    select date_trunc({period}, day)::date as start, sum(n)::bigint as events from per_day group by 1 order by 1
"""
PER_USER = """
    select min(n) as least, quantile_cont(n, 0.25) as first_quartile, median(n) as median,
        quantile_cont(n, 0.75) as third_quartile, max(n) as most, avg(n) as mean from per_user
"""
RETURNS = """
    select count(*) as lines, count(*) / (select nullif(count(*), 0) from log) as share,
        sum(returned_quantity) as units, median(date_diff('second', time, back)) / 86400 as median_days
    from log where returned_quantity > 0
"""
SNAPSHOTS = """
    select count(*) as rows, count(distinct item_id) as items, count(distinct valid_from) as times,
        (select count(*) from (select 1 from items group by item_id having count(*) > 1)) as items_that_changed,
        min(valid_from at time zone 'UTC') as first, max(valid_from at time zone 'UTC') as last
    from items
"""
USERS_BY = """
    select "{column}" as value, count(*) as users, count(*) / sum(count(*)) over () as share_of_users,
        coalesce(sum(n), 0) / nullif(sum(sum(n)) over (), 0) as share_of_events
    from users left join per_user using (user_id) group by 1 order by users desc, value nulls last
"""
# An item's category is that of its newest snapshot.
ITEMS_BY_CATEGORY = """
    select category as value, count(*) as items, count(*) / sum(count(*)) over () as share_of_items,
        coalesce(sum(n), 0) / nullif(sum(sum(n)) over (), 0) as share_of_events
    from (from items qualify row_number() over (
        partition by item_id order by coalesce(epoch_us(valid_from), -9223372036854775807) desc) = 1)
    left join per_item using (item_id) group by 1 order by share_of_events desc nulls last, items desc, value
"""
QUARANTINE = f"""
    select reason, count(*) as rows, unnest(min(row))
    from (select reason, {{'file': file, 'line': line, 'raw': left(raw, {RAW})}} as row from quarantine)
    group by reason order by rows desc, reason
"""


@dataclass(frozen=True)
class DatasetProfile:
    """The figures of a data set. Shares are in [0, 1]; unknown figures are None or empty."""

    dataset: str
    rows: Figures  # read, kept, merged, netted, set_aside, quarantined
    log: Figures  # events, users, items_sold ..., first_event, last_event (UTC), days, density, repeat_share
    events: Mapping[str, int]  # by kind
    orders: Figures  # orders, lines_mean, lines_median, lines_max
    long_tail: Figures  # gini, top (share of items -> share of events), curve [(share of items, share of events)]
    events_a_user: Figures  # least, first_quartile, median, third_quartile, most, mean
    activity: Figures  # period (day or week), starts, events
    users_by: Mapping[str, list[Figures]]  # segment, industry, region, if any user has a value
    items_by_category: list[Figures]
    snapshots: Figures
    returns: Figures
    missing: Mapping[str, Mapping[str, float]]  # table -> column -> share of nulls; none of an empty table
    quarantine: list[Figures]  # reason, rows, and file, line, raw of one example

    def to_json(self) -> Figures:
        """The figures as plain values."""
        return asdict(self)


def profile_tables(
    files: Mapping[str, Sequence[Path]],
    counts: Counts,
    dataset: str = "",
    memory: str = "2GB",
    spill: Path | None = None,
) -> DatasetProfile:
    """The profile of the tables in TABLES, from their Parquet files. counts: the outcomes of the rows at ingest.

    memory: the memory limit of the engine; beyond it, it writes to a temporary folder below `spill` (the system's by
    default). Raises DataError if a file cannot be read.
    """
    with _queries(files, memory, spill) as count:
        log = count.log()
        return DatasetProfile(
            dataset,
            {**asdict(counts), "set_aside": dict(counts.set_aside)},
            log,
            {row["event"]: row["n"] for row in count.rows("from per_event order by n desc, event")},
            count.row(ORDERS),
            long_tail(count.column("select n from per_item")),
            count.row(PER_USER),
            count.activity(log["days"] or 0),
            {column: found for column in ("segment", "industry", "region") if (found := count.users_by(column))},
            count.items_by_category(),
            count.row(SNAPSHOTS),
            count.row(RETURNS),
            {name: count.missing(name) for name in TABLES},
            count.rows(QUARANTINE),
        )


def long_tail(n_events: NDArray[np.int64]) -> Figures:
    """How unequally events are distributed over the items sold; n_events: (n_items,) above 0, in any order.

    gini is 0 if all items have equally many events and near 1 if one item has almost all (Gini 1912). Top shares round
    the number of items up; a share of less than one item is left out.
    """
    n = len(n_events)
    if not n:
        return {"gini": None, "top": {}, "curve": []}
    falling = np.sort(n_events)[::-1].astype(np.float64)
    share = np.concatenate([[0.0], np.cumsum(falling) / falling.sum()])
    gini = (n + 1 - 2 * (np.arange(1, n + 1) * falling).sum() / falling.sum()) / n
    top = {f"{part:g}": round(float(share[int(np.ceil(n * part - 1e-9))]), 4) for part in TOP if n * part >= 1}
    # The curve changes most at its start, so half of the points are there.
    wanted = np.concatenate([np.geomspace(1, n, CURVE_POINTS // 2), np.linspace(0, n, CURVE_POINTS // 2)])
    places = np.unique(wanted.round().astype(np.int64))
    curve = [(round(float(place / n), 6), round(float(share[place]), 6)) for place in places]
    return {"gini": round(abs(float(gini)), 4), "top": top, "curve": curve}


@contextmanager
def _queries(files: Mapping[str, Sequence[Path]], memory: str, spill: Path | None) -> Iterator["_Queries"]:
    """The queries over the tables in a new DuckDB connection, with a folder for data that does not fit in memory."""
    with tempfile.TemporaryDirectory(dir=spill, prefix=".profiling-") as place, duckdb.connect() as connection:
        settings = {"memory_limit": memory, "temp_directory": place, "TimeZone": "UTC"}
        for setting, value in {**settings, "preserve_insertion_order": "false"}.items():
            connection.execute(f"set {setting} = {text_literal(value)}")
        try:
            yield _Queries(connection, files)
        except (duckdb.IOException, duckdb.InvalidInputException, duckdb.BinderException) as error:
            first = str(error).splitlines()[0]
            raise DataError(f"the tables cannot be read: {first}; materialise them again") from error
        except duckdb.OutOfMemoryException as error:
            raise DataError(f"the tables cannot be profiled in {memory} of memory; allow more") from error


class _Queries:
    """Queries over the tables: the view `log` has the events; per_user, per_item, per_day and per_event count them."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, files: Mapping[str, Sequence[Path]]) -> None:
        self._connection = connection
        for name in TABLES:
            show(connection, name, files[name], TABLES[name])
        zone = "at time zone 'UTC'"
        connection.execute(
            f"create view log as select *, timestamp {zone} as time, returned_at {zone} as back from interactions"
        )
        for key, name in {"user_id": "user", "item_id": "item", "time::date as day": "day", "event": "event"}.items():
            connection.execute(f"create table per_{name} as select {key}, count(*) as n from log group by all")

    def rows(self, sql: str) -> list[Figures]:
        """The rows of a query, each as {column: plain value}."""
        cursor = self._connection.execute(sql)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, map(_plain, row), strict=True)) for row in cursor.fetchall()]

    def row(self, sql: str) -> Figures:
        """The one row of a query."""
        [found] = self.rows(sql)
        return found

    def column(self, sql: str) -> NDArray[Any]:
        """The one column of a query."""
        [values] = self._connection.execute(sql).fetchnumpy().values()
        return np.asarray(values)

    def log(self) -> Figures:
        found = self.row(LOG)
        cells, events = found["users"] * found["items_sold"], found["events"]
        return found | {
            "longest_silence": next(iter(self.rows(SILENCE)), None),
            "density": float(f"{found['pairs'] / cells:.4g}") if cells else None,
            "repeat_share": round(1 - found["pairs"] / events, 4) if events else None,
        }

    def activity(self, days: int) -> Figures:
        period = "week" if days > FEW_DAYS else "day"
        found = self.rows(ACTIVITY.format(period=text_literal(period)))
        return {"period": period, "starts": [r["start"] for r in found], "events": [r["events"] for r in found]}

    def users_by(self, column: str) -> list[Figures]:
        """Users by value of an attribute, most first; empty if the source does not provide the attribute."""
        found = self.rows(USERS_BY.format(column=column))
        return _with_rest(found) if any(row["value"] is not None for row in found) else []

    def items_by_category(self) -> list[Figures]:
        """Items by category, most events first; empty if the source has no categories."""
        found = self.rows(ITEMS_BY_CATEGORY)
        return _with_rest(found) if any(row["value"] is not None for row in found) else []

    def missing(self, name: str) -> dict[str, float]:
        """The share of nulls in each column of a table. Columns that few data sets have are left out if empty."""
        shares = (f'1 - count("{f.name}") / nullif(count(*), 0) as "{f.name}"' for f in TABLES[name])
        found = self.row(f"select {', '.join(shares)} from {name}")
        return {
            column: share
            for column, share in found.items()
            if share is not None and not (column in ("attributes", "predecessors") and share == 1.0)
        }


def _with_rest(rows: list[Figures]) -> list[Figures]:
    """The first rows, and all others as one: its value is "N others"."""
    if len(rows) <= TOP_VALUES + 1:
        return rows
    shown, others = rows[:TOP_VALUES], rows[TOP_VALUES:]
    sums = {name: round(sum(row[name] or 0 for row in others), 6) for name in rows[0] if name != "value"}
    return [*shown, {"value": f"{len(others)} others", **sums}]


def _plain(value: Any) -> Any:
    """A value of DuckDB as a JSON value; times and days as ISO text, fractions with six digits."""
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return round(value, 6) if isinstance(value, float) else value
