"""Tables between the log and the features, each made once and used by several: habits, tastes, orders."""

import duckdb

from recommenders.features.known import DAY

BLOCKS = {
    # one row a (user, item): first to order, then to pair, because counting distinct orders needs more memory
    "pairs": """
        select u, i, count(*) as n_orders, sum(n)::bigint as n_events, sum(quantity) as quantity,
            min(last_age) as age, max(first_age) as first_age, max(first_age) - min(first_age) as span
        from (
            select u, i, o, count(*) as n, sum(quantity) as quantity, min(age) as last_age, max(age) as first_age
            from log group by u, i, o
        ) group by u, i
    """,
    # an item's median gap between two orders of it by one user; only pairs with a second order have any
    "rhythm": f"""
        select i, median(gap) / {DAY}.0 as reorder_days from (
            select i, lag(started) over (partition by u, i order by started desc) - started as gap from (
                select u, i, o, max(age) as started
                from log semi join (select u, i from pairs where n_orders > 1) using (u, i) group by u, i, o
            )
        ) where gap is not null group by i
    """,
    # events of a (user, category), and the age of the last
    "tastes": """
        select u, c, sum(n_events)::integer as n, min(age) as age
        from pairs join facts using (i) where c is not null group by u, c
    """,
    # events of a (user, brand)
    "loyalties": """
        select u, b, sum(n_events)::integer as n from pairs join facts using (i) where b is not null group by u, b
    """,
    # a user's events with known category, with known brand, and the price level it is used to
    "habits": """
        select u, sum(n_events) filter (c is not null) as n_tasted, sum(n_events) filter (b is not null) as n_branded,
            sum(n_events * price_level) / sum(n_events) filter (price_level is not null) as price_level
        from pairs join facts using (i) group by u
    """,
    # one row an order
    "orders": """
        select u, o, max(age) as started, sum(value) as value from log group by u, o
    """,
}


def build(connection: duckdb.DuckDBPyConnection, *names: str) -> None:
    """Makes the named blocks, in the order given, beside `log` and `facts` (recommenders.features.known)."""
    for name in names:
        connection.execute(f"create table {name} as {BLOCKS[name]}")
