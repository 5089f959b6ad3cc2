"""The assets of the training log and the features, from events up to the cut only."""

from dataclasses import replace
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestration.assets.metadata import preview, show
from orchestration.io_manager import Lake
from orchestration.resources import Datasets
from recommenders.evaluation.tasks.task import make_task
from recommenders.events.interactions import Interactions
from recommenders.features import tables
from recommenders.features.feature_descriptions import FEATURES
from recommenders.features.items import ItemFeatures, encode_items_as_of
from recommenders.splitting.temporal import cut_time
from recommenders.splitting.temporal import training_log as build_log

N_PAIR_USERS = 3  # users whose pairs the page of user_features shows


@dg.asset(group_name="features")
def training_log(
    context: dg.AssetExecutionContext,
    datasets: dg.ResourceParam[Datasets],
    lake: dg.ResourceParam[Lake],
    split: pa.Table,
    items: pa.Table,
) -> Interactions:
    """All events before the cut as arrays. Every model is fitted on this log.

    If no user of the test window can be evaluated, the run stops here, before anything is trained.
    """
    protocol = datasets[context.partition_key].spec.protocol
    log = build_log(split.filter(pc.field("part") != "test"), items, protocol, cut_time(split))
    log = replace(log, version=lake.table_version(context.partition_key).data_version)
    n_users, n_items = log.shape
    evaluated = make_task(log, split.filter(pc.field("part") == "test"), protocol).user_ids
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
            "users to evaluate": len(evaluated),
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
def item_features(context: dg.AssetExecutionContext, training_log: Interactions, items: pa.Table) -> pa.Table:
    """One row per item: the item features that the ranker reads, and what the item is; all at the cut."""
    table = tables.item_features(training_log, items)
    show(context, table_metadata(training_log, table))
    return table


@dg.asset(group_name="features")
def user_features(
    context: dg.AssetExecutionContext, training_log: Interactions, users: pa.Table, items: pa.Table
) -> pa.Table:
    """One row per user: the user features that the ranker reads, and who the user is; all at the cut."""
    table = tables.user_features(training_log, users)
    most_active = np.argsort(-np.bincount(training_log.user_rows), kind="stable")[:N_PAIR_USERS]
    pairs = tables.pair_features(training_log, items, most_active)
    show(context, {**table_metadata(training_log, table), "pairs of the most active users": preview(pairs, 30)})
    return table


def table_metadata(log: Interactions, table: pa.Table) -> dict[str, Any]:
    """The cut, the number of rows, the first rows, and the meaning of each column."""
    meanings = {feature.name: feature.describe() for features in FEATURES.values() for feature in features}
    columns = [
        dg.TableColumn(field.name, str(field.type), description=meanings.get(field.name)) for field in table.schema
    ]
    return {
        "cut": log.last_event.isoformat(),
        "rows": table.num_rows,
        "dagster/column_schema": dg.TableSchema(columns=columns),
        "preview": preview(table),
    }
