"""Items with attributes that change over time: selects the state of each item at a given time."""

import json
from datetime import UTC, datetime

import duckdb
import pyarrow as pa

from recommenders.storage import schema

# DuckDB 1.5.6 may not pick the newest row if the sort key is null, so a missing valid_from becomes a number here.
VALID = """
    select * from items where valid_from is null or valid_from <= $as_of
    qualify row_number() over (
        partition by item_id order by coalesce(epoch_us(valid_from), -9223372036854775807) desc) = 1
    order by item_id
"""


def items_as_of(items: pa.Table, as_of: datetime) -> pa.Table:
    """One row per item, in schema.ITEMS: its newest state at `as_of`. Items without a state by then are left out.

    A state without valid_from is the oldest one of its item. as_of without a zone is UTC.
    """
    time = as_of.replace(tzinfo=UTC) if as_of.tzinfo is None else as_of
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.register("items", items)
        return schema.conform(connection.execute(VALID, {"as_of": time}).to_arrow_table(), schema.ITEMS, "items")


def aliases(items: pa.Table) -> dict[str, str]:
    """Id of an item that another one succeeds -> id of the other one. items: in schema.ITEMS, or without the column."""
    if "predecessors" not in items.column_names:
        return {}
    pairs = zip(items["item_id"].to_pylist(), items["predecessors"].to_pylist(), strict=True)
    return {old: item_id for item_id, listed in pairs if listed for old in json.loads(listed)}
