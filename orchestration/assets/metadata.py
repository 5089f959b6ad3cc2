"""What a person sees on an asset's page in Dagster: counts, previews, pictures, links."""

import base64
from collections.abc import Mapping
from typing import Any

import dagster as dg
import pyarrow as pa

APPLICABLE = "applicable"  # of a check's metadata: false where there was nothing to compare


def show(context: dg.AssetExecutionContext, facts: Mapping[str, Any]) -> None:
    """Adds facts to the asset's page, the data set that they are about first: one page serves all data sets."""
    context.add_output_metadata({"dataset": context.partition_key, **facts})


def preview(table: pa.Table, n_rows: int = 10) -> dg.MetadataValue:
    """The first rows as a table."""
    return dg.MetadataValue.md(table.slice(0, n_rows).to_pandas().to_markdown(index=False))


def rounded(value: float | None, digits: int = 4) -> float | None:
    """A figure as a person reads it; None stays None."""
    return None if value is None else round(float(value), digits)


def picture(png: bytes, alt: str) -> dg.MetadataValue:
    """A PNG that Dagster shows in place."""
    return dg.MetadataValue.md(f"![{alt}](data:image/png;base64,{base64.b64encode(png).decode()})")
