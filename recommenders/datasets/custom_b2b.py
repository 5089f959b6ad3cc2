"""The B2B marketplace's three Parquet files as clean tables: those of recommenders.datasets.b2b, or of an
export.
"""

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from recommenders.datasets.spec import Counts, Tables
from recommenders.errors import DataError

REQUIRED = {
    "buyers.parquet": ("buyer_id", "business_type", "industry", "region", "annual_revenue", "credit_limit"),
    "products.parquet": (
        *("product_id", "name", "description", "category", "subcategory", "brand", "price", "rating"),
        *("launched_at", "ended_at"),
    ),
    "order_lines.parquet": ("order_id", "buyer_id", "product_id", "ordered_at", "quantity", "unit_price"),
}

# An attribute row without an id, or with one that came before, cannot be told from the others.
ATTRIBUTES = """
    create table {table} as
    select *,
        case when {key} is null then 'no {key}'
             when row_number() over (partition by {key} order by file_row_number) > 1
                 then '{key} occurs twice'
        end as reason
    from read_parquet($path, file_row_number = true)
"""

LINES = """
    create table order_lines as
    select l.*, case when l.order_id is null then 'no order_id'
                     when l.buyer_id is null then 'no buyer_id'
                     when l.product_id is null then 'no product_id'
                     when l.ordered_at is null then 'no ordered_at'
                     when b.buyer_id is null then 'unknown buyer_id'
                     when p.product_id is null then 'unknown product_id'
                     when l.quantity is null or not (l.quantity > 0 and isfinite(l.quantity::double))
                         then 'quantity is not above 0'
                     when l.unit_price is null or not (l.unit_price > 0 and isfinite(l.unit_price::double))
                         then 'unit_price is not above 0'
                end as reason
    from read_parquet($path, file_row_number = true) l
    left join (select buyer_id::varchar as buyer_id from buyers where reason is null) b
        on b.buyer_id = l.buyer_id::varchar
    left join (select product_id::varchar as product_id from products where reason is null) p
        on p.product_id = l.product_id::varchar
"""

INTERACTIONS = """
    select distinct buyer_id::varchar as user_id, product_id::varchar as item_id, ordered_at as timestamp,
        'purchase' as event, 1.0::float as weight, order_id::varchar as order_id,
        quantity::double as quantity, unit_price::double as unit_price
    from order_lines where reason is null
    order by timestamp, user_id, item_id, order_id, quantity, unit_price
"""

ITEMS = """
    select product_id::varchar as item_id, name as title, category, subcategory, brand, price, rating,
        description as text, launched_at as available_from, ended_at as available_until
    from products where reason is null order by item_id
"""

USERS = """
    select buyer_id::varchar as user_id, business_type as segment, industry, region, annual_revenue,
        credit_limit
    from buyers where reason is null order by user_id
"""

QUARANTINE = " union all ".join(
    f"select 'custom_b2b' as dataset, '{table}.parquet' as file, file_row_number + 1 as line, reason,"
    f" to_json({table})::varchar as raw from {table} where reason is not null"
    for table in ("buyers", "products", "order_lines")
)


def read(source: Path) -> Tables:
    """The folder's tables. A line counts once; rows that cannot be true are quarantined, `line` being the row
    from 1.

    Counts are of order lines, plus the attribute rows that had to be quarantined. Raises DataError, in one
    line, if a file is missing, is no Parquet file, lacks a column, or holds no rows.
    """
    folder = source if source.is_dir() else source.parent
    for name, columns in REQUIRED.items():
        _check(folder / name, columns)
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        try:
            for table, key in (("buyers", "buyer_id"), ("products", "product_id")):
                path = str(folder / f"{table}.parquet")
                connection.execute(ATTRIBUTES.format(table=table, key=key), {"path": path})
            connection.execute(LINES, {"path": str(folder / "order_lines.parquet")})
            return _tables(connection)
        except duckdb.Error as error:
            first_line = str(error).splitlines()[0]
            raise DataError(f"custom_b2b: {folder} cannot be read: {first_line}; export it again") from error


def _tables(connection: duckdb.DuckDBPyConnection) -> Tables:
    def select(sql: str) -> pa.Table:
        return connection.sql(sql).to_arrow_table()

    interactions, quarantine = select(INTERACTIONS), select(QUARANTINE + " order by file, line")
    n_lines, n_good, n_bad_attributes = connection.execute(
        "select count(*), count(*) filter (reason is null),"
        " (select count(*) from buyers where reason is not null)"
        " + (select count(*) from products where reason is not null) from order_lines"
    ).fetchall()[0]
    counts = Counts(
        read=n_lines + n_bad_attributes,
        kept=interactions.num_rows,
        merged=n_good - interactions.num_rows,
        quarantined=quarantine.num_rows,
    )
    return Tables.of(interactions, select(ITEMS), select(USERS), quarantine, counts)


def _check(path: Path, columns: tuple[str, ...]) -> None:
    if not path.is_file():
        raise DataError(f"custom_b2b: {path} is missing; expected {', '.join(REQUIRED)} in one folder")
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        first_line = str(error).splitlines()[0]
        raise DataError(f"custom_b2b: {path} is not a Parquet file: {first_line}; export it again") from error
    with file:
        missing = [name for name in columns if name not in file.schema_arrow.names]
        if missing:
            got = ", ".join(file.schema_arrow.names)
            raise DataError(f"custom_b2b: {path} lacks {', '.join(missing)}; got {got}; rename or add the columns")
        if file.metadata.num_rows == 0:
            raise DataError(f"custom_b2b: {path} holds no rows; expected at least one; export it again")
