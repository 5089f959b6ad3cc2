"""Features of a user with an item as known at a moment: habit, what fell due, and taste. Rankers learn from these."""

from datetime import datetime
from pathlib import Path

import pyarrow as pa

from recommenders.features.blocks import build
from recommenders.features.catalog import PAIR_FEATURES, schema_of
from recommenders.features.known import DAY, MEMORY_LIMIT, Features, deliver, known
from recommenders.storage import schema
from recommenders.storage.schema import Rows

CANDIDATE = pa.schema([pa.field(name, pa.string(), nullable=False) for name in ("user_id", "item_id")])

# `wanted` has a line for each row of the answer
SEEN = "create temp view wanted as select * from pairs join user_ids using (u) join item_ids using (i)"
ASKED = """
    create table wanted as
    select place, asked.user_id, asked.item_id, u, i, pairs.* exclude (u, i)
    from asked left join user_ids using (user_id) left join item_ids using (item_id) left join pairs using (u, i)
"""
PAIR_SQL = f"""
    with measured as (
        select wanted.*, age / {DAY} as recency_days, span / {DAY} / nullif(n_orders - 1, 0) as mean_interval_days,
            rhythm.reorder_days as item_reorder_days, c, b, facts.price_level - habits.price_level as price_gap,
            if(c is null, null, n_tasted) as n_tasted, if(b is null, null, n_branded) as n_branded
        from wanted left join facts using (i) left join rhythm using (i) left join habits using (u)
    )
    select user_id, item_id, coalesce(n_orders, 0) as n_orders, coalesce(n_events, 0) as n_events,
        if(n_orders is null, 0, quantity) as net_quantity, recency_days, first_age / {DAY} as first_days,
        mean_interval_days, item_reorder_days,
        recency_days - coalesce(mean_interval_days, item_reorder_days) as days_overdue,
        coalesce(tastes.n, 0) / n_tasted as category_share, tastes.age / {DAY} as category_recency_days,
        coalesce(loyalties.n, 0) / n_branded as brand_share, price_gap
    from measured left join tastes using (u, c) left join loyalties using (u, b)
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
    """One row for each (user, item) with an event by as_of, in no order; or one for each row of `pairs`, in its order.

    Columns as in PAIR_FEATURES. pairs: user_id and item_id of candidates; one never seen has zero counts and taste
    alone, an unknown user or item nulls. events, items: in their schemas, tables or Parquet files. as_of without a
    zone is UTC; what comes after it changes nothing. Returns a table, or with `out` that file's path.
    Raises DataError, ConfigurationError (recommenders.features.known).
    """
    asked = None if pairs is None else schema.conform(pairs, CANDIDATE, "pairs")
    with known(as_of, events, items, memory_limit) as connection:
        build(connection, "pairs", "rhythm", "tastes", "loyalties", "habits")
        if asked is None:
            connection.execute(SEEN)
            connection.execute("set preserve_insertion_order = false")
            return deliver(connection, PAIR_SQL, schema_of(PAIR_FEATURES), out)
        connection.register("asked", asked.append_column("place", pa.array(range(asked.num_rows), pa.int64())))
        connection.execute(ASKED)
        return deliver(connection, f"{PAIR_SQL} order by place", schema_of(PAIR_FEATURES), out)
