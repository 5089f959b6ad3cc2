"""One partition per data set, custom ones too: the same graph is materialised for each data set."""

from collections.abc import Iterable

import dagster as dg

from orchestration.settings import Settings


def partitions_of(settings: Settings) -> dg.PartitionsDefinition[str]:
    """One partition for each data set of the settings' catalogue. Raises ConfigurationError."""
    return dg.StaticPartitionsDefinition(list(settings.specs))


def partitioned(
    assets: Iterable[dg.AssetsDefinition], partitions: dg.PartitionsDefinition[str]
) -> list[dg.AssetsDefinition]:
    """The same assets with these partitions."""
    return [a.map_asset_specs(lambda spec: spec.replace_attributes(partitions_def=partitions)) for a in assets]
