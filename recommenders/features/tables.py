"""Features of items and users as of a time: tables for analysis, drift reports and rankers."""

from datetime import datetime
from pathlib import Path

from recommenders.datasets.reading.relations import show
from recommenders.features.as_of import DAY, MEMORY_LIMIT, Features, deliver, tables_as_of
from recommenders.features.blocks import build
from recommenders.features.catalog import ITEM_FEATURES, USER_FEATURES, schema_of
from recommenders.storage import schema
from recommenders.storage.schema import Rows

ITEM_SQL = f"""
    with bought as (
        select i, count(*) as n_buyers, sum(n_orders) as n_orders, sum(quantity) as net_quantity,
            avg((n_orders > 1)::integer) as repeat_rate,
            count(*) filter (age < 7 * {DAY}) as buyers_7d,
            count(*) filter (age < 30 * {DAY}) as buyers_30d,
            count(*) filter (age < 90 * {DAY}) as buyers_90d
        from pairs group by i
    ), sold as (
        select i, avg(price) as mean_price_paid, count(*) filter (age < 30 * {DAY}) as n_recent,
            count(*) filter (age < 60 * {DAY}) - n_recent as n_before
        from log group by i
    )
    select item_ids.item_id, item_attributes.* exclude (i, item_id), net_quantity, repeat_rate, reorder_days,
        coalesce(if(launch_days >= 0, launch_days, null), first_days) as age_days,
        coalesce(n_buyers, 0) as n_buyers, coalesce(n_orders, 0) as n_orders,
        coalesce(buyers_7d, 0) as popularity_7d, coalesce(buyers_30d, 0) as popularity_30d,
        coalesce(buyers_90d, 0) as popularity_90d,
        mean_price_paid, mean_price_paid / nullif(price, 0) as paid_to_list,
        ln((1 + coalesce(n_recent, 0)) / (1 + coalesce(n_before, 0))) as popularity_trend
    from item_attributes join item_ids using (i) left join bought using (i) left join sold using (i)
        left join reorder_gaps using (i)
    order by item_ids.item_id
"""

USER_SQL = f"""
    with frequency as (
        select u, count(*) as n_orders, sum(value) as spend,
            count(*) filter (started < 30 * {DAY}) as n_orders_30d,
            count(*) filter (started < 90 * {DAY}) as n_orders_90d,
            avg(gap) / {DAY} as mean_days_between_orders, stddev_samp(gap) / {DAY} as std_days_between_orders
        from (select *, lag(started) over (partition by u order by started desc) - started as gap from orders)
        group by u
    ), bought as (
        select u, count(*) as n_items, min(age) / {DAY} as recency_days, max(first_age) / {DAY} as tenure_days,
            sum(n_orders - 1) / sum(n_orders) as repeat_share
        from pairs group by u
    ), variety as (
        select u, greatest(-sum(n / n_with_category * ln(n / n_with_category)), 0) as category_entropy,
            max(n / n_with_category) as top_category_share
        from user_categories join user_profiles using (u) group by u
    ), top_categories as (
        select u, category as top_category
        from user_categories join (select distinct c, category from item_attributes) using (c)
        qualify row_number() over (partition by u order by n desc, c) = 1
    )
    select users.*, * exclude (user_id, n_orders, n_orders_30d, n_orders_90d, n_items),
        coalesce(n_orders, 0) as n_orders, coalesce(n_orders_30d, 0) as n_orders_30d,
        coalesce(n_orders_90d, 0) as n_orders_90d, coalesce(n_items, 0) as n_items,
        spend / n_orders as mean_order_value
    from users left join user_ids using (user_id) left join frequency using (u) left join bought using (u)
        left join variety using (u) left join top_categories using (u) left join user_profiles using (u)
    order by user_id
"""


def item_features(
    events: Rows, items: Rows, as_of: datetime, *, out: Path | None = None, memory_limit: str = MEMORY_LIMIT
) -> Features:
    """One row for each item launched by as_of or with an event by then; columns as in ITEM_FEATURES.

    events, items: in schema.INTERACTIONS and schema.ITEMS, tables or Parquet files. as_of without a zone is UTC.
    Events, returns, launches and descriptions after as_of have no effect, and the end of an item's sale is not used. An
    item without a description by then has only an id and counts. One with neither available_from nor valid_from is
    known from its first event on, so in a catalogue without dates, items without an event by as_of have no row.
    Returns a table, or with `out` that file's path.
    Raises DataError, ConfigurationError (recommenders.features.as_of).
    """
    with tables_as_of(as_of, events, items, memory_limit) as connection:
        build(connection, "pairs", "reorder_gaps")
        return deliver(connection, ITEM_SQL, schema_of(ITEM_FEATURES), out)


def user_features(
    events: Rows,
    users: Rows,
    as_of: datetime,
    items: Rows | None = None,
    *,
    out: Path | None = None,
    memory_limit: str = MEMORY_LIMIT,
) -> Features:
    """One row for each user of the table; columns as in USER_FEATURES.

    events, users, items: in their schemas, tables or Parquet files. Without items the category and price features are
    null. as_of without a zone is UTC. Later events have no effect. Returns a table, or with `out` that
    file's path. Raises DataError, ConfigurationError (recommenders.features.as_of).
    """
    with tables_as_of(as_of, events, items, memory_limit) as connection:
        show(connection, "users", users, schema.USERS)
        build(connection, "pairs", "user_categories", "user_profiles", "orders")
        return deliver(connection, USER_SQL, schema_of(USER_FEATURES), out)
