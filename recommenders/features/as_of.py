"""The data known at a time, as_of, as tables in DuckDB. All features are computed from these tables.

`log` holds the events up to as_of, with their ages instead of their times, so no later statement can use later events.
`item_attributes` holds the items as of that time. A catalogue without dates does not state when an item was added, so
an undated item is known from its first event on. Otherwise later items would affect the ranks of earlier ones. Ids
are numbered in their order, and so are categories (c) and brands (b): joins on numbers need half the memory.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from recommenders.datasets.reading.relations import SQL_TYPES, show
from recommenders.errors import ConfigurationError, DataError
from recommenders.storage import schema
from recommenders.storage.files import atomic_file
from recommenders.storage.schema import Rows

# The result of a feature function: a pa.Table, or the Path of the file if `out` is given. pyarrow has no type stubs.
Features = Any

DAY = 86_400_000_000  # microseconds
MEMORY_LIMIT = "2GB"

# An order has the source's order id, or is one visit (a user at one time) if there is none; it belongs to one user.
# It is represented by a 64-bit hash: two orders of a user collide with a probability below 1e-12.
# DuckDB 1.5.6 may pick another row than the newest if an order-by key is null, so null is replaced by a number.
STAGES = (
    """create temp view seen as select * exclude (returned_quantity, returned_at),
        $as_of - epoch_us(timestamp) as age,
        quantity - coalesce(if(epoch_us(returned_at) <= $as_of, returned_quantity, 0), 0) as net_quantity
    from events where epoch_us(timestamp) <= $as_of""",
    """create temp view current_items as select * from items
    where valid_from is null or epoch_us(valid_from) <= $as_of
    qualify row_number() over (partition by item_id order by coalesce(epoch_us(valid_from), $never) desc) = 1""",
    """create table user_ids as
    select user_id, (row_number() over (order by user_id))::integer as u from (select distinct user_id from seen)""",
    """create table item_ids as select item_id, (row_number() over (order by item_id))::integer as i
    from (select item_id from seen union
        select item_id from current_items where valid_from is not null or epoch_us(available_from) <= $as_of)""",
    """create table log as select u, i, age, event, hash(coalesce(order_id, age::varchar), order_id is null) as o,
        net_quantity as quantity, net_quantity * unit_price as value, unit_price as price
    from seen join user_ids using (user_id) join item_ids using (item_id)""",
    """create table item_attributes as with listed as (
        select i, current_items.*, ($as_of - epoch_us(available_from)) / $day as launch_days,
            first_age / $day as first_days
        from item_ids left join current_items using (item_id) left join
            (select i, max(age) as first_age from log group by i) using (i)
        where available_from is null or launch_days >= 0 or first_days is not null
    ), priced as (
        select i, if(count(*) over category = 1, 0.5, percent_rank() over (category order by price)) as price_level
        from listed where price is not null window category as (partition by category)
    )
    select listed.*, price_level, if(category is null, null, dense_rank() over (order by category))::integer as c,
        if(brand is null, null, dense_rank() over (order by brand))::integer as b
    from listed left join priced using (i)""",
)


@contextmanager
def tables_as_of(
    as_of: datetime, events: Rows, items: Rows | None = None, memory_limit: str = MEMORY_LIMIT
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Opens a temporary DuckDB with the tables user_ids, item_ids, log and item_attributes as of a time.

    events, items: in schema.INTERACTIONS and schema.ITEMS, each a table or Parquet files; columns that may be null
    may be missing. as_of without a zone is UTC. Data beyond memory_limit goes to a temporary folder.
    Raises DataError if a column is missing or does not cast, ConfigurationError if memory_limit is too small.
    """
    with tempfile.TemporaryDirectory(prefix="tradewind-features-") as folder:
        config: dict[str, Any] = {"memory_limit": memory_limit, "threads": 2, "temp_directory": folder}
        # a file is compressed and can be spilled, but for a small table it takes longer than the features
        place = ":memory:" if isinstance(events, pa.Table) else str(Path(folder, "scratch.duckdb"))
        with _translated_errors(memory_limit), duckdb.connect(place, config=config) as connection:
            connection.execute("set TimeZone = 'UTC'")
            show(connection, "events", events, schema.INTERACTIONS)
            show(connection, "items", schema.ITEMS.empty_table() if items is None else items, schema.ITEMS)
            connection.execute(
                "set preserve_insertion_order = false"
            )  # these tables need no order, and this is twice as fast
            for statement in STAGES:
                connection.execute(_filled(statement, as_of))
            connection.execute("set preserve_insertion_order = true")
            yield connection


def deliver(connection: duckdb.DuckDBPyConnection, query: str, table_schema: pa.Schema, out: Path | None) -> Features:
    """The query's rows as a table in the schema; with `out` writes them to that Parquet file and returns its path."""
    columns = ", ".join(f"{f.name}::{_sql_type(f.type)} as {f.name}" for f in table_schema)
    query = f"select {columns} from ({query})"
    if out is None:
        return connection.execute(query).to_arrow_table().cast(table_schema)
    with atomic_file(out) as staging:
        path = str(staging).replace("'", "''")
        connection.execute(f"copy ({query}) to '{path}' (format parquet, compression zstd)")
    return out


def _sql_type(type_: pa.DataType) -> str:
    return f"{SQL_TYPES[type_.value_type]}[]" if pa.types.is_list(type_) else SQL_TYPES[type_]


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970, UTC; a time without a zone is UTC."""
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _filled(statement: str, as_of: datetime) -> str:
    # views accept no parameters; the values are integers from this module
    return (
        statement.replace("$as_of", str(microseconds(as_of)))
        .replace("$day", f"{DAY}.0")
        .replace("$never", str(-(2**63) + 1))
    )


@contextmanager
def _translated_errors(memory_limit: str) -> Iterator[None]:
    """Raises DuckDB's errors as errors of this project."""
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        what = str(error).splitlines()[0]
        raise ConfigurationError(f"features: memory_limit {memory_limit!r} is too small: {what}; raise it") from error
    except duckdb.ConversionException as error:
        raise DataError(f"features: {str(error).splitlines()[0]}; fix that column of the source") from error
