"""The served lists of a period as relations in DuckDB, and what they show day by day.

`lists` has one row for each list: list, day (since 1970, UTC), user_id, version, scene, strategy, and length, the
number of its items, at most K. `seen` has one row for each of its first K slots: the columns of its list, slot,
item_id, score, and the item's category and is_new. Each is null where it is not known.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

import duckdb
import pandas as pd
import pyarrow as pa

from monitoring.online.attribution import DAY, open_engine
from monitoring.online.reader import OnlineReader
from recommenders.events.item_states import items_as_of
from recommenders.metrics.ranking import K

FIRST_SLOTS = 3  # whose scores are compared: those of later slots are lower, so their mean depends on the length
NEW_DAYS = 28  # for which an item counts as new, from the begin of its sale
MISSING = "not in the catalogue"  # the category of an item that no table has

NEW_ITEMS, SCORE, COVERAGE = "new items", "score", "coverage"
# Figure -> the relation, and the value whose share in it is compared.
SHARES = {
    "scene": ("lists", "scene"),
    "strategy": ("lists", "strategy"),
    "length": ("lists", "length"),
    "category": ("seen", "category"),
    NEW_ITEMS: ("seen", "is_new"),  # a flag: the share of true is compared
}
FIGURES = (*SHARES, SCORE, COVERAGE)

ITEMS = '[{"item_id": "VARCHAR", "rank": "BIGINT", "score": "DOUBLE"}]'
TABLES = """
create table catalogue (item_id varchar, category varchar, available_from bigint);
create table lists (list integer, day integer, user_id varchar, version bigint, scene varchar, strategy varchar,
                    length integer);
create table slots (list integer, slot integer, item_id varchar, score double, category varchar, is_new boolean);
create view seen as select * from slots join lists using (list);
"""
ADD_ITEMS = """
insert into catalogue select item_id, category, epoch_us(available_from) from page anti join catalogue using (item_id)
"""
ADD_LISTS = f"""
insert into lists select list, answered_at // {DAY}, user_id, version, scene, strategy,
                         least(json_array_length(items), {K}) from page
"""
ADD_SLOTS = f"""
insert into slots
with places as (
    select list, answered_at,
           unnest(from_json(items, '{ITEMS}'), recursive := true)
    from page),
known as (select count(*) > 0 as any_item, count(available_from) > 0 as any_date from catalogue)
select list, rank, item_id, score,
       case when catalogue.item_id is null and any_item then '{MISSING}' else category end,
       case when any_date then coalesce(answered_at < available_from + {NEW_DAYS * DAY}, false) end
from places left join catalogue using (item_id), known where rank <= {K}
"""
DAYS = """
with of_items as (select day, user_id, item_id, count(*) as n from seen group by all),
items as (select day, sum(n) as n, sum(n * n) as own from of_items group by day, item_id),
users as (select day, sum(n) as n from of_items group by day, user_id),
same as (select day, sum(n * n) - sum(own) as pairs from items group by day),
pairs as (select day, sum(n) ** 2 - sum(n * n) as pairs from users group by day)
select day, 'coverage' as figure, 'effective items' as value, pairs.pairs / same.pairs as y
from same join pairs using (day) where same.pairs > 0
"""


@contextmanager
def served(
    reader: OnlineReader, items: Sequence[pa.Table], begin: int, end: int
) -> Iterator[duckdb.DuckDBPyConnection]:
    """The relations above for the lists from one day to before another one. Raises DataError if the store is broken.

    items: tables in schema.ITEMS, the newest first; an item has the attributes of the first table that has it.
    """
    with open_engine() as engine:
        engine.execute(TABLES)
        for table in items:
            engine.register("page", items_as_of(table, datetime.fromtimestamp(end * DAY / 1e6, UTC)))
            engine.execute(ADD_ITEMS)
        for page in reader.numbered_lists(begin * DAY, end * DAY):
            engine.register("page", page)
            engine.execute(ADD_LISTS)
            engine.execute(ADD_SLOTS)
        yield engine


def days(engine: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """What the lists show on each day: day, figure (of FIGURES), value, y. Lists of all versions.

    y: the share of a value, the mean score of the first slots, or the effective number of items
    (monitoring.predictions.changes).
    """
    shares = [
        f"select day, '{figure}' as figure, value, n / sum(n) over (partition by day) as y from (select day, "
        f"{value}::varchar as value, count(*) as n from {relation} where {value} is not null group by all)"
        for figure, (relation, value) in SHARES.items()
    ]
    scores = f"select day, '{SCORE}', 'mean', avg(score) from seen where slot <= {FIRST_SLOTS} group by day"
    return engine.execute(" union all ".join([*shares, scores, f"({DAYS})"]) + " order by all").df()
