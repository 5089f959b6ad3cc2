"""Which data a data set holds now: its source's files, or a version that somebody went back to."""

from typing import Any

from orchestration.settings import Settings
from recommenders.datasets.store import Version


def held(settings: Settings) -> Version | None:
    """The version that somebody went back to and that stays, if there is one; its source may be gone."""
    current = settings.tables.current()
    return current if current is not None and current.restored_from is not None else None


def fingerprint(settings: Settings, prepare: bool = True) -> dict[str, Any]:
    """{"files", "version"} of the data that the next run learns from. Raises DataError where there is none.

    prepare: make or pull the files first where the data set asks for that; without, as they lie there.
    """
    if kept := held(settings):
        return {"files": kept.files, "version": kept.data_version}
    return settings.spec.fingerprint(settings.prepare_source() if prepare else settings.source_of(settings.spec))


def take_in(settings: Settings) -> Version:
    """The newest version of the tables, read from the source first if that has changed. Raises DataError."""
    if kept := held(settings):
        return kept
    known = fingerprint(settings)
    return settings.spec.take_in(settings.source_of(settings.spec), settings.tables, known)
