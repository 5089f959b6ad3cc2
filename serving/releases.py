"""How a version goes live and comes back, whoever keeps the register.

A release goes: the bundle is copied and verified -> the version is tagged -> the aliases move -> the pointer
file is replaced. A crash in between leaves the old champion live, and doing the same again completes it.
"""

import json
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from recommenders.errors import BundleError, ReleaseError
from serving.champion import HISTORY, Pointer, read_pointer, verify, write_pointer
from serving.locks import locked
from serving.settings import ServingSettings
from serving.versions import CHAMPION, HASH_TAG, PREVIOUS, RECORD_TAG, Version, registered_name

log = logging.getLogger(__name__)


class Releases(ABC):
    """Promotion and rollback; a register adds where versions, tags and aliases are kept."""

    def __init__(self, settings: ServingSettings) -> None:
        self.settings = settings

    @abstractmethod
    def version(self, dataset: str, number: int) -> Version:
        """One version. Raises ReleaseError if it does not exist."""

    @abstractmethod
    def set_tags(self, version: Version, tags: Mapping[str, str]) -> Version:
        """Adds tags to the version, or replaces them; returns it as it is now."""

    @abstractmethod
    def fetch(self, version: Version, folder: Path) -> Path:
        """The version's bundle, verified, in the place of `folder`."""

    @abstractmethod
    def aliases(self, dataset: str) -> dict[str, int]:
        """The aliases of the data set's model and the versions they name."""

    @abstractmethod
    def set_alias(self, dataset: str, alias: str, number: int | None) -> None:
        """Gives the alias to the version, or takes it away."""

    def pointer_file(self, dataset: str) -> Path:
        """The data set's pointer file."""
        settings = self.settings
        return settings.pointer if dataset == settings.dataset else settings.champions / f"{dataset}.json"

    def promote(self, dataset: str, number: int, record: Mapping[str, Any]) -> Version:
        """Makes the version live; `record` says why and is kept with it. Raises ReleaseError, BundleError."""
        with locked(self.settings.champions / f".{dataset}.lock"):
            version = self.version(dataset, number)
            earlier = self._promoted(dataset)
            earlier = earlier[:-1] if earlier and earlier[-1] == number else earlier  # promoted twice
            return self._release(version, earlier, {RECORD_TAG: json.dumps(record, default=str)})

    def rollback(self, dataset: str) -> Version:
        """Makes the champion before the live one live again. Raises ReleaseError if there was none."""
        with locked(self.settings.champions / f".{dataset}.lock"):
            promoted = self._promoted(dataset)
            if len(promoted) < 2:
                why = f"version {promoted[0]} is the first champion" if promoted else "no version was promoted"
                name = registered_name(dataset)
                raise ReleaseError(f"{name} cannot be rolled back: {why}; promote a version by number")
            return self._release(self.version(dataset, promoted[-2]), promoted[:-2], {})

    def _promoted(self, dataset: str) -> tuple[int, ...]:
        """The versions promoted one after another, the live one last; aliases stand in for a lost pointer."""
        try:
            live = read_pointer(self.pointer_file(dataset))
        except ReleaseError as error:  # being replaced is the cure of a damaged pointer
            log.warning("%s; its history is taken from the registry's aliases", error)
            live = None
        aliases = self.aliases(dataset)
        return live.promoted if live else tuple(aliases[a] for a in (PREVIOUS, CHAMPION) if a in aliases)

    def _release(self, version: Version, earlier: tuple[int, ...], tags: Mapping[str, str]) -> Version:
        folder = self._released_bundle(version)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self.set_tags(version, {**tags, "promoted_at": now})
        self._move_aliases(version, earlier)
        path = self.pointer_file(version.dataset)
        write_pointer(path, point_to(path, folder, version, now, earlier))
        return self.version(version.dataset, version.number)

    def _released_bundle(self, version: Version) -> Path:
        """The bundle in the champions' folder; one that lies there already is kept if it is still whole."""
        folder = self.settings.champions / version.dataset / str(version.number)
        try:
            verify(folder, version.tags[HASH_TAG])
        except BundleError:  # none yet, or damaged: fetched, and verified there
            self.fetch(version, folder)
        return folder

    def _move_aliases(self, version: Version, earlier: tuple[int, ...]) -> None:
        self.set_alias(version.dataset, PREVIOUS, earlier[-1] if earlier else None)
        self.set_alias(version.dataset, CHAMPION, version.number)


def point_to(path: Path, folder: Path, version: Version, promoted_at: str, earlier: tuple[int, ...]) -> Pointer:
    """The pointer at `path` to the version's bundle in `folder`."""
    return Pointer(
        dataset=version.dataset,
        model=version.model,
        version=version.number,
        bundle=Path(os.path.relpath(folder.resolve(), path.parent.resolve())).as_posix(),
        bundle_sha256=version.tags[HASH_TAG],
        promoted_at=promoted_at,
        run_id=version.run_id,
        earlier=earlier[-HISTORY:],
    )
