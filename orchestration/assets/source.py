"""The data that a data set has now: the files of its source, or a restored version."""

from typing import Any

from orchestration.settings import Settings
from recommenders.datasets.store import Version


def restored_version(settings: Settings) -> Version | None:
    """The restored version of the tables, if one is current. Its source may be gone."""
    current = settings.tables.current()
    return current if current is not None and current.restored_from is not None else None


def fingerprint(settings: Settings, prepare: bool = True) -> dict[str, Any]:
    """{"files", "version"} of the data for the next run. Raises DataError where there is none.

    prepare: generate or download the files first if the data set needs that; False: use the files as they are.
    """
    if restored := restored_version(settings):
        return {"files": restored.files, "version": restored.data_version}
    return settings.spec.fingerprint(settings.prepare_source() if prepare else settings.source_of(settings.spec))


def ingest(settings: Settings) -> Version:
    """The newest version of the tables; reads the source first if it has changed. Raises DataError."""
    if restored := restored_version(settings):
        return restored
    found = fingerprint(settings)
    return settings.spec.ingest(settings.source_of(settings.spec), settings.tables, found)
