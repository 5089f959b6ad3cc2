"""The declaration of a data set: its source files, its parser, and its evaluation protocol."""

import hashlib
import importlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from recommenders.datasets.reading.counted_feedback import FeedbackRule, add_feedback, count_feedback, newest_event
from recommenders.datasets.reading.ingest import TABLES, Counts, Parser, ingest
from recommenders.datasets.reading.text import is_blank
from recommenders.datasets.store import Fingerprint, SourceFile, SourcePart, TableStore, Version, in_time_order
from recommenders.errors import DataError
from recommenders.storage import schema
from recommenders.storage.atomic_files import atomic_folder, sha256
from recommenders.storage.feedback_files import FeedbackFiles

READER = 4  # raised when the same files would give other tables


AttributeType = Literal["text", "number", "boolean"]  # of a free attribute


@dataclass(frozen=True)
class Protocol:
    """How a data set is split and evaluated (docs/protocols.md)."""

    split: Literal["time_cut", "latest_out"]
    test_days: int = 30  # length of the test window of a time cut; the validation window before it is as long
    repeat: bool = True  # repeat consumption counts, so known items stay in the ranking
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
    """The clean tables of a data set; each conforms to its schema in recommenders.storage.schema."""

    interactions: pa.Table
    items: pa.Table
    users: pa.Table
    quarantine: pa.Table
    counts: Counts


@dataclass(frozen=True)
class DatasetSpec:
    """One data set. `parser` is a recommenders.datasets.reading.ingest.Parser, or the "module:function" of one."""

    name: str
    title: str
    licence: str
    layout: str  # the files of a source folder, described for error messages
    files: tuple[str, ...]  # glob patterns of these files
    parser: str | Parser
    protocol: Protocol
    max_quarantined: float = 0.05  # largest allowed share of quarantined rows; beyond it the run stops
    real_data_folder: str = ""  # its folder below TRADEWIND_REAL_DATA
    generator_version: int = 1  # raised when the same scale and seed would give other files
    generator: str = ""  # "module:function" (folder, scale, seed) if the project generates or pulls the files
    folder: Path | None = None  # the folder of the files if no source is given
    attributes: Mapping[str, Mapping[str, AttributeType]] = field(default_factory=dict)  # table -> free attribute
    # kind of feedback event -> weight (empty: none counts), and its name in the log, where that differs
    feedback: Mapping[str, float] = field(default_factory=dict, hash=False)
    feedback_names: Mapping[str, str] = field(default_factory=dict, hash=False)

    def locate(self, source: Path) -> list[Path]:
        """The source's files, sorted. An empty file that matches a glob is left out (a day without events).

        Raises DataError if there are no files, if all are empty, if a file with a fixed name is empty, or if the
        operating system refuses access.
        """
        with os_errors_as_data_errors(self.name, source):
            if not source.exists():
                raise DataError(f"{self.name}: no such file or folder: {source}; --source expects {self.layout}")
            found = [source] if source.is_file() else find_files(source, self.files)
            check_names(self.name, found)
            full = [path for path in found if not is_blank(path)]
        if not found:
            patterns = ", ".join(self.files)
            raise DataError(f"{self.name}: {source} contains none of {patterns}; --source expects {self.layout}")
        for path in found:
            if path not in full and (not full or path.name in self.files):
                raise DataError(f"{self.name}: {path} is empty; expected {self.layout}")
        return full

    def make(self, folder: Path, scale: float, seed: int) -> None:
        """Writes the files of a generated data set, unless the folder already has the same ones.

        Raises DataError if the folder exists and was not made by this project; that folder is never replaced.
        """
        wanted = {"scale": scale, "seed": seed, "generator": self.generator, "version": self.generator_version}
        note = folder / "made.json"
        if note.exists() and json.loads(note.read_text()) == wanted:
            return
        if folder.exists() and not note.exists():
            raise DataError(f"{self.name}: {folder} was not made by this project and is not replaced; move it away")
        with atomic_folder(folder) as staging:
            _resolve(self.generator)(staging, scale, seed)
            (staging / note.name).write_text(json.dumps(wanted))

    def fingerprint(self, source: Path) -> Fingerprint:
        """The files of the source with their version.

        The version also changes with READER, so that tables from an older reader are read again.
        """
        files = tuple(SourceFile(p.name, p.stat().st_size, sha256(p)) for p in self.locate(source))
        content = json.dumps([READER, [asdict(file) for file in files]])
        return Fingerprint(hashlib.sha256(content.encode()).hexdigest()[:16], files)

    def write_tables(self, source: Path, folder: Path, memory: str = "2GB") -> Counts:
        """Writes the source's clean tables as Parquet files into `folder`; see recommenders.datasets.ingest."""
        self.locate(source)
        parser: Parser = _resolve(self.parser) if isinstance(self.parser, str) else self.parser
        return ingest(self.name, parser, source, folder, memory)

    def read(self, source: Path) -> Tables:
        """The source as clean tables in memory, events in time order. Raises DataError if it cannot be read."""
        with tempfile.TemporaryDirectory() as folder:
            counts = self.write_tables(source, Path(folder))
            found = {
                name: schema.conform(pq.read_table(Path(folder) / f"{name}.parquet"), wanted, name)
                for name, wanted in TABLES.items()
            }
        return Tables(**{**found, "interactions": in_time_order(found["interactions"])}, counts=counts)

    def ingest(
        self,
        source: Path,
        store: TableStore,
        fingerprint: Fingerprint | None = None,
        feedback: FeedbackFiles | None = None,
    ) -> Version:
        """Reads the source into the store as a new version, unless the newest version has the same files and feedback.

        feedback: the events that may be added (datasets.reading.counted_feedback); used only if the spec has weights. A
        restored version stays until it is released. Raises DataError if the source or the feedback cannot be read; the
        store is then not changed.
        """
        current = store.current()
        if current is not None and current.restored_from is not None:
            return current
        known = fingerprint or self.fingerprint(source)
        if current is not None and current.data_version == self.data_version(known.version, store, feedback):
            return current
        store.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=store.folder, prefix=".reading-") as name:
            folder = Path(name)
            counts = self.write_tables(source, folder)
            if feedback is None or not self.feedback:
                return store.commit(folder, known, counts)
            until = newest_event([folder / "interactions.parquet"])
            found = count_feedback(self.feedback_rule, feedback, until)
            counts = add_feedback(folder, found, counts)
            both = replace(known, version=found.data_version(known.version))
            return store.commit(folder, both, counts, SourcePart(known.version, until, found.position))

    def data_version(self, source_version: str, store: TableStore, feedback: FeedbackFiles | None = None) -> str:
        """The version of the data that ingest() would give: of the source, and of the feedback that would be added.

        What would be added is known only if the store has a version of this source. Without one it is the version of
        the source, which the store does not have either.
        """
        if feedback is None or not self.feedback:
            return source_version
        known = next((one for one in store.versions() if one.source_version == source_version), None)
        if known is None:
            return source_version
        return count_feedback(self.feedback_rule, feedback, source_until(store, known)).data_version(source_version)

    @property
    def feedback_rule(self) -> FeedbackRule:
        """Which feedback is added."""
        return FeedbackRule(self.feedback, self.feedback_names)


