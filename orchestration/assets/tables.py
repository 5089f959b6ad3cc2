"""The source as clean tables; what was rejected lies in quarantine with a reason."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pyarrow as pa

from orchestration.metadata import preview
from orchestration.partitions import datasets
from recommenders.datasets.catalog import dataset
from recommenders.datasets.spec import Counts

OUTS = {
    "interactions": dg.AssetOut(description="Who did what with which item, when: one row an event."),
    "items": dg.AssetOut(description="What is sold: one row an item."),
    "users": dg.AssetOut(description="Who buys: one row a buyer."),
    "quarantine": dg.AssetOut(description="Rows that could not be believed, with file, line and reason."),
}


@dg.multi_asset(outs=OUTS, partitions_def=datasets, group_name="data")
def tables(context: dg.AssetExecutionContext, raw_dataset: dict[str, Any]) -> Iterator[dg.Output[Any]]:
    """Reads the source by its spec; every row read is accounted for."""
    read = dataset(context.partition_key).read(Path(raw_dataset["source"]))
    yield dg.Output(
        read.interactions,
        "interactions",
        metadata={**counts(read.counts), **span(read.interactions), "preview": preview(read.interactions)},
    )
    for name in ("items", "users"):
        table: pa.Table = getattr(read, name)
        yield dg.Output(table, name, metadata={"rows": table.num_rows, "preview": preview(table)})
    yield dg.Output(
        read.quarantine,
        "quarantine",
        metadata={
            "rows": read.quarantine.num_rows,
            "preview": preview(read.quarantine),
            "reasons": reasons(read.quarantine),
        },
    )


def counts(found: Counts) -> dict[str, dg.MetadataValue]:
    """Where every row that was read went."""
    return {
        "rows": dg.MetadataValue.int(found.kept),
        "read": dg.MetadataValue.int(found.read),
        "merged duplicates": dg.MetadataValue.int(found.merged),
        "netted": dg.MetadataValue.int(found.netted),
        "set aside": dg.MetadataValue.json(dict(found.set_aside)),
        "quarantined": dg.MetadataValue.int(found.quarantined),
    }


def span(interactions: pa.Table) -> dict[str, dg.MetadataValue]:
    """How many buyers and items, from when to when."""
    with duckdb.connect() as connection:
        users, items, first, last = connection.execute(
            "select count(distinct user_id), count(distinct item_id), min(timestamp)::varchar, max(timestamp)::varchar"
            " from interactions"
        ).fetchall()[0]
    return {
        "buyers": dg.MetadataValue.int(users),
        "items sold": dg.MetadataValue.int(items),
        "first event": dg.MetadataValue.text(str(first)),
        "last event": dg.MetadataValue.text(str(last)),
    }


def reasons(quarantine: pa.Table) -> dg.MetadataValue:
    """How many rows were quarantined for which reason."""
    grouped = quarantine.group_by("reason").aggregate([("reason", "count")])
    return preview(grouped.sort_by([("reason_count", "descending")]), n_rows=50)
