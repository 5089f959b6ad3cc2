"""Features of items and users as known at a moment: tables for people, drift reports and rankers."""

from datetime import UTC, datetime

import duckdb
import pyarrow as pa

from recommenders import schema
from recommenders.features.catalog import ITEM_FEATURES, USER_FEATURES, schema_of

# An order is the source's, or what a user did at one moment where the source knows no orders.
ORDER = "coalesce(order_id, user_id || '@' || timestamp::varchar)"
DAYS = "epoch($as_of::timestamp - {}) / 86400.0"

ITEM_SQL = f"""
    with seen as (select * from events where timestamp <= $as_of::timestamp),
    bought as (
        select item_id, min(timestamp) as first_event, count(distinct user_id) as n_buyers,
            count(distinct {ORDER}) as n_orders,
            count(*) filter (timestamp > $as_of::timestamp - interval 30 day) as n_recent,
            count(*) filter (timestamp > $as_of::timestamp - interval 60 day) - n_recent as n_before,
            count(distinct user_id) filter (timestamp > $as_of::timestamp - interval 30 day) as popularity_30d
        from seen group by item_id
    ), listed as (
        select items.*, bought.* exclude (item_id), coalesce(available_from, first_event) as since
        from items left join bought using (item_id)
        where available_from is null or available_from <= $as_of::timestamp or first_event is not null
    ), priced as (
        select item_id, percent_rank() over (partition by category order by price) as below,
            count(*) over (partition by category) as n_priced
        from listed where price is not null
    )
    select item_id, title, category, subcategory, brand, price, rating,
        if(n_priced = 1, 0.5, below) as price_level, {DAYS.format("since")} as age_days,
        coalesce(n_buyers, 0) as n_buyers, coalesce(n_orders, 0) as n_orders,
        coalesce(popularity_30d, 0) as popularity_30d,
        ln((1 + coalesce(n_recent, 0)) / (1 + coalesce(n_before, 0))) as popularity_trend
    from listed left join priced using (item_id) order by item_id
"""

USER_SQL = f"""
    with seen as (
        select user_id, item_id, timestamp, {ORDER} as order_id, quantity * unit_price as value, category
        from events left join (select item_id, category from items) using (item_id)
        where timestamp <= $as_of::timestamp
    ), bought as (
        select user_id, max(timestamp) as last_event, count(distinct order_id) as n_orders,
            count(distinct item_id) as n_items, sum(value order by timestamp, item_id, value) as spend,
            epoch(max(timestamp) - min(timestamp)) / 86400.0 as span
        from seen group by user_id
    ), favourites as (
        select user_id, category as top_category from seen where category is not null
        group by user_id, category
        qualify row_number() over (partition by user_id order by count(*) desc, category) = 1
    )
    select users.*, {DAYS.format("last_event")} as recency_days, coalesce(n_orders, 0) as n_orders,
        coalesce(n_items, 0) as n_items, spend, spend / n_orders as mean_order_value,
        case when n_orders > 1 then span / (n_orders - 1) end as mean_days_between_orders, top_category
    from users left join bought using (user_id) left join favourites using (user_id) order by user_id
"""


def item_features(events: pa.Table, items: pa.Table, as_of: datetime) -> pa.Table:
    """One row for each item launched by as_of or with an event by then; columns as in ITEM_FEATURES.

    events, items: in schema.INTERACTIONS and schema.ITEMS. as_of without a zone is UTC. Events after as_of
    and items launched after it change nothing, and when an item will end is not told.
    """
    table = _query(ITEM_SQL, as_of, events=events, items=items)
    return schema.conform(table, schema_of(ITEM_FEATURES), "item features")


def user_features(events: pa.Table, users: pa.Table, as_of: datetime, items: pa.Table | None = None) -> pa.Table:
    """One row for each user; columns as in USER_FEATURES.

    events, users, items: in their schemas. Without items no top_category is known. as_of without a zone is
    UTC. Events after as_of change nothing.
    """
    items = schema.ITEMS.empty_table() if items is None else items
    table = _query(USER_SQL, as_of, events=events, users=users, items=items)
    return schema.conform(table, schema_of(USER_FEATURES), "user features")


def _query(sql: str, as_of: datetime, **tables: pa.Table) -> pa.Table:
    moment = as_of.astimezone(UTC).replace(tzinfo=None) if as_of.tzinfo else as_of
    with duckdb.connect() as connection:
        for name, table in tables.items():
            connection.register(name, _without_zones(table))
        return connection.execute(sql, {"as_of": moment}).to_arrow_table()


def _without_zones(table: pa.Table) -> pa.Table:
    """Times as UTC without saying so: DuckDB would turn them into the machine's zone."""
    naive = pa.timestamp("us")
    fields = [f.with_type(naive) if f.type == schema.TIME else f for f in table.schema]
    return table.cast(pa.schema(fields))
