"""Writes synthetic logs in the file layouts of their publishers, at any size, as a stream.

Each random number is the hash of a row number and a salt, so the same call writes the same rows on every machine. All
values pass the rules of the parsers, and no row occurs twice. Tests write small files, benchmarks/ingest.py large ones.
"""

import gzip
import shutil
from pathlib import Path

import duckdb

CSV = "format csv, header true"
WORDS = "['tape','light','soft','blue','great','the','and','very','works','as','box','it','was','not','good','price']"
TEXTS = f"""
    with texts as materialized (
        select t as text_number, array_to_string(words, ' ') as body, array_to_string(words[1:3], ' ') as summary
        from (select t, [{WORDS}[1 + ((hash(t, w) >> 40) % 16)::int] || (hash(t, w) >> 30) % 99
                         for w in range(5 + (hash(t) % 70)::bigint)] as words
              from range(4096) as places(t)))
"""


def movielens(folder: Path, n_ratings: int) -> Path:
    """ratings.csv, movies.csv and tags.csv in the shape of ml-25m: one user per 154 ratings, one movie per 424."""
    movies = max(n_ratings // 424, 50)
    ratings = f"""
        select 1 + n // 154 as "userId", 1 + ((n % 154) * 7919 + n // 154) % greatest({movies}, 200) as "movieId",
            (1 + hash(n, 1) % 10) / 2.0 as rating, 1000000000 + hash(n, 2) % 500000000 as timestamp
        from range({n_ratings}) as places(n)
    """
    titles = f"""
        select n as "movieId", 'Film, No. ' || n || ' (' || 1950 + n % 70 || ')' as title,
            ['Drama', 'Comedy|Romance', 'Action|Sci-Fi', '(no genres listed)'][1 + n % 4] as genres
        from range(1, greatest({movies}, 200) + 1) as places(n)
    """
    tags = f"""
        select 1 + n as "userId", 1 + n % greatest({movies}, 200) as "movieId", 'tag ' || hash(n, 3) % 500 as tag,
            1000000000 + hash(n, 4) % 500000000 as timestamp
        from range({max(n_ratings // 25, 10)}) as places(n)
    """
    return _write(folder, {"ratings.csv": ratings, "movies.csv": titles, "tags.csv": tags}, CSV)


def retailrocket(folder: Path, n_events: int, n_properties: int) -> Path:
    """events.csv, item_properties_part1.csv and part2, category_tree.csv; 18 weekly snapshots of the properties."""
    items, start = max(n_properties // 50, 100), 1_430_600_000_000
    offset_ms = "(hash(n, 1) % 11800000000)"
    events = f"""
        select {start} + {offset_ms} as timestamp, n // 2 as visitorid,
            case when n % 100 < 96 then 'view' when n % 100 < 99 then 'addtocart' else 'transaction' end as event,
            hash(n, 2) % {items} as itemid, if(n % 100 = 99, n // 100, null) as transactionid
        from range({n_events}) as places(n)
    """
    # 48 properties per item; category, availability and the price-like 790 have several values over time
    value = """
        case when property = 'categoryid' then (1 + item % 1600)::varchar
             when property = 'available' then (hash(item, week) % 2)::varchar
             when property = '790' then 'n' || hash(item, week) % 90000 || '.000'
             when property in ('283', '888') then array_to_string(
                [(hash(item, property, w, week // 9) % 200000)::varchar for w in range(12)], ' ') || ' n12.000'
             else (hash(item, property) % 400000)::varchar end
    """
    properties = f"""
        select {start} + 600000000 + week * 604800000 as timestamp, item as itemid, property, {value} as value
        from (select n % {items} as item, hash(n // {items}) % 18 as week,
                [{PROPERTIES}][1 + (n // {items}) % 50] as property
              from range({{}}, {{}}) as places(n))
    """
    half = n_properties // 2
    tables = {
        "events.csv": events,
        "item_properties_part1.csv": properties.format(0, half),
        "item_properties_part2.csv": properties.format(half, n_properties),
        "category_tree.csv": "select n as categoryid, nullif(n // 8, 0) as parentid from range(1, 1670) as places(n)",
    }
    return _write(folder, tables, CSV)


PROPERTIES = ", ".join(
    f"'{name}'" for name in ("categoryid", "available", "790", "283", "888", "available", *range(1000, 1044))
)


def amazon(folder: Path, n_reviews: int) -> Path:
    """Reviews and metadata of one category as JSON lines, gzipped, in the layout of 2018."""
    users, items = max(n_reviews // 8, 50), max(n_reviews // 60, 50)
    asin = f"'B' || lpad((hash(n, 2) % {items})::varchar, 9, '0')"
    reviews = f"""
        {TEXTS}
        select (1 + hash(n, 1) % 5)::double as overall, n % 3 > 0 as verified, '09 4, 2015' as "reviewTime",
            'A' || lpad((n % {users})::varchar, 12, '0') as "reviewerID", {asin} as asin,
            {{'Size:': ' Big ' || n % 9, 'Color:': ' Blue'}} as style, 'Name ' || n % 999 as "reviewerName",
            body as "reviewText", summary, 1000000000 + (hash(n, 4) % 500000)::bigint * 1000 as "unixReviewTime"
        from range({n_reviews}) as places(n) join texts on hash(n, 3) % 4096 = text_number
    """
    metadata = f"""
        {TEXTS}
        select ['Beauty', 'Hair', 'Kind ' || n % 40] as category, [body] as description,
            'Product "' || n || '"' as title, 'Brand ' || n % 300 as brand, ['B000000001', 'B000000002'] as also_buy,
            '$' || (1 + hash(n, 5) % 99) || '.99' as price, 'B' || lpad(n::varchar, 9, '0') as asin
        from range({items}) as places(n) join texts on hash(n, 3) % 4096 = text_number
    """
    for path in _write(folder, {"Made_Up_5.json": reviews, "meta_Made_Up.json": metadata}, "format json").iterdir():
        with path.open("rb") as plain, gzip.open(path.with_name(f"{path.name}.gz"), "wb", compresslevel=1) as packed:
            shutil.copyfileobj(plain, packed, 1 << 20)
        path.unlink()
    return folder


def online_retail(folder: Path, n_lines: int) -> Path:
    """online_retail.csv in the publisher's columns: five lines per invoice."""
    lines = f"""
        select (536365 + n // 5)::varchar as "InvoiceNo", (10000 + hash(n, 1) % 3600)::varchar || 'A' as "StockCode",
            'THING NO ' || hash(n, 1) % 3600 as "Description", 1 + hash(n, 2) % 40 as "Quantity",
            strftime(timestamp '2010-12-01 08:00:00' + to_minutes(((n // 5) % 500000)::int), '%Y-%m-%d %H:%M:%S')
                as "InvoiceDate",
            (1 + hash(n, 3) % 999) / 100.0 as "UnitPrice", 12000 + (n // 5) % 4300 as "CustomerID",
            'United Kingdom' as "Country"
        from range({n_lines}) as places(n)
        qualify row_number() over (partition by "InvoiceNo", "StockCode", "Quantity", "UnitPrice") = 1 order by n
    """
    return _write(folder, {"online_retail.csv": lines}, CSV)


def custom_b2b(folder: Path, n_lines: int) -> Path:
    """buyers.parquet, products.parquet and order_lines.parquet."""
    buyers = """
        select 'b' || n as buyer_id, 'retailer' as business_type, 'retail' as industry, 'north' as region,
            1000.0 + n as annual_revenue, 100.0 as credit_limit
        from range(1, 2001) as places(n)
    """
    products = """
        select 'p' || n as product_id, 'Product ' || n as name, 'sticky and strong' as description,
            'packaging' as category, 'tape' as subcategory, 'Elm' as brand, 1.0 + n % 90 as price, 4.0 as rating,
            timestamptz '2023-01-01 00:00:00+00' as launched_at, null::timestamptz as ended_at
        from range(1, 5001) as places(n)
    """
    lines = f"""
        select 'o' || n // 5 as order_id, 'b' || 1 + (n // 5) % 2000 as buyer_id,
            'p' || 1 + (n % 5) * 1000 + hash(n, 1) % 1000 as product_id,
            timestamptz '2024-01-01 00:00:00+00' + to_minutes((n // 5)::int % 900000) as ordered_at,
            (1 + hash(n, 2) % 40)::double as quantity, (1 + hash(n, 3) % 900) / 100.0 as unit_price
        from range({n_lines}) as places(n)
    """
    tables = {"buyers.parquet": buyers, "products.parquet": products, "order_lines.parquet": lines}
    return _write(folder, tables, "format parquet")


def _write(folder: Path, tables: dict[str, str], options: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        for name, sql in tables.items():
            connection.execute(f"copy ({sql}) to '{folder / name}' ({options})")
    return folder
