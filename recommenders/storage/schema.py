"""Names and types of the tables that pass between rooms, each an Arrow schema.

Ids are strings inside; times are UTC in microseconds. A column that a source does not know is null, never a made-up
value.
"""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from recommenders.errors import DataError

Rows = pa.Table | Sequence[Path]  # a table in memory, or the Parquet files that hold it
TIME = pa.timestamp("us", tz="UTC")

INTERACTIONS = pa.schema(
    [
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("timestamp", TIME, nullable=False),
        pa.field("event", pa.string(), nullable=False),  # purchase, rating, view, addtocart ...
        pa.field("weight", pa.float32(), nullable=False),  # how much one such event counts
        pa.field("order_id", pa.string()),
        pa.field("quantity", pa.float64()),  # units bought
        pa.field("unit_price", pa.float64()),  # in the source's currency
        pa.field("rating", pa.float64()),  # stars given
        pa.field("returned_quantity", pa.float64()),  # units of this line that came back, known from returned_at on
        pa.field("returned_at", TIME),
    ]
)

ITEMS = pa.schema(
    [
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("valid_from", TIME),  # the row holds from then on, until the item's next one; null: since ever
        pa.field("title", pa.string()),
        pa.field("category", pa.string()),
        pa.field("subcategory", pa.string()),
        pa.field("brand", pa.string()),
        pa.field("price", pa.float64()),
        pa.field("rating", pa.float64()),
        pa.field("text", pa.string()),  # free words: description, tags, genres
        pa.field("available_from", TIME),
        pa.field("available_until", TIME),  # null while on sale
    ]
)

USERS = pa.schema(
    [
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("segment", pa.string()),  # business type; the slice reports use
        pa.field("industry", pa.string()),
        pa.field("region", pa.string()),
        pa.field("annual_revenue", pa.float64()),
        pa.field("credit_limit", pa.float64()),
    ]
)

QUARANTINE = pa.schema(
    [
        pa.field("dataset", pa.string(), nullable=False),
        pa.field("file", pa.string(), nullable=False),
        pa.field("line", pa.int64()),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("raw", pa.string()),
    ]
)


def conform(table: pa.Table, schema: pa.Schema, what: str) -> pa.Table:
    """The table with exactly the schema's columns, in its order and types.

    Columns the table lacks become null where that is allowed. Raises DataError if a required column is
    missing or holds a null, or if a type does not cast.
    """
    columns = []
    for field in schema:
        if field.name in table.column_names:
            column = table[field.name]
            if column.null_count == len(column):  # readers give a column of nulls alone any type they like
                column = pa.nulls(len(column))
        elif field.nullable:
            column = pa.nulls(table.num_rows, field.type)
        else:
            raise DataError(f"{what}: column {field.name!r} is missing; got {', '.join(table.column_names)}")
        try:
            column = column.cast(field.type)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise DataError(f"{what}: column {field.name!r} does not cast to {field.type}: {error}") from error
        if not field.nullable and column.null_count:
            raise DataError(f"{what}: column {field.name!r} holds {column.null_count} nulls; none are allowed")
        columns.append(column)
    return pa.table(columns, schema=schema)
