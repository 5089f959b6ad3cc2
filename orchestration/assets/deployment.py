"""The assets for deployment: the served catalogue, a Bento that serves on its own, and lists for all known users."""

from itertools import islice
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from orchestration.assets.metadata import preview, show
from orchestration.io_manager import Lake
from orchestration.resources import Datasets
from recommenders import clock
from recommenders.errors import ReleaseError
from recommenders.models import all_models
from serving.batch.lists import BatchSummary, write_lists
from serving.batch.options import BatchOptions, format_of
from serving.batch.source import open_source
from serving.batch.users import known_users
from serving.champion.pointer import read_pointer
from serving.lists import precomputed
from serving.lists.served_lists import ServedLists
from serving.release import bento as packaging
from serving.release.registry import Registry
from serving.steering.catalogue.files import CatalogueRecord, record_file, write
from serving.steering.catalogue.tables import item_attributes, user_attributes


@dg.asset(deps=["interactions"], group_name="release")  # whose checks stop a broken feed
def served_catalogue(
    context: dg.AssetExecutionContext,
    datasets: dg.ResourceParam[Datasets],
    registry: dg.ResourceParam[Registry],
    items: pa.Table,
    users: pa.Table,
) -> CatalogueRecord:
    """The newest attributes of items and users, for the fields and filters of requests. The service loads them hot."""
    name = context.partition_key
    declared = datasets[name].spec.attributes
    of_items = item_attributes(items, declared.get("items", {}), clock.now())
    of_users = user_attributes(users, declared.get("users", {}))
    record = write(record_file(registry.pointer_file(name)), of_items, of_users)
    show(
        context,
        {
            "version": record.version,
            "items": record.items,
            "users": record.users,
            "attributes of items": dg.MetadataValue.json(of_items.kinds),
            "attributes of users": dg.MetadataValue.json(of_users.kinds),
            "file": dg.MetadataValue.path(str(record_file(registry.pointer_file(name)))),
        },
    )
    return record


@dg.asset(deps=["batch_recommendations", "served_catalogue"], group_name="release", kinds={"bentoml"})
def bento(context: dg.AssetExecutionContext, datasets: dg.ResourceParam[Datasets]) -> packaging.BentoInfo:
    """The champion as a Bento: code, bundle and requirements in one folder. It runs without MLflow."""
    built = packaging.build(datasets[context.partition_key].settings)
    command = f"bentoml serve {built.tag}"
    show(context, {"tag": built.tag, "path": dg.MetadataValue.path(str(built.path)), "serve": command})
    return built


class BatchConfig(dg.Config):
    """What the lists are for (docs/batch-lists.md). Values are checked as those of POST /predict."""

    scene: str = Field("for_you", description="for_you, reorder or discover.")
    n: int = Field(10, description="How many items a list has, 1 to 100.")
    fields: list[str] = Field([], description="Attributes of items; each becomes a column.")
    filters: dict[str, Any] = Field({}, description="Conditions on items, as in POST /predict.")
    format: str = Field("parquet", description="parquet; csv: also a CSV file beside the Parquet file.")


@dg.asset(deps=["champion", "served_catalogue"], group_name="release")
def batch_recommendations(
    context: dg.AssetExecutionContext,
    config: BatchConfig,
    datasets: dg.ResourceParam[Datasets],
    registry: dg.ResourceParam[Registry],
    lake: dg.ResourceParam[Lake],
) -> BatchSummary:
    """The champion's best items for each known user, as the service answers them. Longer lists are stored for it."""
    name = context.partition_key
    chosen = format_of(None, config.format)
    options = BatchOptions(config.scene, config.n, config.fields, config.filters)
    options.request()
    pointer_file = registry.pointer_file(name)
    precompute(name, pointer_file)
    source = open_source(datasets[name].settings, pointer_file)
    for problem in source.problems:  # the service answers all the same
        context.log.warning(problem)
    output, model = lake.path(name, "batch_recommendations", pa.Table), source.champion.predictor.model
    if chosen == "csv":
        write_lists(source, options, known_users(model, options), output.with_suffix(".csv"), "csv")
    summary = write_lists(source, options, known_users(model, options), output)
    show(context, page(summary))
    return summary


def precompute(name: str, pointer_file: Path) -> None:
    """Stores the longer lists, from which the service answers. Raises ReleaseError if there is no champion."""
    pointer = read_pointer(pointer_file)
    if pointer is None:
        raise ReleaseError(f"no champion of {name} at {pointer_file}; materialise the asset champion first")
    bundle = pointer.bundle_folder(pointer_file)
    precomputed.write(bundle, pointer.bundle_sha256, ServedLists(all_models.load(bundle)))


def page(summary: BatchSummary) -> dict[str, Any]:
    """The metadata on the page of the asset."""
    shown = vars(summary)
    names = ("model", "version", "scene", "n", "users", "lists", "rows", "rules_version", "catalogue_version", "moment")
    figures = {name: shown[name] for name in (*names, "bytes")}
    for name in ("strategies", "rules", "filters", "fields", "problems"):
        value = shown[name]
        figures[name] = dg.MetadataValue.json(dict(value) if isinstance(value, dict) else list(value))
    with pq.ParquetFile(summary.file) as file:
        first = pa.Table.from_batches(islice(file.iter_batches(10), 1), file.schema_arrow)  # not the whole file
    return {**figures, "file": dg.MetadataValue.path(summary.file), "preview": preview(first)}
