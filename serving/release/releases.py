"""Promotion and rollback of versions, independent of the registry that stores them.

Steps of a release: copy and verify the bundle -> tag the version -> move the aliases -> replace the pointer file.
After a crash between two steps the old champion still serves, and a second try completes the release.
"""

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from recommenders import clock
from recommenders.errors import BundleError, ReleaseError, TradewindError
from recommenders.models import all_models
from recommenders.storage.locks import locked
from serving.champion.pointer import Pointer, earlier_versions, read_pointer, verify, write_pointer
from serving.release.gate import GateRecord
from serving.release.versions import (
    CHAMPION,
    PREVIOUS,
    Version,
    promoted_tags,
    record_tags,
    registered_name,
    rolled_back_tags,
)
from serving.settings import ServingSettings

log = logging.getLogger(__name__)


class Releases(ABC):
    """Promotion and rollback. A subclass, the registry, stores versions, tags and aliases."""

    def __init__(self, settings: ServingSettings) -> None:
        self.settings = settings

    @abstractmethod
    def versions(self, dataset: str) -> list[Version]:
        """All versions of the data set, newest first."""

    @abstractmethod
    def version(self, dataset: str, number: int) -> Version:
        """One version. Raises ReleaseError if it does not exist."""

    @abstractmethod
    def set_tags(self, version: Version, tags: Mapping[str, str]) -> Version:
        """Adds tags to the version, or replaces them; returns the updated version."""

    @abstractmethod
    def download_bundle(self, version: Version, folder: Path) -> Path:
        """Downloads the version's bundle, verifies it and replaces `folder` by it; returns the folder."""

    @abstractmethod
    def aliases(self, dataset: str) -> dict[str, int]:
        """The aliases of the data set's model and the versions they name."""

    @abstractmethod
    def set_alias(self, dataset: str, alias: str, number: int | None) -> None:
        """Gives the alias to the version, or removes the alias if number is None."""

    def pointer_file(self, dataset: str) -> Path:
        """The data set's pointer file."""
        settings = self.settings
        return settings.pointer if dataset == settings.dataset else settings.champions / f"{dataset}.json"

    def pointer(self, dataset: str) -> Pointer | None:
        """The pointer to the champion; None if no version serves or the pointer file is damaged."""
        try:
            return read_pointer(self.pointer_file(dataset))
        except ReleaseError:
            return None

    def promote(self, dataset: str, number: int, record: GateRecord) -> Version:
        """Makes the version the champion; `record` gives the reasons and is stored with it.

        This ends a pin of the previous champion, and removes the rollback mark from versions of the same recipe.
        Raises ReleaseError, BundleError.
        """
        with self._locked_and_reconciled(dataset):
            version = self.version(dataset, number)
            champion, earlier = self._history(dataset)
            earlier = earlier if champion is None else (*earlier, champion)
            released = self._release(version, earlier, record_tags(record))
            self._clear_rollback_marks(released)
            return released

    def rollback(self, dataset: str) -> Version:
        """Makes the previous champion the champion again, or the newest earlier one that can be loaded.

        The replaced version gets a rollback mark: a retraining of the same recipe and data is not promoted
        automatically. Raises ReleaseError if no earlier champion is left that can be loaded.
        """
        with self._locked_and_reconciled(dataset):
            champion, earlier = self._history(dataset)
            name = registered_name(dataset)
            if not earlier:
                pointer = self.pointer(dataset)  # a champion that was deleted in the registry serves, too
                serves = f"version {pointer.version} serves, and no earlier champion is left" if pointer else ""
                why = serves or "no version serves"
                raise ReleaseError(f"{name} cannot be rolled back: {why}; promote a version by number")
            for place, version in self._loadable_versions(dataset, earlier):
                if champion is not None:
                    self.set_tags(self.version(dataset, champion), rolled_back_tags(clock.now()))
                return self._release(version, earlier[:place], {})
            raise ReleaseError(
                f"{name} cannot be rolled back: no earlier champion can be loaded; promote a version by number"
            )

    def pin(self, dataset: str, number: int | None) -> Pointer | None:
        """Pins the champion, so that no retraining replaces it; None removes the pin.

        Returns the pointer as it was before. Raises ReleaseError if the version is not the champion.
        """
        with self._locked_and_reconciled(dataset):
            pointer = self.pointer(dataset)
            if number is not None and (pointer is None or pointer.version != number):
                serves = f"version {pointer.version} serves" if pointer else "no version serves yet"
                raise ReleaseError(
                    f"version {number} of {dataset} cannot be pinned: {serves}; promote it first: "
                    f"tradewind release promote {number}"
                )
            if pointer is not None and pointer.pinned != (number is not None):
                write_pointer(self.pointer_file(dataset), replace(pointer, pinned=number is not None))
            return pointer

    def reconcile(self, dataset: str) -> list[str]:
        """Makes pointer, released bundle and aliases consistent again if something was deleted or damaged.

        The pointer wins, because the service follows it. Returns one line for each problem found.
        """
        with locked(self.lock_file(dataset)):
            return self._reconcile(dataset)

    @contextmanager
    def _locked_and_reconciled(self, dataset: str) -> Iterator[None]:
        """Holds the data set's lock; reconciles the state first."""
        with locked(self.lock_file(dataset)):
            for line in self._reconcile(dataset):
                log.warning(line)
            yield

    def lock_file(self, dataset: str) -> Path:
        """The lock of the data set's releases: who holds it may change pointer, aliases and released bundles."""
        return self.settings.champions / f".{dataset}.lock"

    def _reconcile(self, dataset: str) -> list[str]:
        name, aliases = registered_name(dataset), self.aliases(dataset)
        pointer, lines = self.pointer(dataset), []
        if pointer is None:
            named = tuple(aliases[alias] for alias in (PREVIOUS, CHAMPION) if alias in aliases)
            if named:
                why = "is damaged" if self.pointer_file(dataset).exists() else "is gone"
                lines.append(f"the pointer file of {name} {why}: {self._restore_earlier(dataset, named)}")
        elif problem := self._bundle_error(pointer):
            registered = self._registered(pointer)
            if registered and any(self._loadable_versions(dataset, (pointer.version,))):
                lines.append(
                    f"the bundle of version {pointer.version} of {name} was damaged and was downloaded again: {problem}"
                )
            else:
                outcome = self._restore_earlier(dataset, self._served(dataset, pointer.earlier))
                lines.append(f"version {pointer.version} of {name} cannot be loaded ({problem}): {outcome}")
        elif self._registered(pointer) is None:
            lines.append(
                f"version {pointer.version} of {name} serves, but it is no longer in the registry; the next promotion "
                "or rollback replaces it"
            )
        return lines + self._repair_aliases(dataset)

    def _bundle_error(self, pointer: Pointer) -> str:
        """What is wrong with the champion's bundle; empty if nothing is."""
        try:
            verify(pointer.bundle_folder(self.pointer_file(pointer.dataset)), pointer.bundle_sha256)
        except BundleError as error:
            return str(error)
        return ""

    def _restore_earlier(self, dataset: str, numbers: tuple[int, ...]) -> str:
        """Makes the newest loadable version the champion; without one, removes the pointer. Returns what was done."""
        for place, version in self._loadable_versions(dataset, numbers):
            self._release(version, numbers[:place], {})
            return f"version {version.number} serves"
        self.pointer_file(dataset).unlink(missing_ok=True)
        return "no version serves until one is promoted"

    def _loadable_versions(self, dataset: str, numbers: tuple[int, ...]) -> Iterator[tuple[int, Version]]:
        """Place and version of those that can be loaded, the last first; logs a line for each that cannot."""
        for place in reversed(range(len(numbers))):
            version = self.version(dataset, numbers[place])
            try:
                self._released_bundle(version)
            except TradewindError as error:
                log.warning("version %s of %s is skipped: %s", version.number, version.name, error)
                continue
            yield place, version

    def _repair_aliases(self, dataset: str) -> list[str]:
        """Sets the aliases to the versions in the pointer. Returns a line if they were different."""
        champion, earlier = self._history(dataset)
        wanted = {CHAMPION: champion, PREVIOUS: earlier[-1] if earlier else None}
        found = self.aliases(dataset)
        if not (wrong := [alias for alias, number in wanted.items() if found.get(alias) != number]):
            return []
        for alias in wrong:
            self.set_alias(dataset, alias, wanted[alias])
        names = ", ".join(f"{alias}: {wanted[alias] or 'none'}" for alias in wrong)
        return [f"the aliases of {registered_name(dataset)} did not match the champion and were corrected ({names})"]

    def _history(self, dataset: str) -> tuple[int | None, tuple[int, ...]]:
        """The numbers of the champion and of earlier champions, newest last; only those still in the registry."""
        pointer = self.pointer(dataset)
        if pointer is None:
            return None, ()
        registered = self._registered(pointer)
        return registered.number if registered else None, self._served(dataset, pointer.earlier)

    def _registered(self, pointer: Pointer) -> Version | None:
        """The registry's version for a pointer, by number and hash: numbers restart when a whole model is deleted."""
        known = (version for version in self.versions(pointer.dataset) if version.number == pointer.version)
        return next((version for version in known if version.bundle_sha256 == pointer.bundle_sha256), None)

    def _served(self, dataset: str, numbers: tuple[int, ...]) -> tuple[int, ...]:
        """Those numbers whose versions are in the registry and served: another version may have a number by now."""
        versions = self.versions(dataset)
        served = {version.number for version in versions if version.promoted_at and not version.pruned_at}
        return tuple(number for number in numbers if number in served)

    def _clear_rollback_marks(self, released: Version) -> None:
        """Removes the rollback mark from all versions with the recipe of the released version."""
        for version in self.versions(released.dataset):
            same = (version.model, version.recipe) == (released.model, released.recipe)
            if same and version.rolled_back_at:
                self.set_tags(version, rolled_back_tags(None))

    def _release(self, version: Version, earlier: tuple[int, ...], tags: Mapping[str, str]) -> Version:
        folder = self._released_bundle(version)
        now = clock.now()
        path = self.pointer_file(version.dataset)
        pointer = make_pointer(path, folder, version, now.isoformat(timespec="seconds"), earlier)
        self.set_tags(version, {**tags, **promoted_tags(now)})
        self._move_aliases(version, pointer.earlier)
        write_pointer(path, pointer)
        return self.version(version.dataset, version.number)

    def _released_bundle(self, version: Version) -> Path:
        """The version's bundle in the folder of champions; it loads. A complete bundle that is there is kept."""
        folder = self.settings.champions / version.dataset / str(version.number)
        if version.pruned_at:
            raise ReleaseError(
                f"version {version.number} of {version.name} was pruned on {version.pruned_at:%Y-%m-%d}; "
                "promote another version or train again"
            )
        if not version.bundle_sha256:
            raise ReleaseError(f"version {version.number} of {version.name} was not published by tradewind: no bundle")
        try:
            verify(folder, version.bundle_sha256)
        except BundleError:  # there is none yet, or it is damaged: downloaded, and verified there
            self.download_bundle(version, folder)
        all_models.load(folder)  # a complete bundle of older code may still not load
        return folder

    def _move_aliases(self, version: Version, earlier: tuple[int, ...]) -> None:
        self.set_alias(version.dataset, PREVIOUS, earlier[-1] if earlier else None)
        self.set_alias(version.dataset, CHAMPION, version.number)


def make_pointer(path: Path, folder: Path, version: Version, promoted_at: str, earlier: tuple[int, ...]) -> Pointer:
    """The pointer at `path` to the version's bundle in `folder`."""
    return Pointer(
        dataset=version.dataset,
        model=version.model,
        version=version.number,
        bundle=Path(os.path.relpath(folder.resolve(), path.parent.resolve())).as_posix(),
        bundle_sha256=version.bundle_sha256,
        promoted_at=promoted_at,
        run_id=version.run_id,
        earlier=earlier_versions(earlier, version.number),
    )
