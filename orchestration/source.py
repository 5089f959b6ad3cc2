"""Which data a data set holds now: its source's files, or a version that somebody went back to."""

from typing import Any

from orchestration.settings import Settings


def fingerprint(settings: Settings, prepare: bool = True) -> dict[str, Any]:
    """{"files", "version"} of the data that the next run learns from. Raises DataError where there is none.

    prepare: make or pull the files first where the data set asks for that; without, as they lie there.
    """
    kept = settings.tables.current()
    if kept is not None and kept.restored_from is not None:
        return {"files": kept.files, "version": kept.data_version}
    return settings.spec.fingerprint(settings.prepare_source() if prepare else settings.source_of(settings.spec))
