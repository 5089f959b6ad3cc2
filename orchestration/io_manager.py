"""The IO manager: tables as Parquet, models and reports as folders, dicts as JSON. Nothing is pickled."""

import inspect
import json
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq

from recommenders.datasets.store import TableStore
from recommenders.evaluation.report import Report
from recommenders.evaluation.writers.report_folder import load_report, save_report
from recommenders.models import catalog
from recommenders.models.recommender import Recommender
from recommenders.storage.files import atomic_file
from recommenders.training.fitting import SKIPPED, SkippedModel

MODEL_TYPE = "Recommender"  # name of the Dagster type of models: fitted or skipped
TABLES = "tables"  # subfolder of a data set: the store of all versions of its clean tables


class Lake(dg.ConfigurableIOManager):
    """root/DATASET/ASSET{.parquet | .json | a folder}; each write replaces the last value in one step.

    For a clean table only the number of its version is stored here; its rows are in root/DATASET/tables. The models of
    a data set share the context of their training log in root/DATASET/contexts.
    """

    root: str

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Stores a table, a dict, or anything with save(folder)."""
        path = self._path(context)
        if isinstance(obj, pa.Table):
            with atomic_file(path.with_suffix(".parquet")) as staging:
                pq.write_table(obj, staging)
        elif isinstance(obj, dict):
            with atomic_file(path.with_suffix(".json")) as staging:
                staging.write_text(json.dumps(obj, indent=2))
        elif isinstance(obj, Report):
            save_report(obj, path)
        elif isinstance(obj, Recommender):
            obj.save(path, shared_context=True)
        elif hasattr(obj, "save"):
            obj.save(path)
        else:
            raise TypeError(
                f"{context.asset_key.to_user_string()}: cannot store a {type(obj).__name__}; "
                "allowed: pyarrow.Table, dict, or an object with save(folder)"
            )

    def load_input(self, context: dg.InputContext) -> Any:
        """Reads what handle_output stored, as the type that the asset expects."""
        expected = context.dagster_type.typing_type
        path = self._path(context)
        if expected is pa.Table and path.with_suffix(".json").exists():
            number = json.loads(path.with_suffix(".json").read_text())["version"]
            store = TableStore(path.parent / TABLES)
            return store.read(path.name, store.version(number))
        if expected is pa.Table:
            return pq.read_table(path.with_suffix(".parquet"))
        if context.dagster_type.key == MODEL_TYPE or _is_model(expected):
            return SkippedModel.load(path) if (path / SKIPPED).exists() else catalog.load(path)
        if expected is Report:
            return load_report(path)
        if hasattr(expected, "load"):
            return expected.load(path)
        return json.loads(path.with_suffix(".json").read_text())

    def _path(self, context: dg.InputContext | dg.OutputContext) -> Path:
        # The run's partition, because the input of a check has none; all assets share the same partitions.
        return Path(self.root) / context.partition_key / context.asset_key.path[-1]


def _is_model(expected: Any) -> bool:
    return inspect.isclass(expected) and issubclass(expected, Recommender)
