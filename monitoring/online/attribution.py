"""Which event belongs to which slot of which served list. docs/online-quality.md has the rules in words.

The relations are in DuckDB: `lists` (all lists of the period), `slots` (only those with an item with which their user
did something), `events`, and made from them: `touches` (an event and its slot), `shown` (the lists that count) and
`seen` (the slots that count). `list` numbers the lists in order of time, `pair` a user with an item, `day` the days
since 1970, UTC. `list` of an event is the one that it names.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import TemporaryDirectory

import duckdb

from monitoring.online.reader import OnlineReader

HOUR = 3_600_000_000  # microseconds
DAY = 24 * HOUR
MEMORY = "500MB"  # that DuckDB may use; beyond it, it writes to a temporary folder

TABLES = """
create table read_events (sequence bigint, event varchar, user_id varchar, item_id varchar, timestamp bigint,
                          request_id varchar, order_id varchar, quantity double, unit_price double);
create table lists (list integer, request_id varchar, answered_at bigint, user_id varchar, scene varchar,
                    strategy varchar, version bigint, n_slots integer, day integer);
create table slots (list integer, answered_at bigint, pair integer, slot integer);
create table touches (sequence bigint, event varchar, list integer, slot integer);
"""
NUMBER_PAIRS = """
create table pairs as
select user_id, item_id, row_number() over () as pair from (select distinct user_id, item_id from read_events)
"""
ADD_LISTS = f"""
insert into lists select list, request_id, answered_at, user_id, scene, strategy, version, json_array_length(items),
                         answered_at // {DAY} from page
"""
ADD_SLOTS = """
insert into slots
with places as (
    select list, answered_at, user_id,
           unnest(from_json(items, '[{"item_id": "VARCHAR", "rank": "BIGINT"}]'), recursive := true)
    from page)
select list, answered_at, pair, rank from places join pairs using (user_id, item_id)
"""
NUMBER_EVENTS = """
create table events as
select sequence, event, read_events.user_id, pair, timestamp, list, order_id, quantity, unit_price
from read_events join pairs using (user_id, item_id)
left join lists using (request_id);
drop table read_events;
"""


@dataclass(frozen=True)
class Attribution:
    """How long after a list an event may belong to it, and when a session ends.

    relevant: the kinds of events that make an item relevant for a list.
    """

    click_hours: float = 24.0  # for impressions, too
    purchase_days: float = 7.0  # for all other kinds of `relevant`, too
    session_minutes: float = 30.0
    relevant: tuple[str, ...] = ("purchase",)

    @property
    def click_window(self) -> int:
        """Microseconds."""
        return round(self.click_hours * HOUR)

    @property
    def purchase_window(self) -> int:
        """Microseconds."""
        return round(self.purchase_days * DAY)

    @property
    def longest(self) -> int:
        """Microseconds after the end of a day until all of its events have happened."""
        return max(self.click_window, self.purchase_window)

    def describe(self) -> str:
        """One line for a table of results."""
        return (
            f"clicks within {self.click_hours:g} h, {' or '.join(self.relevant)} within {self.purchase_days:g} days, "
            f"sessions end after {self.session_minutes:g} min"
        )


@contextmanager
def open_engine() -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB in memory; beyond MEMORY it writes to a temporary folder."""
    with TemporaryDirectory(prefix="tradewind-online-") as folder, duckdb.connect() as engine:
        for setting, value in {"memory_limit": MEMORY, "temp_directory": folder}.items():
            engine.execute(f"set {setting} = '{value}'")
        engine.execute("set preserve_insertion_order = false")
        yield engine


@contextmanager
def attributed(reader: OnlineReader, rules: Attribution, begin: int, end: int) -> Iterator[duckdb.DuckDBPyConnection]:
    """The relations above for the lists of a period, in microseconds. Raises DataError if the store cannot be read.

    What happened before the period is read, too: an event that belongs to an earlier list belongs to no list of it.
    """
    earlier = begin - rules.longest
    with open_engine() as engine:
        engine.execute(TABLES)
        for page in reader.events(earlier, end + rules.longest):
            engine.register("page", page)
            engine.execute("insert into read_events from page")
        engine.execute(NUMBER_PAIRS)
        for page in reader.numbered_lists(earlier - rules.click_window, end + rules.longest):
            engine.register("page", page)
            engine.execute(ADD_LISTS)
            engine.execute(ADD_SLOTS)
        engine.execute(NUMBER_EVENTS)
        attribute(engine, rules)
        yield engine


def attribute(engine: duckdb.DuckDBPyConnection, rules: Attribution) -> None:
    """Fills `touches`, `shown` and `seen` from `lists`, `slots` and `events`."""
    _touch(engine, "impression", "slots", rules.click_window)
    engine.execute(
        """
        create table impressions as select distinct list, slot from touches;
        create table days as select distinct day from lists semi join impressions using (list);
        create table shown as select *, day in (from days) as by_impressions from lists
            where day not in (from days) or list in (select list from impressions);
        create table seen as select slots.* from slots join shown using (list)
            where not by_impressions or (list, slot) in (from impressions);
        """
    )
    _touch(engine, "click", "seen", rules.click_window)
    _touch(engine, "purchase", "seen", rules.purchase_window)


def _touch(engine: duckdb.DuckDBPyConnection, event: str, slots: str, window: int) -> None:
    """Adds the events of one kind to `touches`: to the named list, else to the user's newest one with the item.

    The named list counts if it is the user's, has the item, and is neither later nor too old.
    """
    engine.execute(
        f"""
        insert into touches
        with chosen as (select sequence, pair, timestamp, list from events where event = '{event}'),
        named as (
            select sequence, chosen.list, slot from chosen join {slots} as slots using (list, pair)
            where timestamp >= answered_at and timestamp < answered_at + {window}),
        newest as (  -- of lists of one moment, the last one
            select pair, answered_at, max(list) as list, arg_max(slot, list) as slot
            from {slots} semi join chosen using (pair) group by all),
        last as (
            select sequence, newest.list, newest.slot
            from (from chosen anti join named using (sequence)) as chosen
            asof join newest on chosen.pair = newest.pair and chosen.timestamp >= newest.answered_at
            where timestamp < newest.answered_at + {window})
        select sequence, '{event}', list, slot from (from named union all from last)
        """
    )
