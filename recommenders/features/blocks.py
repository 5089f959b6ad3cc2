"""Intermediate tables between the log and the features. Each is computed once and used by several features."""

import duckdb

from recommenders.features.as_of import DAY

BLOCKS = {
    # one row per (user, item): grouped by order, then by pair, because count(distinct order) needs more memory
    "pairs": """
        select u, i, count(*) as n_orders, sum(n)::bigint as n_events, sum(quantity) as quantity,
            min(last_age) as age, max(first_age) as first_age, max(first_age) - min(first_age) as span
        from (
            select u, i, o, count(*) as n, sum(quantity) as quantity, min(age) as last_age, max(age) as first_age
            from log group by u, i, o
        ) group by u, i
    """,
    # median gap between two orders of an item by one user; only pairs with a second order have gaps
    "reorder_gaps": f"""
        select i, median(gap) / {DAY}.0 as reorder_days from (
            select i, lag(started) over (partition by u, i order by started desc) - started as gap from (
                select u, i, o, max(age) as started
                from log semi join (select u, i from pairs where n_orders > 1) using (u, i) group by u, i, o
            )
        ) where gap is not null group by i
    """,
    # number of events of each (user, category), and the age of the last one
    "user_categories": """
        select u, c, sum(n_events)::integer as n, min(age) as age
        from pairs join item_attributes using (i) where c is not null group by u, c
    """,
    # per user: number of events with a known category, and the mean price level
    "user_profiles": """
        select u, sum(n_events) filter (c is not null) as n_with_category,
            sum(n_events * price_level) / sum(n_events) filter (price_level is not null) as price_level
        from pairs join item_attributes using (i) group by u
    """,
    # one row per order
    "orders": """
        select u, o, max(age) as started, sum(value) as value from log group by u, o
    """,
}


def build(connection: duckdb.DuckDBPyConnection, *names: str) -> None:
    """Creates the named tables in this order, from `log` and `item_attributes` (recommenders.features.as_of)."""
    for name in names:
        connection.execute(f"create table {name} as {BLOCKS[name]}")
