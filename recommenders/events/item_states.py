"""Items whose attributes change: one row a state, and the state at a moment."""

from datetime import UTC, datetime

import duckdb
import pyarrow as pa

from recommenders.storage import schema

# DuckDB 1.5.6 may pick another row than the newest where a key to order by is null: since ever is a number here.
VALID = """
    select * from items where valid_from is null or valid_from <= $as_of
    qualify row_number() over (
        partition by item_id order by coalesce(epoch_us(valid_from), -9223372036854775807) desc) = 1
    order by item_id
"""


def items_as_of(items: pa.Table, as_of: datetime) -> pa.Table:
    """One row an item, in schema.ITEMS: its newest state at `as_of`; items that had none by then are left out.

    A state without valid_from holds since ever. as_of without a zone is UTC.
    """
    moment = as_of.replace(tzinfo=UTC) if as_of.tzinfo is None else as_of
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.register("items", items)
        return schema.conform(connection.execute(VALID, {"as_of": moment}).to_arrow_table(), schema.ITEMS, "items")
