"""The assets for deployment: the served catalogue, a Bento that serves on its own, and lists for all known users."""

from datetime import UTC, datetime

import dagster as dg
import pyarrow as pa

from orchestration.assets.metadata import preview, show
from orchestration.resources import Datasets
from recommenders.errors import ReleaseError
from recommenders.models import catalog
from serving.champion.pointer import read_pointer
from serving.lists import precomputed
from serving.lists.batch import batch_recommendations as recommend_for_all_users
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
    of_items = item_attributes(items, declared.get("items", {}), datetime.now(UTC))
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


@dg.asset(deps=["champion"], group_name="release")
def batch_recommendations(context: dg.AssetExecutionContext, registry: dg.ResourceParam[Registry]) -> pa.Table:
    """The champion's ten best items for each known user. Longer lists are stored for the service."""
    path = registry.pointer_file(context.partition_key)
    pointer = read_pointer(path)
    if pointer is None:
        raise ReleaseError(f"no champion of {context.partition_key} at {path}; materialise the asset champion first")
    bundle = pointer.bundle_folder(path)
    lists = ServedLists(catalog.load(bundle))
    stored = precomputed.write(bundle, pointer.bundle_sha256, lists)
    table = recommend_for_all_users(lists.model, stored, k=10)
    show(
        context,
        {
            "rows": table.num_rows,
            "version": pointer.version,
            "preview": preview(table),
            "users": len(set(table["user_id"].to_pylist())),
        },
    )
    return table
