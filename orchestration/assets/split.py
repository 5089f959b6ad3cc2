"""The asset that splits the events: models are fitted on the past and evaluated on the future."""

import dagster as dg
import pyarrow as pa

from orchestration.assets.metadata import show
from orchestration.resources import Datasets
from recommenders.splitting.temporal import cut_time
from recommenders.splitting.temporal import split as split_by_protocol


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
