"""The source as clean tables; what was rejected lies in quarantine with a reason."""

import itertools
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq

from orchestration.assets.metadata import picture, preview
from orchestration.settings import Settings
from recommenders.datasets.profile import page
from recommenders.datasets.profile.profiling import describe
from recommenders.datasets.reading.ingest import Counts

OUTS = {
    "interactions": dg.AssetOut(
        kinds={"deltalake"}, description="Who did what with which item, when: one row an event."
    ),
    "items": dg.AssetOut(kinds={"deltalake"}, description="What is sold: one row an item."),
    "users": dg.AssetOut(kinds={"deltalake"}, description="Who buys: one row a buyer."),
    "quarantine": dg.AssetOut(
        kinds={"deltalake"}, description="Rows that could not be believed, with file, line and reason."
    ),
}


@dg.multi_asset(outs=OUTS, group_name="data")
def tables(
    context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings], raw_dataset: dict[str, Any]
) -> Iterator[dg.Output[dict[str, Any]]]:
    """Reads the source by its spec into a new version of the tables; every row read is accounted for.

    The same files twice make no new version. A version that somebody went back to stays.
    """
    platform = settings.of(context.partition_key)
    spec, store = platform.spec, platform.tables
    version = spec.take_in(Path(raw_dataset["source"]), store, raw_dataset)
    files = {name: store.files(name, version) for name in OUTS}
    profile = describe(files, version.counts, spec.name, spill=store.folder)
    described = {
        "description": dg.MetadataValue.md(page.render(profile)),
        "plot": picture(page.draw(profile), "the long tail, and events over time"),
    }
    told = {
        "interactions": {**counts(version.counts), **span(profile.log), **described},
        "quarantine": {"reasons": reasons(files["quarantine"])},
    }
    for name in OUTS:
        facts = {"dataset": spec.name, "rows": sum(pq.read_metadata(path).num_rows for path in files[name])}
        metadata = {**facts, "version": version.number, "preview": preview(head(files[name])), **told.get(name, {})}
        yield versioned({"version": version.number}, name, metadata, version.data_version)


def versioned(
    value: dict[str, Any], name: str, metadata: dict[str, Any], data_version: str
) -> dg.Output[dict[str, Any]]:
    """An output whose data version is the source's, so that Dagster tells what is out of date."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # Output's data_version, as of Dagster 1.13
        return dg.Output(value, name, metadata=metadata, data_version=dg.DataVersion(data_version))


def head(files: list[Path], n_rows: int = 10) -> pa.Table:
    """The first rows of a stored table."""
    with pq.ParquetFile(files[0]) as file:
        batches = list(itertools.islice(file.iter_batches(n_rows), 1))
        return pa.Table.from_batches(batches, schema=file.schema_arrow)


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


def span(log: dict[str, Any]) -> dict[str, dg.MetadataValue]:
    """How many buyers and items, from when to when, as the description has counted them."""
    return {
        "buyers": dg.MetadataValue.int(log["users"]),
        "items sold": dg.MetadataValue.int(log["items_sold"]),
        "first event": dg.MetadataValue.text(str(log["first_event"])),
        "last event": dg.MetadataValue.text(str(log["last_event"])),
    }


def reasons(files: list[Path]) -> dg.MetadataValue:
    """How many rows were quarantined for which reason."""
    quarantine = pq.read_table(files, columns=["reason"])
    grouped = quarantine.group_by("reason").aggregate([("reason", "count")])
    return preview(grouped.sort_by([("reason_count", "descending")]), n_rows=50)
