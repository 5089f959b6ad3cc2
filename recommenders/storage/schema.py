"""Arrow schemas of the tables that the packages share: column names and types.

Ids are strings; times are UTC in microseconds. A column that a source does not provide is null, never an invented
value.
"""

import pyarrow as pa

from recommenders.errors import DataError

TIME = pa.timestamp("us", tz="UTC")

INTERACTIONS = pa.schema(
    [
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("timestamp", TIME, nullable=False),
        pa.field("event", pa.string(), nullable=False),  # purchase, rating, view, addtocart ...
        pa.field("weight", pa.float32(), nullable=False),  # how much one event of this kind counts
        pa.field("order_id", pa.string()),
        pa.field("quantity", pa.float64()),  # units bought
        pa.field("unit_price", pa.float64()),  # in the source's currency
        pa.field("rating", pa.float64()),  # stars given
        pa.field("returned_quantity", pa.float64()),  # returned units of this line, known from returned_at on
        pa.field("returned_at", TIME),
    ]
)

ITEMS = pa.schema(
    [
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("valid_from", TIME),  # valid from then until the item's next row; null: no start
        pa.field("title", pa.string()),
        pa.field("category", pa.string()),
        pa.field("subcategory", pa.string()),
        pa.field("brand", pa.string()),
        pa.field("price", pa.float64()),
        pa.field("rating", pa.float64()),
        pa.field("text", pa.string()),  # free text: description, tags, genres
        pa.field("available_from", TIME),
        pa.field("available_until", TIME),  # null while on sale
        pa.field("attributes", pa.string()),  # free attributes of the source: a JSON object of name -> value
        pa.field("predecessors", pa.string()),  # ids of the items that it succeeds, as a JSON list; null: none
    ]
)

USERS = pa.schema(
    [
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("segment", pa.string()),  # business type; reports show metrics for each segment
        pa.field("industry", pa.string()),
        pa.field("region", pa.string()),
        pa.field("annual_revenue", pa.float64()),
        pa.field("credit_limit", pa.float64()),
        pa.field("attributes", pa.string()),  # as those of an item
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
    """The table with exactly the columns, order and types of the schema.

    Missing columns become null where the schema allows nulls. Raises DataError if a required column is missing or
    has a null, or if a column cannot be cast. `what` names the table in messages.
    """
    columns = []
    for field in schema:
        if field.name in table.column_names:
            column = table[field.name]
            if column.null_count == len(column):  # the type of a column of nulls only depends on the reader
                column = pa.nulls(len(column))
        elif field.nullable:
            column = pa.nulls(table.num_rows, field.type)
        else:
            raise DataError(f"{what}: column {field.name!r} is missing; got {', '.join(table.column_names)}")
        try:
            column = column.cast(field.type)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise DataError(f"{what}: column {field.name!r} cannot be cast to {field.type}: {error}") from error
        if not field.nullable and column.null_count:
            raise DataError(f"{what}: column {field.name!r} has {column.null_count} nulls; none are allowed")
        columns.append(column)
    return pa.table(columns, schema=schema)