def source_until(store: TableStore, version: Version) -> int:
    """The time of the newest event that a version has from the source, microseconds since 1970, UTC."""
    return version.source.until if version.source else newest_event(store.files("interactions", version))


def find_files(folder: Path, patterns: Sequence[str]) -> list[Path]:
    """The files below a folder that match the globs, sorted; hidden files, folders and broken links are left out."""
    next(folder.iterdir(), None)  # raises if the folder cannot be listed; a glob would only find nothing
    found = sorted({path for pattern in patterns for path in folder.glob(pattern)})
    return [path for path in found if not path.name.startswith(".") and path.is_file()]


def check_names(dataset: str, paths: Sequence[Path]) -> None:
    """Raises DataError if a path is not UTF-8: no reader could open it."""
    for path in paths:
        if printable(path) != str(path):
            raise DataError(f"{dataset}: {printable(path)}: got a name that is not UTF-8; rename it")


def printable(path: object) -> str:
    """A path as text; bytes that are not UTF-8 become escapes."""
    return str(path).encode(errors="backslashreplace").decode()


@contextmanager
def os_errors_as_data_errors(dataset: str, source: Path) -> Iterator[None]:
    """Turns an OSError of the block into a DataError of one line with the path and the reason."""
    check_names(dataset, [source])
    try:
        yield
    except OSError as error:
        place = printable(error.filename or source)
        reason = error.strerror or type(error).__name__
        raise DataError(f"{dataset}: {place} cannot be read: {reason}; check the path and its permissions") from error


def _resolve(name: str) -> Callable[..., Any]:
    """The function that "module:function" names; its module is imported only when it is needed."""
    module, function = name.split(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found
