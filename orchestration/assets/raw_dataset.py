"""The asset of the source files: their names, sizes and version. It does not read them into the lake."""

from dataclasses import asdict

import dagster as dg

from orchestration.assets.json_outputs import RawDataset
from orchestration.assets.metadata import show
from orchestration.resources import Datasets


@dg.asset(group_name="data", kinds={"file"})
def raw_dataset(context: dg.AssetExecutionContext, datasets: dg.ResourceParam[Datasets]) -> RawDataset:
    """The files of the data set's source, with their hashes. A simulated data set is generated here."""
    dataset = datasets[context.partition_key]
    spec = dataset.spec
    found = dataset.fingerprint()  # prepares the source, unless an earlier version is restored
    source = "" if (restored := dataset.restored_version()) else str(dataset.source)
    show(
        context,
        {
            "source": dg.MetadataValue.path(source)
            if restored is None
            else f"none: version {restored.restored_from} is restored",
            "title": spec.title,
            "licence": spec.licence,
            "protocol": spec.protocol.describe(),
            "files": dg.MetadataValue.json([asdict(file) for file in found.files]),
            "bytes": sum(file.bytes for file in found.files),
            "source_version": found.version,
        },
    )
    return RawDataset(found.version, found.files, spec.name, source)
