"""The Dagster resources: what assets, checks, schedules and sensors are given. It is built here, and nowhere else.

| key | what it is |
|---|---|
| `settings` | folders, addresses and intervals |
| `datasets` | every data set by name: its spec, its source files, its tables |
| `training` | the training configuration; definitions() lets a run change its values (training_resource.py) |
| `registry` | runs and versions in MLflow |
| `lake`, `io_manager` | stores what assets return, and reads the last value of an asset |
| `clean_tables` | the same for the clean tables, whose versions are in a store of their own |
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestration.io_manager import CLEAN_TABLES, CleanTables, Lake
from orchestration.run_process import RunLake
from orchestration.settings import Settings
from recommenders.datasets.spec import DatasetSpec, source_until
from recommenders.datasets.store import Fingerprint, TableStore, Version
from recommenders.storage.feedback_files import FeedbackFiles
from recommenders.storage.feedback_position import Position
from recommenders.storage.feedback_reader import FeedbackReader
from serving.release.registry import Registry


@dataclass(frozen=True)
class Dataset:
    """One data set of the platform: the files of its source, or a restored version, and its tables.

    settings: those of this data set (Settings.for_dataset).
    """

    settings: Settings

    @property
    def name(self) -> str:
        """Its name, as in `tradewind data list`."""
        return self.settings.dataset

    @property
    def spec(self) -> DatasetSpec:
        """Its declaration. Raises UnknownNameError."""
        return self.settings.spec

    @property
    def tables(self) -> TableStore:
        """All versions of its clean tables."""
        return self.settings.tables

    @property
    def source(self) -> Path:
        """The folder or file that it is read from. Raises DataError where there is none."""
        return self.settings.source_of(self.spec)

    def restored_version(self) -> Version | None:
        """The restored version of the tables, if one is current. Its source may be gone."""
        current = self.tables.current()
        return current if current is not None and current.restored_from is not None else None

    def fingerprint(self, prepare: bool = True) -> Fingerprint:
        """The files of the source and their version, for the next run. Raises DataError where there is none.

        prepare: generate or download the files first if the data set needs that; False: use the files as they are.
        """
        if restored := self.restored_version():
            return Fingerprint(restored.data_version, restored.files)
        return self.spec.fingerprint(self.settings.prepare_source() if prepare else self.source)

    def data_version(self, prepare: bool = True) -> str:
        """The version of the data for the next run, with the feedback that was read. Raises as fingerprint() does."""
        found = self.fingerprint(prepare).version
        return found if self.restored_version() else self.spec.data_version(found, self.tables, self.feedback)

    def ingest(self) -> Version:
        """The newest version of the tables; reads the source first if it has changed. Raises DataError."""
        if restored := self.restored_version():
            return restored
        found = self.fingerprint()
        return self.spec.ingest(self.source, self.tables, found, self.feedback)

    @property
    def feedback(self) -> FeedbackFiles:
        """The feedback events that were read from the store."""
        return self.settings.feedback_files

    @property
    def feedback_store(self) -> FeedbackReader:
        """The store of feedback events. Raises ConfigurationError."""
        return FeedbackReader(self.settings.feedback_store, self.name)

    def new_feedback(self, trained: Position | None) -> tuple[int, int]:
        """(events that the store has after a position, events that start a retraining).

        trained: of a version; None: all events that are later than the source. It counts no further than the second
        number. Both are 0 if the data set does not learn from feedback, or if there are no tables yet. Raises DataError
        if the store cannot be read.
        """
        spec, version = self.spec, self.tables.current()
        if not spec.feedback or version is None:
            return 0, 0
        needed = max(1, round(self.settings.feedback_share * version.counts.kept))
        after, until = trained.sequence if trained else 0, source_until(self.tables, version)
        return self.feedback_store.count(list(spec.feedback), after, until, needed), needed

    def signature(self) -> str:
        """Names, sizes and times of the source's files, as a hash; cheap enough for each poll. Raises DataError."""
        stats = [(path.name, path.stat()) for path in self.spec.locate(self.source)]
        text = repr([(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Datasets:
    """The data sets of the platform by name."""

    settings: Settings

    def __getitem__(self, name: str) -> Dataset:
        return Dataset(self.settings.for_dataset(name))

    @property
    def served(self) -> Dataset:
        """The data set that is served and retrained."""
        return Dataset(self.settings)


def resources(settings: Settings) -> dict[str, Any]:
    """The resources of the platform by key. Raises ConfigurationError."""
    root = str(settings.lake)
    return {
        "settings": settings,
        "datasets": Datasets(settings),
        "training": settings.training,
        "registry": Registry(settings),
        "lake": Lake(root=root),
        "io_manager": RunLake(root=root),
        CLEAN_TABLES: CleanTables(root=root),
    }
