"""Parser of Online Retail (UCI, Daqing Chen, 2015): invoices of a UK wholesaler, in one file or one file a day; CSV or
the publisher's workbook.
"""

from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from recommenders.datasets.reading.ingest import Plan
from recommenders.datasets.reading.source_reading import Reading

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

# The publisher writes m/d/Y. This is assumed only if second numbers are above 12 twenty times as often as first
# numbers (a few rows may be broken). Otherwise 3/4/2011 could also be 3 April.
MONTH_FIRST = r"""
    with slashed as (
        select regexp_extract("InvoiceDate", '^(\d{1,2})/(\d{1,2})/\d{4} ', ['first', 'second']) as day
        from lines where broken is null and contains("InvoiceDate", '/')
    )
    select count(*) filter (try_cast(day.second as int) > 12)
        > 20 * count(*) filter (try_cast(day.first as int) > 12) from slashed
"""

VALUES = r"""
    file, line, raw, broken, "InvoiceNo" as invoice, "StockCode" as code, "Description" as description,
    "Country" as country, "CustomerID" as customer_text, "InvoiceDate" as time_text,
    regexp_extract("CustomerID", '^(\d+)(\.0+)?$', 1) as customer,
    try_cast("Quantity" as double) as quantity, try_cast("UnitPrice" as double) as price,
    case when regexp_full_match("InvoiceDate", '\d{{4}}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?')
             then try_cast("InvoiceDate" as timestamp)
         when {month_first} then try_strptime("InvoiceDate", ['%m/%d/%Y %H:%M', '%m/%d/%Y %H:%M:%S']) end as time,
    coalesce(try_cast("Quantity" as double) < 0 or "InvoiceNo" like 'C%', false) as is_return
"""

REJECT_RULES = {
    "no invoice number": "invoice is null",
    "no stock code": "code is null",
    "quantity is not a number": "quantity is null or not isfinite(quantity)",
    "quantity is not a whole number": "quantity <> trunc(quantity)",
    "quantity is above a million": "abs(quantity) > 1000000",
    "unit price is not a number": "price is null or not isfinite(price)",
    "unit price is above a million": "abs(price) > 1000000",
    "day and month are ambiguous": r"time is null and regexp_full_match(time_text, '\d{1,2}/\d{1,2}/\d{4} .*')",
    "date cannot be read": "time is null",
    "date is before 1990": "time < timestamp '1990-01-01'",
    "date is in the future": "time > (now() at time zone 'UTC') + interval 1 day",
    "customer is not a whole number": "customer_text is not null and customer = ''",
}

EXCLUDE_RULES = {
    "no customer": "customer_text is null",
    "not a product": r"not regexp_matches(code, '^\d{5}')",
    "no quantity": "quantity = 0",
    "free or adjusted price": "price <= 0",
}

INTERACTIONS = """
    select customer as user_id, code as item_id, time at time zone 'UTC' as timestamp, 'purchase' as event,
        1.0 as weight, invoice as order_id, quantity, price as unit_price, returned_quantity,
        returned_at at time zone 'UTC' as returned_at
    from purchases left join returned on returned.purchase = purchases.number
"""

# Attributes as of an item's first sale: a model must not use values that became known later.
ITEMS = """
    select code as item_id, first(description order by time, file, line) filter (description is not null) as title,
        title as text, first(price order by time, file, line) as price
    from good_lines where not is_return group by code order by item_id
"""

USERS = """
    select customer as user_id, first(country order by time, file, line) as region
    from good_lines where not is_return group by customer order by user_id
"""


def parse(reading: Reading, source: Path) -> Plan:
    """Keeps lines with a quantity and a unit price above 0, a customer, and a stock code that begins with five digits;
    exact duplicates of (customer, code, invoice, time, quantity, price) count once.

    A cancellation is netted against the latest earlier purchases of the same customer and code: these keep their
    quantity and get the returned units and the time of the return. A cancellation without such a purchase is excluded.
    Items and users have the attributes of their first line; the source has no categories. Raises DataError if a file
    cannot be read completely.
    """
    reading.csv("lines", _files(reading, source), dict.fromkeys(COLUMNS, "VARCHAR"))
    reading.read_by_line("lines")  # the tables below are derived from the good lines, which must not change later
    month_first = str(bool(reading.one(MONTH_FIRST))).lower()
    reading.apply_rules("lines", REJECT_RULES, EXCLUDE_RULES, select=VALUES.format(month_first=month_first))
    distinct = "select distinct customer, code, invoice, time, quantity, price from good_lines where"
    reading.run(
        f"create table purchases as select row_number() over (order by {ORDER}) as number, *"
        f" from ({distinct} not is_return)"
    )
    reading.run(f"create table returns as {distinct} is_return")
    n_netted, n_unmatched = _net(reading)
    counted = "(select count(*) from good_lines) - (select count(*) from purchases) - (select count(*) from returns)"
    merged = int(reading.one(f"select {counted}"))
    excluded = {"cancellation without its purchase": n_unmatched} if n_unmatched else {}
    return Plan(
        INTERACTIONS, ITEMS, USERS, events=("lines",), one_each=False, merged=merged, netted=n_netted, excluded=excluded
    )


def _files(reading: Reading, source: Path) -> list[Path]:
    """The CSV files; a workbook is converted to CSV first."""
    from recommenders.datasets.all_datasets import DATASETS
    from recommenders.datasets.reading.workbook import to_csv

    found = DATASETS["online_retail"].locate(source)
    return [to_csv(p, reading.work / f"{p.stem}.csv", COLUMNS) if p.suffix == ".xlsx" else p for p in found]


ORDER = "time, customer, code, invoice, quantity, price"


def _net(reading: Reading) -> tuple[int, int]:
    """Creates `returned` (purchase, returned_quantity, returned_at).

    Returns (netted returns, returns without a purchase). A return takes the latest units that were bought before it
    and not returned yet. If several returns take units of one purchase, the time of the last one counts for all, so
    that nothing is known too early.
    """
    stock: dict[tuple[str, str], list[list[Any]]] = defaultdict(list)
    for customer, code, number, time, quantity in reading.run(
        "select customer, code, number, time, quantity from purchases semi join returns using (customer, code)"
        " order by time, number"
    ):
        stock[customer, code].append([number, time, quantity])
    taken: dict[int, tuple[float, Any]] = {}
    n_netted = n_unmatched = 0
    for customer, code, time, quantity in reading.run(
        "select customer, code, time, -quantity from returns order by time, invoice, quantity"
    ):
        found = _take(stock[customer, code], quantity, time, taken)
        n_netted, n_unmatched = n_netted + found, n_unmatched + (not found)
    columns = {
        "purchase": pa.array(taken.keys(), pa.int64()),
        "returned_quantity": pa.array([units for units, _ in taken.values()], pa.float64()),
        "returned_at": pa.array([time for _, time in taken.values()], pa.timestamp("us")),
    }
    reading.connection.register("returned", pa.table(columns))
    return n_netted, n_unmatched


def _take(lots: list[list[Any]], quantity: float, time: Any, taken: dict[int, tuple[float, Any]]) -> bool:
    """Takes the quantity from the latest lots bought until `time`; returns whether any units were found."""
    wanted = quantity
    for lot in reversed(lots):
        number, bought, left = lot
        if bought > time or not left:
            continue
        units = min(left, wanted)
        lot[2], wanted = left - units, wanted - units
        taken[number] = (taken.get(number, (0.0, None))[0] + units, time)
        if not wanted:
            break
    return wanted < quantity
