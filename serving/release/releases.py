"""How a version goes live and comes back, whoever keeps the register.

A release goes: the bundle is copied and verified -> the version is tagged -> the aliases move -> the pointer
file is replaced. A crash in between leaves the old champion live, and doing the same again completes it.
"""

import json
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from recommenders.errors import BundleError, ReleaseError, TradewindError
from recommenders.models import catalog
from recommenders.storage.locks import locked
from serving.pointer import HISTORY, Pointer, read_pointer, verify, write_pointer
from serving.release.versions import CHAMPION, HASH_TAG, PREVIOUS, RECORD_TAG, ROLLED_BACK_TAG, Version, registered_name
from serving.settings import ServingSettings

log = logging.getLogger(__name__)


class Releases(ABC):
    """Promotion and rollback; a register adds where versions, tags and aliases are kept."""

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

    def pointer(self, dataset: str) -> Pointer | None:
        """What serves; None where nothing does or the pointer file is damaged."""
        try:
            return read_pointer(self.pointer_file(dataset))
        except ReleaseError:
            return None

    def promote(self, dataset: str, number: int, record: Mapping[str, Any]) -> Version:
        """Makes the version live; `record` says why and is kept with it. Raises ReleaseError, BundleError.

        A pin of the version before ends, and so does the mark of a rollback on versions of the same recipe.
        """
        with self._changing(dataset):
            version = self.version(dataset, number)
            live, earlier = self._history(dataset)
            earlier = earlier if live in (None, number) else (*earlier, live)
            released = self._release(version, earlier, {RECORD_TAG: json.dumps(record, default=str)})
            self._forgive(released)
            return released

    def rollback(self, dataset: str) -> Version:
        """Makes the champion before the live one live again, or the newest one before it that can be loaded.

        The version it replaces is marked: a retraining of the same recipe and data will not bring it back by itself.
        Raises ReleaseError if there was none.
        """
        with self._changing(dataset):
            live, earlier = self._history(dataset)
            name = registered_name(dataset)
            if not earlier:
                why = f"version {live} is the first champion" if live else "no version was promoted"
                raise ReleaseError(f"{name} cannot be rolled back: {why}; promote a version by number")
            for place, version in self._loadable(dataset, earlier):
                if live is not None:
                    now = datetime.now(UTC).isoformat(timespec="seconds")
                    self.set_tags(self.version(dataset, live), {ROLLED_BACK_TAG: now})
                return self._release(version, earlier[:place], {})
            raise ReleaseError(
                f"{name} cannot be rolled back: no champion before can be loaded; promote a version by number"
            )

    def pin(self, dataset: str, number: int | None) -> Pointer | None:
        """Pins the version that serves, so that no retraining replaces it; None takes the pin away.

        Returns the pointer before. Raises ReleaseError where that version does not serve.
        """
        with self._changing(dataset):
            live = self.pointer(dataset)
            if number is not None and (live is None or live.version != number):
                serves = f"version {live.version} serves" if live else "nothing serves yet"
                raise ReleaseError(
                    f"version {number} of {dataset} cannot be pinned: {serves}; promote it first: "
                    f"tradewind release promote {number}"
                )
            if live is not None and live.pinned != (number is not None):
                write_pointer(self.pointer_file(dataset), replace(live, pinned=number is not None))
            return live

    def reconcile(self, dataset: str) -> list[str]:
        """Brings pointer, released bundle and aliases together where something was deleted or damaged.

        The pointer is right, because it is what buyers get. Returns a line on each thing that was amiss.
        """
        with locked(self._lock_of(dataset)):
            return self._reconcile(dataset)

    @contextmanager
    def _changing(self, dataset: str) -> Iterator[None]:
        """Holds the data set's lock; the state is reconciled first."""
        with locked(self._lock_of(dataset)):
            for line in self._reconcile(dataset):
                log.warning(line)
            yield

    def _lock_of(self, dataset: str) -> Path:
        return self.settings.champions / f".{dataset}.lock"

    def _reconcile(self, dataset: str) -> list[str]:
        name, aliases = registered_name(dataset), self.aliases(dataset)
        live, said = self.pointer(dataset), []
        if live is None:
            named = tuple(aliases[alias] for alias in (PREVIOUS, CHAMPION) if alias in aliases)
            if named:
                why = "is damaged" if self.pointer_file(dataset).exists() else "is gone"
                said.append(f"the pointer file of {name} {why}: {self._fall_back(dataset, named)}")
        elif trouble := self._damage(live):
            registered = self._registered(live)
            if registered and any(self._loadable(dataset, (live.version,))):
                said.append(
                    f"the bundle of version {live.version} of {name} was damaged and is fetched anew: {trouble}"
                )
            else:
                back = self._fall_back(dataset, live.earlier)
                said.append(f"version {live.version} of {name} cannot be loaded ({trouble}): {back}")
        elif self._registered(live) is None:
            said.append(
                f"version {live.version} of {name} serves, but the registry has it no more; the next promotion or "
                "rollback replaces it"
            )
        return said + self._mend_aliases(dataset)

    def _damage(self, live: Pointer) -> str:
        """What is wrong with the bundle that serves, if anything."""
        try:
            verify(live.bundle_folder(self.pointer_file(live.dataset)), live.bundle_sha256)
        except BundleError as error:
            return str(error)
        return ""

    def _fall_back(self, dataset: str, numbers: tuple[int, ...]) -> str:
        """Makes the newest of the versions that can be loaded live, and says so; nothing serves where none can."""
        for place, version in self._loadable(dataset, self._known(dataset, numbers)):
            self._release(version, self._known(dataset, numbers)[:place], {})
            return f"version {version.number} serves"
        self.pointer_file(dataset).unlink(missing_ok=True)
        return "nothing serves until a version is promoted"

    def _loadable(self, dataset: str, numbers: tuple[int, ...]) -> Iterator[tuple[int, Version]]:
        """Place and version of those that can be loaded, the last first; a line in the log on each that cannot."""
        for place in reversed(range(len(numbers))):
            version = self.version(dataset, numbers[place])
            try:
                self._released_bundle(version)
            except TradewindError as error:
                log.warning("version %s of %s is passed over: %s", version.number, version.name, error)
                continue
            yield place, version

    def _mend_aliases(self, dataset: str) -> list[str]:
        """The aliases name what the pointer says. A line if they did not."""
        live, earlier = self._history(dataset)
        wanted = {CHAMPION: live, PREVIOUS: earlier[-1] if earlier else None}
        found = self.aliases(dataset)
        if not (amiss := [alias for alias, number in wanted.items() if found.get(alias) != number]):
            return []
        for alias in amiss:
            self.set_alias(dataset, alias, wanted[alias])
        names = ", ".join(f"{alias}: {wanted[alias] or 'none'}" for alias in amiss)
        return [f"the aliases of {registered_name(dataset)} did not fit what serves; set anew ({names})"]

    def _history(self, dataset: str) -> tuple[int | None, tuple[int, ...]]:
        """The live version's number, and those live before it, newest last; only those the registry still has."""
        live = self.pointer(dataset)
        if live is None:
            return None, ()
        registered = self._registered(live)
        return registered.number if registered else None, self._known(dataset, live.earlier)

    def _registered(self, live: Pointer) -> Version | None:
        """The registry's version that a pointer names; numbers start again where a model was deleted as a whole."""
        known = (version for version in self.versions(live.dataset) if version.number == live.version)
        return next((version for version in known if version.tags.get(HASH_TAG) == live.bundle_sha256), None)

    def _known(self, dataset: str, numbers: tuple[int, ...]) -> tuple[int, ...]:
        there = {version.number for version in self.versions(dataset)}
        return tuple(number for number in numbers if number in there)

    def _forgive(self, released: Version) -> None:
        """The recipe of a version is back: that it was rolled back once holds no longer."""
        for version in self.versions(released.dataset):
            same = (version.model, version.tags.get("recipe")) == (released.model, released.tags.get("recipe"))
            if same and version.tags.get(ROLLED_BACK_TAG):
                self.set_tags(version, {ROLLED_BACK_TAG: ""})

    def _release(self, version: Version, earlier: tuple[int, ...], tags: Mapping[str, str]) -> Version:
        folder = self._released_bundle(version)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self.set_tags(version, {**tags, "promoted_at": now})
        self._move_aliases(version, earlier)
        path = self.pointer_file(version.dataset)
        write_pointer(path, point_to(path, folder, version, now, earlier))
        return self.version(version.dataset, version.number)

    def _released_bundle(self, version: Version) -> Path:
        """The bundle in the champions' folder, which loads; one that lies there already is kept if it is whole."""
        folder = self.settings.champions / version.dataset / str(version.number)
        if HASH_TAG not in version.tags:
            raise ReleaseError(f"version {version.number} of {version.name} was not published by tradewind: no bundle")
        try:
            verify(folder, version.tags[HASH_TAG])
        except BundleError:  # none yet, or damaged: fetched, and verified there
            self.fetch(version, folder)
        catalog.load(folder)  # one of older code may be whole and yet not load
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
