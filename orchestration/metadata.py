"""What a person sees on an asset's page in Dagster: counts, previews, pictures, links."""

import base64

import dagster as dg
import pyarrow as pa


def preview(table: pa.Table, n_rows: int = 10) -> dg.MetadataValue:
    """The first rows as a table."""
    return dg.MetadataValue.md(table.slice(0, n_rows).to_pandas().to_markdown(index=False))


def rounded(value: float | None, digits: int = 4) -> float | None:
    """A figure as a person reads it; None stays None."""
    return None if value is None else round(float(value), digits)


def picture(png: bytes, alt: str) -> dg.MetadataValue:
    """A PNG that Dagster shows in place."""
    return dg.MetadataValue.md(f"![{alt}](data:image/png;base64,{base64.b64encode(png).decode()})")
