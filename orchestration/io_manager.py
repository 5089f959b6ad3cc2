"""The IO managers. Nothing is pickled: tables are Parquet, models and reports folders, small facts JSON.

The type that an asset declares for its output, and a reader for its input, alone decides how a value is stored.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from recommenders.datasets.store import TableStore
from recommenders.errors import DataError
from recommenders.evaluation.report import Report
from recommenders.evaluation.writers.report_folder import load_report, save_report
from recommenders.models.recommender import Recommender
from recommenders.storage.atomic_files import atomic_file
from recommenders.storage.feedback_position import Position
from recommenders.training.fitting import SkippedModel, load_fitted

CLEAN_TABLES = "clean_tables"  # key of the IO manager of the clean tables
TABLES = "tables"  # subfolder of a data set: the store of all versions of its clean tables


@dataclass(frozen=True)
class TableVersion:
    """The version of the clean tables that a run made or found.

    position: the last feedback event that the tables take into account; None if they do not learn from feedback.
    """

    version: int
    data_version: str = ""  # "" if an earlier release of the code stored it
    position: Position | None = None


@dataclass(frozen=True)
class Form:
    """How values of one type are stored: the suffix of the file ("" for a folder), and the two directions."""

    suffix: str
    save: Callable[[Any, Path], object]
    load: Callable[[Path], Any]


def form_of(kind: Any) -> Form:
    """The form of a type. Raises TypeError, which names the allowed types, if there is none."""
    if kind is pa.Table:
        return Form(".parquet", _save_table, pq.read_table)
    if kind is Report:
        return Form("", save_report, load_report)
    if kind == Recommender | SkippedModel:
        return Form("", _save_model, load_fitted)
    if hasattr(kind, "save") and hasattr(kind, "load"):
        return Form("", _save_folder, kind.load)
    if isinstance(kind, type) and is_dataclass(kind):
        return Form(".json", _save_fact, lambda path: _load_fact(path, kind))
    raise TypeError(
        f"no form for values of {kind}; allowed: pyarrow.Table, Report, a model, a dataclass, or a class with save and "
        "load; annotate the asset or its input with one"
    )


class Lake(dg.ConfigurableIOManager):
    """root/DATASET/ASSET{.parquet | .json | a folder}; each write replaces the last value in one step.

    The models of a data set share the context of their training log in root/DATASET/contexts.
    """

    root: str

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Stores a value in the form of the asset's type."""
        kind = context.dagster_type.typing_type
        form_of(kind).save(obj, self.path(*_place(context), kind))

    def load_input(self, context: dg.InputContext) -> Any:
        """Reads what handle_output stored, as the type that the reader expects."""
        return self.read(*_place(context), context.dagster_type.typing_type)

    def read(self, dataset: str, asset: str, kind: Any) -> Any:
        """The last value of an asset. kind: its type. Raises DataError if the file holds something else."""
        return form_of(kind).load(self.path(dataset, asset, kind))

    def table_version(self, dataset: str) -> TableVersion:
        """The version of the clean tables of the last run. Raises DataError if the file holds something else."""
        found: TableVersion = self.read(dataset, "interactions", TableVersion)
        return found

    def path(self, dataset: str, asset: str, kind: Any) -> Path:
        """The file or folder of an asset's value."""
        return Path(self.root) / dataset / f"{asset}{form_of(kind).suffix}"


class CleanTables(Lake):
    """The clean tables: the asset stores a TableVersion, its readers get the rows of that version as a table."""

    def load_input(self, context: dg.InputContext) -> pa.Table:
        """The rows, from the store of all versions in root/DATASET/tables. Raises DataError if the version is gone."""
        dataset, name = _place(context)
        store = TableStore(Path(self.root) / dataset / TABLES)
        return store.read(name, store.version(self.read(dataset, name, TableVersion).version))


def _place(context: dg.InputContext | dg.OutputContext) -> tuple[str, str]:
    """Data set and asset. The data set is the run's partition, because the input of a check has none."""
    return context.partition_key, context.asset_key.path[-1]


def _save_table(table: pa.Table, path: Path) -> None:
    with atomic_file(path) as staging:
        pq.write_table(table, staging)


def _save_model(model: Recommender | SkippedModel, folder: Path) -> None:
    if isinstance(model, Recommender):
        model.save(folder, shared_context=True)
    else:
        model.save(folder)


def _save_folder(value: Any, folder: Path) -> None:
    value.save(folder)


def _save_fact(fact: Any, path: Path) -> None:
    with atomic_file(path) as staging:
        staging.write_text(json.dumps(TypeAdapter(type(fact)).dump_python(fact, mode="json"), indent=2))


def _load_fact(path: Path, kind: Any) -> Any:
    try:
        return TypeAdapter(kind).validate_python(json.loads(path.read_text()))
    except ValueError as error:  # not JSON, or not the fields of the type
        cause = " ".join(str(error).split())[:200]
        raise DataError(f"{path} holds no {kind.__name__}: {cause}; materialise {path.stem} again") from error
