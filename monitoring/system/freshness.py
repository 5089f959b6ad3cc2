"""How fresh the data and the reports of each data set are, from the files below TRADEWIND_HOME/lake.

It reads the footers of Parquet files and no row of a table. It uses deltalake and pyarrow as any other engine would,
because the store of the library also loads DuckDB (docs/decisions/0046-system-figures.md).
"""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pyarrow.parquet as pq
from deltalake import DeltaTable
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

TABLE, TIME = "tables/interactions", "timestamp"  # of a data set: the table of its events, and their time
REPORTS = {"drift": "drift_report/drift.json", "evaluation": "evaluation_report/report.json"}


def freshness(lake: Path) -> Iterator[Metric]:
    """Yields the metrics of all data sets in a lake. Raises DeltaError or OSError for a table that cannot be read."""
    newest = GaugeMetricFamily(
        "tradewind_newest_event_timestamp_seconds", "Newest event in the tables of a data set.", labels=["dataset"]
    )
    written = GaugeMetricFamily(
        "tradewind_report_timestamp_seconds", "When the newest report was written.", labels=["dataset", "report"]
    )
    for folder in sorted(lake.iterdir()) if lake.is_dir() else ():
        if (folder / TABLE / "_delta_log").is_dir() and (event := newest_event(folder / TABLE)) is not None:
            newest.add_metric([folder.name], event)
        for report, name in REPORTS.items():
            if (file := folder / name).is_file():
                written.add_metric([folder.name, report], file.stat().st_mtime)
    yield from (newest, written)


def newest_event(table: Path) -> float | None:
    """The time of the newest event of a Delta table, in seconds since 1970; None if it has no event."""
    paths = [unquote(uri.removeprefix("file://")) for uri in DeltaTable(table).file_uris()]
    return max((time for path in paths for time in _newest_times(path)), default=None)


def _newest_times(path: str) -> Iterator[float]:
    """The newest time of each row group."""
    footer = pq.read_metadata(path)
    column = footer.schema.names.index(TIME)
    for number in range(footer.num_row_groups):
        found = footer.row_group(number).column(column).statistics
        if found is not None and found.has_min_max:
            yield found.max_raw / 1e6  # Delta stores microseconds; `max` would import pandas to make a time of them
