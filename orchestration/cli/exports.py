"""Tables of the lake as people and programs want them."""

from pathlib import Path

import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from orchestration.settings import Settings
from recommenders.datasets.profile.page import draw, render
from recommenders.datasets.profile.profiling import Description, describe
from recommenders.datasets.reading.ingest import TABLES
from recommenders.datasets.stops import stops
from recommenders.datasets.store import Version
from recommenders.errors import DataError
from recommenders.storage.files import atomic_file


def write_lists(settings: Settings, output: Path | None) -> tuple[Path, int]:
    """The batch lists at `output` (.parquet or .csv), or where the lake keeps them; returns (path, rows)."""
    kept = settings.lake / settings.dataset / "batch_recommendations.parquet"
    table = pq.read_table(kept)
    if output is None:
        return kept, table.num_rows
    with atomic_file(output) as staging:
        (pa_csv.write_csv if output.suffix == ".csv" else pq.write_table)(table, staging)
    return output, table.num_rows


def describe_tables(settings: Settings) -> Description:
    """What the newest version of a data set's tables holds. Raises DataError where there is none yet."""
    store = settings.tables
    version = store.current()
    if version is None:
        raise DataError(f"{settings.dataset}: there are no tables in {store.folder} yet; materialise them first")
    files = {name: store.files(name, version) for name in TABLES}
    return describe(files, version.counts, settings.dataset, spill=store.folder)


def stops_of(settings: Settings, version: Version) -> list[str]:
    """What would stop a run on a version of a data set's tables, in words."""
    files = {name: settings.tables.files(name, version) for name in TABLES}
    return stops(settings.spec, version.counts, files)


def write_page(found: Description, output: Path) -> None:
    """The page as Markdown, its picture beside it."""
    drawing = output.with_suffix(".png")
    output.parent.mkdir(parents=True, exist_ok=True)
    drawing.write_bytes(draw(found))
    output.write_text(f"{render(found)}\n![Long tail, and events over time]({drawing.name})\n")
