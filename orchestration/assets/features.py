"""What is known at the cut, and not a second later."""

from dataclasses import replace
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from orchestration.assets.metadata import preview, show
from orchestration.settings import Settings
from recommenders.events.interactions import Interactions
from recommenders.features import tables
from recommenders.features.items import ItemFeatures, encode_items_as_of
from recommenders.splitting.temporal import cut_time
from recommenders.splitting.temporal import training_log as build_log


@dg.asset(group_name="features")
def training_log(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    raw_dataset: dict[str, Any],
    split: pa.Table,
    items: pa.Table,
) -> Interactions:
    """Everything before the cut as arrays: what every model learns from."""
    protocol = settings.of(context.partition_key).spec.protocol
    log = build_log(split.filter(pc.field("part") != "test"), items, protocol, cut_time(split))
    log = replace(log, version=raw_dataset["version"])
    n_users, n_items = log.shape
    pairs = log.matrix().nnz
    show(
        context,
        {
            "events": len(log),
            "buyers": n_users,
            "items": n_items,
            "items that may be recommended": int(log.available.sum()),
            "distinct pairs": int(pairs),
            "density": pairs / (n_users * n_items),
        },
    )
    return log


@dg.asset(group_name="features")
def item_vectors(context: dg.AssetExecutionContext, training_log: Interactions, items: pa.Table) -> ItemFeatures:
    """Items as sparse vectors over category, brand, price and words."""
    vectors = encode_items_as_of(items, training_log.items, training_log.last_event)
    show(context, {"items": vectors.vectors.shape[0], "dimensions": vectors.vectors.shape[1]})
    return vectors


@dg.asset(group_name="features")
def item_features(context: dg.AssetExecutionContext, split: pa.Table, items: pa.Table) -> pa.Table:
    """One row an item: price, age, buyers, popularity and its trend, rhythm of reorders, as of the cut."""
    cut = cut_time(split)
    table = tables.item_features(split, items, cut)
    show(context, {"as of": cut.isoformat(), **known_share(table), "preview": preview(table)})
    return table


@dg.asset(group_name="features")
def user_features(context: dg.AssetExecutionContext, split: pa.Table, users: pa.Table, items: pa.Table) -> pa.Table:
    """One row a buyer: company, recency, frequency, spend, rhythm and taste, as of the cut."""
    cut = cut_time(split)
    table = tables.user_features(split, users, cut, items)
    show(context, {"as of": cut.isoformat(), **known_share(table), "preview": preview(table)})
    return table


def known_share(table: pa.Table) -> dict[str, Any]:
    """How many rows there are, and of each feature the share that is known."""
    n_rows = max(table.num_rows, 1)
    shares = {name: round(1 - table[name].null_count / n_rows, 4) for name in table.column_names}
    return {"rows": table.num_rows, "share known": dg.MetadataValue.json(shares)}
