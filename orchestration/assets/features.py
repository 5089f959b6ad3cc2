"""The assets of the training log and the features, from events up to the cut only."""

from dataclasses import replace
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from orchestration.assets.facts import RawDataset
from orchestration.assets.metadata import preview, show
from orchestration.resources import Datasets
from recommenders.events.interactions import Interactions
from recommenders.features import tables
from recommenders.features.items import ItemFeatures, encode_items_as_of
from recommenders.splitting.temporal import cut_time
from recommenders.splitting.temporal import training_log as build_log


@dg.asset(group_name="features")
def training_log(
    context: dg.AssetExecutionContext,
    datasets: dg.ResourceParam[Datasets],
    raw_dataset: RawDataset,
    split: pa.Table,
    items: pa.Table,
) -> Interactions:
    """All events before the cut as arrays. Every model is fitted on this log."""
    protocol = datasets[context.partition_key].spec.protocol
    log = build_log(split.filter(pc.field("part") != "test"), items, protocol, cut_time(split))
    log = replace(log, version=raw_dataset.version)
    n_users, n_items = log.shape
    pairs = log.matrix().nnz
    show(
        context,
        {
            "events": len(log),
            "users": n_users,
            "items": n_items,
            "available items": int(log.available.sum()),
            "distinct user-item pairs": int(pairs),
            "density": pairs / (n_users * n_items),
        },
    )
    return log


@dg.asset(group_name="features")
def item_vectors(context: dg.AssetExecutionContext, training_log: Interactions, items: pa.Table) -> ItemFeatures:
    """One sparse vector per item, over category, brand, price and the words of its text."""
    vectors = encode_items_as_of(items, training_log.items, training_log.last_event)
    show(context, {"items": vectors.vectors.shape[0], "dimensions": vectors.vectors.shape[1]})
    return vectors


@dg.asset(group_name="features")
def item_features(context: dg.AssetExecutionContext, split: pa.Table, items: pa.Table) -> pa.Table:
    """One row per item: price, age, users, popularity and its trend, days between reorders; all at the cut."""
    cut = cut_time(split)
    table = tables.item_features(split, items, cut)
    show(context, {"cut": cut.isoformat(), **value_shares(table), "preview": preview(table)})
    return table


@dg.asset(group_name="features")
def user_features(context: dg.AssetExecutionContext, split: pa.Table, users: pa.Table, items: pa.Table) -> pa.Table:
    """One row per user: company, recency, frequency, spend, days between orders and categories; all at the cut."""
    cut = cut_time(split)
    table = tables.user_features(split, users, cut, items)
    show(context, {"cut": cut.isoformat(), **value_shares(table), "preview": preview(table)})
    return table


def value_shares(table: pa.Table) -> dict[str, Any]:
    """The number of rows, and for each feature the share of rows with a value."""
    n_rows = max(table.num_rows, 1)
    shares = {name: round(1 - table[name].null_count / n_rows, 4) for name in table.column_names}
    return {"rows": table.num_rows, "share with a value": dg.MetadataValue.json(shares)}
