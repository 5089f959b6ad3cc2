"""Features of user-item pairs as of a time: repeat purchases, time overdue, category and brand shares. For rankers."""

from datetime import datetime
from pathlib import Path

import pyarrow as pa

from recommenders.features.as_of import DAY, MEMORY_LIMIT, Features, deliver, tables_as_of
from recommenders.features.blocks import build
from recommenders.features.catalog import PAIR_FEATURES, schema_of
from recommenders.storage import schema
from recommenders.storage.schema import Rows

CANDIDATE = pa.schema([pa.field(name, pa.string(), nullable=False) for name in ("user_id", "item_id")])

# `requested` has one row for each row of the result
KNOWN_PAIRS = "create temp view requested as select * from pairs join user_ids using (u) join item_ids using (i)"
CANDIDATE_PAIRS = """
    create table requested as
    select place, candidates.user_id, candidates.item_id, u, i, pairs.* exclude (u, i)
    from candidates left join user_ids using (user_id) left join item_ids using (item_id) left join pairs using (u, i)
"""
PAIR_SQL = f"""
    with measured as (
        select requested.*, age / {DAY} as recency_days, span / {DAY} / nullif(n_orders - 1, 0) as mean_interval_days,
            reorder_gaps.reorder_days as item_reorder_days, c, b,
            item_attributes.price_level - user_profiles.price_level as price_gap,
            if(c is null, null, n_with_category) as n_with_category, if(b is null, null, n_with_brand) as n_with_brand
        from requested left join item_attributes using (i) left join reorder_gaps using (i)
            left join user_profiles using (u)
    )
    select user_id, item_id, coalesce(n_orders, 0) as n_orders, coalesce(n_events, 0) as n_events,
        if(n_orders is null, 0, quantity) as net_quantity, recency_days, first_age / {DAY} as first_days,
        mean_interval_days, item_reorder_days,
        recency_days - coalesce(mean_interval_days, item_reorder_days) as days_overdue,
        coalesce(user_categories.n, 0) / n_with_category as category_share,
        user_categories.age / {DAY} as category_recency_days,
        coalesce(user_brands.n, 0) / n_with_brand as brand_share, price_gap
    from measured left join user_categories using (u, c) left join user_brands using (u, b)
"""


def pair_features(
    events: Rows,
    items: Rows,
    as_of: datetime,
    pairs: pa.Table | None = None,
    *,
    out: Path | None = None,
    memory_limit: str = MEMORY_LIMIT,
) -> Features:
    """One row for each (user, item) with an event by as_of, unordered; or one for each row of `pairs`, in its order.

    Columns as in PAIR_FEATURES. pairs: user_id and item_id of candidates. A pair without an event has counts of zero
    and category and brand shares; an unknown user or item has nulls. events, items: in their schemas, tables or
    Parquet files. as_of without a zone is UTC; later events have no effect. Returns a table, or with `out` that file's
    path.
    Raises DataError, ConfigurationError (recommenders.features.as_of).
    """
    candidates = None if pairs is None else schema.conform(pairs, CANDIDATE, "pairs")
    with tables_as_of(as_of, events, items, memory_limit) as connection:
        build(connection, "pairs", "reorder_gaps", "user_categories", "user_brands", "user_profiles")
        if candidates is None:
            connection.execute(KNOWN_PAIRS)
            connection.execute("set preserve_insertion_order = false")
            return deliver(connection, PAIR_SQL, schema_of(PAIR_FEATURES), out)
        connection.register(
            "candidates", candidates.append_column("place", pa.array(range(candidates.num_rows), pa.int64()))
        )
        connection.execute(CANDIDATE_PAIRS)
        return deliver(connection, f"{PAIR_SQL} order by place", schema_of(PAIR_FEATURES), out)
