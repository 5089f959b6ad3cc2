"""Exports of the lake: the profile of a data set."""

from pathlib import Path

from orchestration.settings import Settings
from recommenders.datasets.profile.page import draw, render
from recommenders.datasets.profile.profiling import DatasetProfile, profile_tables
from recommenders.datasets.reading.ingest import TABLES
from recommenders.datasets.stop_reasons import stop_reasons
from recommenders.datasets.store import Version
from recommenders.errors import DataError


def describe_tables(settings: Settings) -> DatasetProfile:
    """The profile of the newest version of a data set's tables. Raises DataError where there is none yet."""
    store = settings.tables
    version = store.current()
    if version is None:
        raise DataError(f"{settings.dataset}: there are no tables in {store.folder} yet; materialise them first")
    files = {name: store.files(name, version) for name in TABLES}
    return profile_tables(files, version.counts, settings.dataset, spill=store.folder)


def stops_of(settings: Settings, version: Version) -> list[str]:
    """The reasons that would stop a run on a version of a data set's tables."""
    files = {name: settings.tables.files(name, version) for name in TABLES}
    return stop_reasons(settings.spec, version.counts, files)


def write_page(found: DatasetProfile, output: Path) -> None:
    """Writes the profile as Markdown, and its picture beside it."""
    drawing = output.with_suffix(".png")
    output.parent.mkdir(parents=True, exist_ok=True)
    drawing.write_bytes(draw(found))
    output.write_text(f"{render(found)}\n![Long tail, and events over time]({drawing.name})\n")
