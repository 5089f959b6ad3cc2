"""The assets of the clean tables of a source, and of their split by time. Rejected rows go to quarantine."""

import itertools
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq

from orchestration.assets.json_outputs import RawDataset
from orchestration.assets.metadata import picture, preview, show
from orchestration.io_manager import CLEAN_TABLES, TableVersion
from orchestration.resources import Datasets
from recommenders.datasets.profile import page
from recommenders.datasets.profile.profiling import profile_tables
from recommenders.datasets.reading.ingest import Counts
from recommenders.datasets.store import Version
from recommenders.splitting.temporal import cut_time
from recommenders.splitting.temporal import split as split_by_protocol
from recommenders.storage.feedback_position import Position

DESCRIPTIONS = {
    "interactions": "Which user did what with which item, and when: one row per event.",
    "items": "The catalogue: one row per item.",
    "users": "The users: one row per user.",
    "quarantine": "Rejected rows, with file, line and reason.",
}
OUTS = {
    name: dg.AssetOut(
        kinds={"deltalake"}, description=description, dagster_type=TableVersion, io_manager_key=CLEAN_TABLES
    )
    for name, description in DESCRIPTIONS.items()
}


@dg.multi_asset(outs=OUTS, group_name="data", deps=["feedback"])
def tables(
    context: dg.AssetExecutionContext, datasets: dg.ResourceParam[Datasets], raw_dataset: RawDataset
) -> Iterator[dg.Output[TableVersion]]:
    """Reads the source by its spec into a new version of the tables; every row that was read is accounted for.

    Feedback that is later than the newest event of the source is added, if the data set learns from it. The same files
    and feedback twice make no new version. A restored version stays.
    """
    dataset = datasets[context.partition_key]
    spec, store = dataset.spec, dataset.tables
    read_before = dataset.feedback.position() if spec.feedback else None
    version = spec.ingest(Path(raw_dataset.source), store, raw_dataset, dataset.feedback)
    value = TableVersion(version.number, version.data_version, last_event(version, read_before))
    files = {name: store.files(name, version) for name in OUTS}
    profile = profile_tables(files, version.counts, spec.name, spill=store.folder)
    profile_metadata = {
        "profile": dg.MetadataValue.md(page.render(profile)),
        "plot": picture(page.draw(profile), "the long tail, and events over time"),
    }
    extra = {
        "interactions": {**counts(version.counts), **span(profile.log), **profile_metadata},
        "quarantine": {"reasons": reasons(files["quarantine"])},
    }
    for name in OUTS:
        basics = {"dataset": spec.name, "rows": sum(pq.read_metadata(path).num_rows for path in files[name])}
        basics |= {"version": version.number, "data_version": version.data_version}
        metadata = {**basics, "preview": preview(head(files[name])), **extra.get(name, {})}
        yield versioned(value, name, metadata)


def last_event(version: Version, read_before: Position | None) -> Position | None:
    """The last feedback event that a version takes into account. read_before: what was read before it was made.

    If no event that counts was read since an earlier run, its version stays, and takes the later events into account
    too. A restored version does not.
    """
    stored = version.source.position if version.source else None
    if version.restored_from is not None or read_before is None:
        return stored
    return max(stored, read_before) if stored else read_before


def versioned(value: TableVersion, name: str, metadata: dict[str, Any]) -> dg.Output[TableVersion]:
    """An output with the data version, so that Dagster shows what is out of date."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # Output's data_version, as of Dagster 1.13
        return dg.Output(value, name, metadata=metadata, data_version=dg.DataVersion(value.data_version))


def head(files: list[Path], n_rows: int = 10) -> pa.Table:
    """The first rows of a stored table."""
    with pq.ParquetFile(files[0]) as file:
        batches = list(itertools.islice(file.iter_batches(n_rows), 1))
        return pa.Table.from_batches(batches, schema=file.schema_arrow)


def counts(found: Counts) -> dict[str, dg.MetadataValue]:
    """The number of rows by outcome, for all rows that were read."""
    return {
        "rows": dg.MetadataValue.int(found.kept),
        "read": dg.MetadataValue.int(found.read),
        "merged duplicates": dg.MetadataValue.int(found.merged),
        "netted": dg.MetadataValue.int(found.netted),
        **({"kept feedback": dg.MetadataValue.int(found.feedback)} if found.feedback else {}),
        "excluded": dg.MetadataValue.json(dict(found.set_aside)),
        "quarantined": dg.MetadataValue.int(found.quarantined),
    }


def span(log: dict[str, Any]) -> dict[str, dg.MetadataValue]:
    """The number of users and items, and the first and last event, as counted by the profile."""
    return {
        "users": dg.MetadataValue.int(log["users"]),
        "items sold": dg.MetadataValue.int(log["items_sold"]),
        "first event": dg.MetadataValue.text(str(log["first_event"])),
        "last event": dg.MetadataValue.text(str(log["last_event"])),
    }


def reasons(files: list[Path]) -> dg.MetadataValue:
    """The number of quarantined rows by reason."""
    quarantine = pq.read_table(files, columns=["reason"])
    grouped = quarantine.group_by("reason").aggregate([("reason", "count")])
    return preview(grouped.sort_by([("reason_count", "descending")]), n_rows=50)


@dg.asset(group_name="data")
def split(context: dg.AssetExecutionContext, datasets: dg.ResourceParam[Datasets], interactions: pa.Table) -> pa.Table:
    """The interactions with a column `part`: train, validation or test, by the data set's protocol."""
    protocol = datasets[context.partition_key].spec.protocol
    parts = split_by_protocol(interactions, protocol)
    sizes = {row["values"]: row["counts"] for row in parts["part"].value_counts().to_pylist()}
    show(
        context, {**sizes, "cut": cut_time(parts).isoformat(), "protocol": protocol.describe(), "rows": parts.num_rows}
    )
    return parts
