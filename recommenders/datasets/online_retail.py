"""Online Retail (UCI, Daqing Chen, 2015): invoices of a UK wholesaler, whole or one file a day."""

from pathlib import Path

import duckdb

from recommenders.datasets import csv_lines
from recommenders.datasets.catalog import DATASETS
from recommenders.datasets.spec import Counts, Tables
from recommenders.errors import DataError

COLUMNS = (
    "InvoiceNo",
    "StockCode",
    "Description",
    "Quantity",
    "InvoiceDate",
    "UnitPrice",
    "CustomerID",
    "Country",
)

# The publisher writes m/d/Y. That is believed only of a source in which some second number is past 12 and no
# first one is, for else 3/4/2011 could be April the third.
VALUES = r"""
    create view parsed as
    with slashed as (
        select regexp_extract("InvoiceDate", '^(\d{1,2})/(\d{1,2})/\d{4} ', ['first', 'second']) as day
        from lines where broken is null and contains("InvoiceDate", '/')
    ), month_first as (
        select coalesce(
            bool_or(try_cast(day.second as int) > 12) and not bool_or(try_cast(day.first as int) > 12), false
        ) as sure from slashed
    )
    select file, line, raw, broken, "InvoiceNo" as invoice, "StockCode" as code, "Description" as description,
        "Country" as country, "CustomerID" as customer_text, "InvoiceDate" as time_text,
        regexp_extract("CustomerID", '^(\d+)(\.0+)?$', 1) as customer,
        try_cast("Quantity" as double) as quantity, try_cast("UnitPrice" as double) as price,
        case when regexp_full_match("InvoiceDate", '\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?')
                 then try_cast("InvoiceDate" as timestamp)
             when sure then try_strptime("InvoiceDate", ['%m/%d/%Y %H:%M', '%m/%d/%Y %H:%M:%S']) end as time
    from lines, month_first
"""

# What a line is: a lie (quarantined), no purchase of a known buyer (set aside), or good (both null).
JUDGED = r"""
    create table judged as
    select *,
        case when broken is not null then broken
             when invoice is null then 'no invoice number'
             when code is null then 'no stock code'
             when quantity is null or not isfinite(quantity) then 'quantity is not a number'
             when quantity <> trunc(quantity) then 'quantity is not whole'
             when price is null or not isfinite(price) then 'unit price is not a number'
             when time is null and regexp_full_match(time_text, '\d{1,2}/\d{1,2}/\d{4} .*')
                 then 'date may be day or month first'
             when time is null then 'date cannot be read'
             when customer_text is not null and customer = '' then 'customer is not a whole number'
        end as lie,
        case when lie is not null then null
             when customer_text is null then 'no customer'
             when quantity <= 0 or invoice like 'C%' then 'cancellation or return'
             when not regexp_matches(code, '^\d{5}') then 'not a product'
             when price <= 0 then 'free or adjusted price'
        end as aside
    from parsed
"""

INTERACTIONS = """
    select distinct customer as user_id, code as item_id, time as timestamp, 'purchase' as event,
        1.0::float as weight, invoice as order_id, quantity, price as unit_price
    from good order by timestamp, user_id, item_id, order_id, quantity, unit_price
"""

ITEMS = """
    -- As the item was when it was first sold: what came later is not known to a model that looks from before.
    select code as item_id, first(description order by time, file, line) filter (description is not null) as title,
        title as text, first(price order by time, file, line) as price
    from good group by code order by item_id
"""

USERS = """
    select customer as user_id, first(country order by time, file, line) as region
    from good group by customer order by user_id
"""

QUARANTINE = """
    select 'online_retail' as dataset, file, line, lie as reason, raw
    from judged where lie is not null order by file, line
"""


def read(source: Path) -> Tables:
    """The source as clean tables: a file, or a folder of daily files, plain or gzipped.

    Kept is a line with a quantity and a unit price above 0, a customer, and a stock code that begins with
    five digits; exact duplicates of (customer, code, invoice, time, quantity, price) count once. The rest is
    set aside by rule or quarantined. Items and customers are as they were first seen; the source knows no
    categories. Raises DataError if a file cannot be read as a whole, or if nothing is kept.
    """
    paths = DATASETS["online_retail"].locate(source)
    with duckdb.connect() as connection:
        n_read = csv_lines.load(connection, "online_retail", "lines", paths, COLUMNS)
        if n_read == 0:
            raise DataError(f"online_retail: {source} has a header but no rows; expected invoice lines; fetch it again")
        for sql in (
            VALUES,
            JUDGED,
            "create view good as select * from judged where lie is null and aside is null",
        ):
            connection.execute(sql)
        interactions, items, users, quarantine = (
            connection.sql(sql).to_arrow_table() for sql in (INTERACTIONS, ITEMS, USERS, QUARANTINE)
        )
        set_aside = dict(
            connection.execute(
                "select aside, count(*) from judged where aside is not null group by 1 order by 1"
            ).fetchall()
        )
    kept = interactions.num_rows
    if kept == 0:
        reasons = f"{set_aside}, {quarantine.num_rows} quarantined"
        raise DataError(
            f"online_retail: none of the {n_read} rows of {source} can be kept: {reasons}; check the columns"
        )
    merged = n_read - kept - sum(set_aside.values()) - quarantine.num_rows
    counts = Counts(n_read, kept, merged=merged, set_aside=set_aside, quarantined=quarantine.num_rows)
    return Tables.of(interactions, items, users, quarantine, counts)
