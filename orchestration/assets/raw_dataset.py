"""The source as it lies there: which files, how large, which version. Nothing is read into the lake yet."""

from typing import Any

import dagster as dg

from orchestration.assets.metadata import show
from orchestration.assets.source import fingerprint, held
from orchestration.settings import Settings


@dg.asset(group_name="data", kinds={"file"})
def raw_dataset(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]) -> dict[str, Any]:
    """The files of the data set's source, with their hashes; a data set that the project makes is made here."""
    platform = settings.of(context.partition_key)
    spec = platform.spec
    facts = fingerprint(platform)  # prepares the source, unless an earlier version is held
    source = "" if (kept := held(platform)) else str(platform.source_of(spec))
    show(
        context,
        {
            "source": dg.MetadataValue.path(source) if kept is None else f"none: version {kept.restored_from} is held",
            "title": spec.title,
            "licence": spec.licence,
            "protocol": spec.protocol.describe(),
            "files": dg.MetadataValue.json(facts["files"]),
            "bytes": sum(file["bytes"] for file in facts["files"]),
            "data_version": facts["version"],
        },
    )
    return {**facts, "dataset": spec.name, "source": source}
