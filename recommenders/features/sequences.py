"""What each user did last, in order, as known at a moment: what sequential models read.

The answer is a table with list columns: in Arrow a list column is one flat array and its offsets, so a model takes
`column.values` and `column.offsets` without copying, and Parquet stores it as it is.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from recommenders.errors import ConfigurationError
from recommenders.features.catalog import SEQUENCE_FEATURES, schema_of
from recommenders.features.known import MEMORY_LIMIT, Features, deliver, known, microseconds
from recommenders.storage.schema import Rows

# Rows of one moment are ordered by item: any rule would do, but it must be one.
LAST = """
    create table last as select u, i, age from log {where}
    qualify row_number() over (partition by u order by age, i desc) <= {length} order by u
"""
SEQUENCES = "create table sequences (user_id varchar, item_ids varchar[], timestamps timestamptz[])"
# Lists grow in memory and do not spill, so users come in blocks of so many rows; inserted in the order of their
# ids, they stay in it.
BLOCK = 1_000_000
SEQUENCE_SQL = """
    insert into sequences select any_value(user_id), list(item_id order by age desc, i),
        list(make_timestamptz({as_of} - age) order by age desc, i)
    from last join item_ids using (i) join user_ids using (u) where u between {first} and {last} group by u order by u
"""


def sequences(
    events: Rows,
    as_of: datetime,
    length: int = 50,
    *,
    kinds: Sequence[str] | None = None,
    out: Path | None = None,
    memory_limit: str = MEMORY_LIMIT,
) -> Features:
    """The last `length` items of each user with an event by as_of, oldest first; columns as in SEQUENCE_FEATURES.

    events: in schema.INTERACTIONS, a table or Parquet files. kinds: the values of `event` that count, by default all.
    Items of one moment stand in the order of their ids; an item may stand twice. as_of without a zone is UTC.
    Returns a table, or with `out` that file's path. Raises ConfigurationError if length is below 1.
    """
    if length < 1:
        raise ConfigurationError(f"sequences: length must be at least 1; got {length}")
    with known(as_of, events, memory_limit=memory_limit) as connection:
        where = "" if kinds is None else "where event in (select unnest($kinds::varchar[]))"
        given = None if kinds is None else {"kinds": list(kinds)}
        connection.execute(LAST.format(where=where, length=int(length)), given)
        connection.execute(SEQUENCES)
        n_users = connection.execute("select count(*) from user_ids").fetchall()[0][0]
        step = max(BLOCK // length, 1)
        for first in range(1, n_users + 1, step):  # users are numbered from 1
            block = {"as_of": microseconds(as_of), "first": first, "last": first + step - 1}
            connection.execute(SEQUENCE_SQL.format(**block))
        return deliver(connection, "from sequences", schema_of(SEQUENCE_FEATURES), out)
