"""The metadata that Dagster shows on the page of an asset: counts, previews, pictures, links."""

import base64
from collections.abc import Mapping
from typing import Any

import dagster as dg
import pyarrow as pa

PROGRESS = "progress: "  # begins a line of a run's log that the terminal shows too
APPLICABLE = "applicable"  # key of a check's metadata: false where there was nothing to compare


def show(context: dg.AssetExecutionContext, metadata: Mapping[str, Any]) -> None:
    """Adds metadata to the asset's page. The data set comes first, because one page shows all data sets."""
    context.add_output_metadata({"dataset": context.partition_key, **metadata})


def preview(table: pa.Table, n_rows: int = 10) -> dg.MetadataValue:
    """The first rows as a table."""
    return dg.MetadataValue.md(table.slice(0, n_rows).to_pandas().to_markdown(index=False))


def rounded(value: float | None, digits: int = 4) -> float | None:
    """A number rounded for display; None stays None."""
    return None if value is None else round(float(value), digits)


def picture(png: bytes, alt: str) -> dg.MetadataValue:
    """A PNG that Dagster shows on the page."""
    return dg.MetadataValue.md(f"![{alt}](data:image/png;base64,{base64.b64encode(png).decode()})")
