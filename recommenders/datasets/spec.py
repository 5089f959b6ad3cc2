"""A data set as a declaration: where it comes from, what its events mean, how it is judged."""

import hashlib
import importlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from recommenders import schema
from recommenders.bundle import replace_folder, sha256
from recommenders.errors import DataError


@dataclass(frozen=True)
class Protocol:
    """How a data set is split and judged (docs/protocols.md)."""

    split: Literal["time_cut", "latest_out"]
    test_days: int = 30  # of a time cut; the validation window before it is as long
    repeat: bool = True  # users come back to items they know, so known items stay in the lists
    relevant_events: tuple[str, ...] = ("purchase",)
    candidates: Literal["on_sale", "seen_before_cut"] = "seen_before_cut"

    def describe(self) -> str:
        """One line for a report."""
        if self.split == "latest_out":
            return "latest event of each user held out, full ranking over all items, known items masked"
        items = "items on sale at the cut" if self.candidates == "on_sale" else "items sold before the cut"
        known = "known items stay" if self.repeat else "known items masked"
        return f"last {self.test_days} days as test, full ranking over all {items}, {known}"


@dataclass(frozen=True)
class Counts:
    """Where every row that was read went: read = kept + merged + netted + set_aside + quarantined."""

    read: int
    kept: int
    merged: int = 0  # exact duplicates
    netted: int = 0  # cancellations against their purchase
    set_aside: Mapping[str, int] = field(default_factory=dict)  # by declared rule
    quarantined: int = 0

    def __post_init__(self) -> None:
        accounted = self.kept + self.merged + self.netted + sum(self.set_aside.values()) + self.quarantined
        if accounted != self.read:
            raise DataError(f"rows do not reconcile: read {self.read}, accounted for {accounted} ({asdict(self)})")


@dataclass(frozen=True)
class Tables:
    """A data set, clean: each table conforms to its schema in recommenders.schema."""

    interactions: pa.Table
    items: pa.Table
    users: pa.Table
    quarantine: pa.Table
    counts: Counts

    @classmethod
    def of(
        cls, interactions: pa.Table, items: pa.Table, users: pa.Table, quarantine: pa.Table, counts: Counts
    ) -> "Tables":
        """The tables, each held against its schema. Raises DataError where one does not fit."""
        return cls(
            schema.conform(interactions, schema.INTERACTIONS, "interactions"),
            schema.conform(items, schema.ITEMS, "items"),
            schema.conform(users, schema.USERS, "users"),
            schema.conform(quarantine, schema.QUARANTINE, "quarantine"),
            counts,
        )


@dataclass(frozen=True)
class DatasetSpec:
    """One source. `parser` is "module:function", a function (source folder or file) -> Tables."""

    name: str
    title: str
    licence: str
    layout: str  # which files a source folder holds, in words for an error message
    files: tuple[str, ...]  # glob patterns of those files
    parser: str
    protocol: Protocol
    real_data_folder: str = ""  # its folder below TRADEWIND_REAL_DATA
    generator: str = ""  # "module:function" (folder, scale, seed) of a data set that the project makes itself

    def locate(self, source: Path) -> list[Path]:
        """The source's files, sorted. Raises DataError if there are none or one of them is empty."""
        if not source.exists():
            raise DataError(f"{self.name}: no such file or folder: {source}; --source expects {self.layout}")
        found = [source] if source.is_file() else sorted({p for g in self.files for p in source.glob(g)})
        if not found:
            patterns = ", ".join(self.files)
            raise DataError(f"{self.name}: {source} holds none of {patterns}; --source expects {self.layout}")
        for path in found:
            if path.stat().st_size == 0:
                raise DataError(f"{self.name}: {path} is empty; expected {self.layout}")
        return found

    def make(self, folder: Path, scale: float, seed: int) -> None:
        """Writes the files of a data set that the project makes itself, unless the same ones lie there already.

        Raises DataError rather than replace a folder that it did not make.
        """
        wish, note = {"scale": scale, "seed": seed, "generator": self.generator}, folder / "made.json"
        if note.exists() and json.loads(note.read_text()) == wish:
            return
        if folder.exists() and not note.exists():
            raise DataError(f"{self.name}: {folder} was not made by this project and stays as it is; move it away")
        staging = folder.with_name(f".{folder.name}-new")
        _resolve(self.generator)(staging, scale, seed)
        (staging / note.name).write_text(json.dumps(wish))
        replace_folder(staging, folder)

    def fingerprint(self, source: Path) -> dict[str, Any]:
        """{"files": [{"name", "bytes", "sha256"}], "version"}: the version changes when any byte of a file does."""
        files = [{"name": p.name, "bytes": p.stat().st_size, "sha256": sha256(p)} for p in self.locate(source)]
        return {"files": files, "version": hashlib.sha256(json.dumps(files).encode()).hexdigest()[:16]}

    def read(self, source: Path) -> Tables:
        """The source as clean tables. Raises DataError if it cannot be read."""
        self.locate(source)
        tables: Tables = _resolve(self.parser)(source)
        return tables


def _resolve(name: str) -> Callable[..., Any]:
    """The function behind "module:function", imported only when it is needed."""
    module, function = name.split(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found
