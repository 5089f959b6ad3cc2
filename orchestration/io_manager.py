"""The one IO manager: tables as Parquet, models and reports as folders, facts as JSON. Nothing is pickled."""

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
from recommenders.training.fitting import DECLINED, Declined

MODEL_TYPE = "Recommender"  # the name of the assets' type of models: one that learned, or one that declined
TABLES = "tables"  # below a data set's folder: the store of its clean tables, every version of them


class Lake(dg.ConfigurableIOManager):
    """root/DATASET/ASSET{.parquet | .json | a folder}; each write replaces the last good value in one step.

    Of a clean table only the number of its version is stored here; its rows lie in root/DATASET/tables.
    """

    root: str

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Stores a table, a dict, or anything with save(folder)."""
        place = self._place(context)
        if isinstance(obj, pa.Table):
            with atomic_file(place.with_suffix(".parquet")) as staging:
                pq.write_table(obj, staging)
        elif isinstance(obj, dict):
            with atomic_file(place.with_suffix(".json")) as staging:
                staging.write_text(json.dumps(obj, indent=2))
        elif isinstance(obj, Report):
            save_report(obj, place)
        elif hasattr(obj, "save"):
            obj.save(place)
        else:
            raise TypeError(
                f"{context.asset_key.to_user_string()}: cannot store a {type(obj).__name__}; "
                "allowed: pyarrow.Table, dict, or an object with save(folder)"
            )

    def load_input(self, context: dg.InputContext) -> Any:
        """Reads what handle_output stored, by the type the asset asks for."""
        wanted = context.dagster_type.typing_type
        place = self._place(context)
        if wanted is pa.Table and place.with_suffix(".json").exists():
            number = json.loads(place.with_suffix(".json").read_text())["version"]
            store = TableStore(place.parent / TABLES)
            return store.read(place.name, store.version(number))
        if wanted is pa.Table:
            return pq.read_table(place.with_suffix(".parquet"))
        if context.dagster_type.key == MODEL_TYPE or _is_model(wanted):
            return Declined.load(place) if (place / DECLINED).exists() else catalog.load(place)
        if wanted is Report:
            return load_report(place)
        if hasattr(wanted, "load"):
            return wanted.load(place)
        return json.loads(place.with_suffix(".json").read_text())

    def _place(self, context: dg.InputContext | dg.OutputContext) -> Path:
        # The run's partition, because a check's input carries none of its own; all assets share the same ones.
        return Path(self.root) / context.partition_key / context.asset_key.path[-1]


def _is_model(wanted: Any) -> bool:
    return inspect.isclass(wanted) and issubclass(wanted, Recommender)
