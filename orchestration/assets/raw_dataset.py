"""The asset of the source files: their names, sizes and version. It does not read them into the lake."""

from typing import Any

import dagster as dg

from orchestration.assets.metadata import show
from orchestration.assets.source import fingerprint, restored_version
from orchestration.settings import Settings


@dg.asset(group_name="data", kinds={"file"})
def raw_dataset(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]) -> dict[str, Any]:
    """The files of the data set's source, with their hashes. A simulated data set is generated here."""
    dataset_settings = settings.for_dataset(context.partition_key)
    spec = dataset_settings.spec
    found = fingerprint(dataset_settings)  # prepares the source, unless an earlier version is restored
    source = "" if (restored := restored_version(dataset_settings)) else str(dataset_settings.source_of(spec))
    show(
        context,
        {
            "source": dg.MetadataValue.path(source)
            if restored is None
            else f"none: version {restored.restored_from} is restored",
            "title": spec.title,
            "licence": spec.licence,
            "protocol": spec.protocol.describe(),
            "files": dg.MetadataValue.json(found["files"]),
            "bytes": sum(file["bytes"] for file in found["files"]),
            "data_version": found["version"],
        },
    )
    return {**found, "dataset": spec.name, "source": source}
