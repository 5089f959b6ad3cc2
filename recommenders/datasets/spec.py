"""A data set as a declaration: where it comes from, what its events mean, how it is judged."""

import hashlib
import importlib
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from recommenders.datasets.reading.ingest import TABLES, Counts, Parser, ingest
from recommenders.datasets.reading.text import is_blank
from recommenders.datasets.store import TableStore, Version, in_time_order
from recommenders.errors import DataError
from recommenders.storage import schema
from recommenders.storage.files import replace_folder, sha256

READER = 4  # grows when the same files would become other tables


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
class Tables:
    """A data set, clean: each table conforms to its schema in recommenders.storage.schema."""

    interactions: pa.Table
    items: pa.Table
    users: pa.Table
    quarantine: pa.Table
    counts: Counts


@dataclass(frozen=True)
class DatasetSpec:
    """One source. `parser` is a recommenders.datasets.reading.ingest.Parser, or "module:function" of one."""

    name: str
    title: str
    licence: str
    layout: str  # which files a source folder holds, in words for an error message
    files: tuple[str, ...]  # glob patterns of those files
    parser: str | Parser
    protocol: Protocol
    max_quarantined: float = 0.05  # share of the rows read beyond which nothing is made of the data
    real_data_folder: str = ""  # its folder below TRADEWIND_REAL_DATA
    generator_version: int = 1  # grows when the same scale and seed would give other files
    generator: str = ""  # "module:function" (folder, scale, seed) of a data set that the project makes or pulls itself
    folder: Path | None = None  # where the files lie unless a source is given

    def locate(self, source: Path) -> list[Path]:
        """The source's files, sorted; one of a glob may hold nothing among others and is left out: a quiet day.

        Raises DataError if there are none, if all or a file of a set name are empty, or if they cannot be looked at.
        """
        with on_disk(self.name, source):
            if not source.exists():
                raise DataError(f"{self.name}: no such file or folder: {source}; --source expects {self.layout}")
            found = [source] if source.is_file() else real_files(source, self.files)
            check_names(self.name, found)
            full = [path for path in found if not is_blank(path)]
        if not found:
            patterns = ", ".join(self.files)
            raise DataError(f"{self.name}: {source} holds none of {patterns}; --source expects {self.layout}")
        for path in found:
            if path not in full and (not full or path.name in self.files):
                raise DataError(f"{self.name}: {path} is empty; expected {self.layout}")
        return full

    def make(self, folder: Path, scale: float, seed: int) -> None:
        """Writes the files of a data set that the project makes itself, unless the same ones lie there already.

        Raises DataError rather than replace a folder that it did not make.
        """
        wish = {"scale": scale, "seed": seed, "generator": self.generator, "version": self.generator_version}
        note = folder / "made.json"
        if note.exists() and json.loads(note.read_text()) == wish:
            return
        if folder.exists() and not note.exists():
            raise DataError(f"{self.name}: {folder} was not made by this project and stays as it is; move it away")
        staging = folder.with_name(f".{folder.name}-new")
        _resolve(self.generator)(staging, scale, seed)
        (staging / note.name).write_text(json.dumps(wish))
        replace_folder(staging, folder)

    def fingerprint(self, source: Path) -> dict[str, Any]:
        """{"files": [{"name", "bytes", "sha256"}], "version"}: the version changes when any byte of a file does.

        It also changes with READER, so that tables which an older reader made are read anew.
        """
        files = [{"name": p.name, "bytes": p.stat().st_size, "sha256": sha256(p)} for p in self.locate(source)]
        told = json.dumps([READER, files])
        return {"files": files, "version": hashlib.sha256(told.encode()).hexdigest()[:16]}

    def ingest(self, source: Path, folder: Path, memory: str = "2GB") -> Counts:
        """Writes the source's clean tables as Parquet files into `folder`; see recommenders.datasets.ingest."""
        self.locate(source)
        parser: Parser = _resolve(self.parser) if isinstance(self.parser, str) else self.parser
        return ingest(self.name, parser, source, folder, memory)

    def read(self, source: Path) -> Tables:
        """The source as clean tables in memory, events in time order. Raises DataError if it cannot be read."""
        with tempfile.TemporaryDirectory() as folder:
            counts = self.ingest(source, Path(folder))
            found = {
                name: schema.conform(pq.read_table(Path(folder) / f"{name}.parquet"), wanted, name)
                for name, wanted in TABLES.items()
            }
        return Tables(**{**found, "interactions": in_time_order(found["interactions"])}, counts=counts)

    def take_in(self, source: Path, store: TableStore, fingerprint: dict[str, Any] | None = None) -> Version:
        """Reads the source into the store as a new version, unless the newest one is of the same files already.

        A version that somebody went back to stays until it is released. Raises DataError if the source cannot be read;
        the store then is as it was.
        """
        current = store.current()
        if current is not None and current.restored_from is not None:
            return current
        known = fingerprint or self.fingerprint(source)
        if current is not None and current.data_version == known["version"]:
            return current
        store.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=store.folder, prefix=".reading-") as folder:
            counts = self.ingest(source, Path(folder))
            return store.commit(Path(folder), known["version"], counts, known["files"])


def real_files(folder: Path, patterns: Sequence[str]) -> list[Path]:
    """The files below a folder that globs mean, sorted; hidden ones, folders and dangling links are none."""
    next(folder.iterdir(), None)  # a glob finds nothing in a folder that cannot be listed, and does not say why
    found = sorted({path for pattern in patterns for path in folder.glob(pattern)})
    return [path for path in found if not path.name.startswith(".") and path.is_file()]


def check_names(dataset: str, paths: Sequence[Path]) -> None:
    """Raises DataError if a path is no UTF-8: no reader could be told it."""
    for path in paths:
        if printable(path) != str(path):
            raise DataError(f"{dataset}: {printable(path)}: got a name that is not UTF-8; rename it")


def printable(path: object) -> str:
    """A path, its bytes that are no UTF-8 as escapes."""
    return str(path).encode(errors="backslashreplace").decode()


@contextmanager
def on_disk(dataset: str, source: Path) -> Iterator[None]:
    """Tells in one line, as a DataError, what the system says of a file or folder that cannot be looked at."""
    check_names(dataset, [source])
    try:
        yield
    except OSError as error:
        place = printable(error.filename or source)
        said = error.strerror or type(error).__name__
        raise DataError(f"{dataset}: {place} cannot be read: {said}; see to the path and its permissions") from error


def _resolve(name: str) -> Callable[..., Any]:
    """The function behind "module:function", imported only when it is needed."""
    module, function = name.split(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found
