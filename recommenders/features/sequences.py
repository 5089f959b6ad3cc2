"""The last events of each user in time order, as of a time: the input of sequential models.

The result is a table with list columns. In Arrow a list column is one flat array and its offsets, so a model can use
`column.values` and `column.offsets` without a copy. Parquet stores list columns directly.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from recommenders.errors import ConfigurationError
from recommenders.features.as_of import MEMORY_LIMIT, Features, deliver, microseconds, tables_as_of
from recommenders.features.catalog import SEQUENCE_FEATURES, schema_of
from recommenders.storage.schema import Rows

# Rows with the same time are ordered by item, so that the result is deterministic.
LAST = """
    create table last as select u, i, age from log {where}
    qualify row_number() over (partition by u order by age, i desc) <= {length} order by u
"""
SEQUENCES = "create table sequences (user_id varchar, item_ids varchar[], timestamps timestamptz[])"
# Lists are built in memory and do not spill, so users are processed in blocks of so many rows, in the order of their
# ids, which the result keeps.
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

    events: in schema.INTERACTIONS, a table or Parquet files. kinds: the values of `event` to use, by default all.
    Items with the same time are in the order of their ids; an item may occur twice. as_of without a zone is UTC.
    Returns a table, or with `out` that file's path. Raises ConfigurationError if length is below 1.
    """
    if length < 1:
        raise ConfigurationError(f"sequences: length must be at least 1; got {length}")
    with tables_as_of(as_of, events, memory_limit=memory_limit) as connection:
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
