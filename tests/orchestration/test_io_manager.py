"""The IO managers: what an asset returns is what its reader gets, by the type alone."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from orchestration.assets.json_outputs import RawDataset, ReleaseCandidate
from orchestration.assets.models import MODEL
from orchestration.io_manager import CLEAN_TABLES, CleanTables, Lake, TableVersion
from recommenders.datasets.reading.ingest import TABLES, Counts
from recommenders.datasets.store import Fingerprint, SourceFile, TableStore
from recommenders.errors import DataError
from recommenders.events.interactions import Interactions
from recommenders.models.ease import EASE
from recommenders.models.popularity import Popularity
from recommenders.models.recommender import Recommender
from recommenders.storage import schema
from recommenders.training.fitting import SkippedModel
from recommenders.training.selection import CandidateChoice

PARTITIONS = dg.StaticPartitionsDefinition(["toy"])
CHOICE = CandidateChoice("hybrid", "best", "r1", "time cut", 900, {"hybrid": 0.25, "hybrid_learned": float("nan")}, 40)
FACTS = [
    RawDataset("v1", (SourceFile("a.csv", 3, "abc"), SourceFile("b.csv", 4, "def")), "toy", "/data/toy"),
    ReleaseCandidate("hybrid", False, CHOICE),
    TableVersion(3),
]


def materialise(root: Path, *assets: dg.AssetsDefinition, selection: list[str] | None = None) -> Mapping[str, Any]:
    """The values of the assets after a run that stores them below root."""
    managers = {"io_manager": Lake(root=str(root)), CLEAN_TABLES: CleanTables(root=str(root))}
    with dg.DagsterInstance.ephemeral() as instance:
        run = dg.materialize(
            assets, partition_key="toy", resources=managers, instance=instance, selection=selection or None
        )
        return {key: run.output_for_node(key) for key in selection or [asset.op.name for asset in assets]}


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: type(fact).__name__)
def test_a_reader_gets_the_fact_that_the_asset_returned(tmp_path: Path, fact: Any) -> None:
    kind = type(fact)

    @dg.asset(partitions_def=PARTITIONS)
    def made() -> kind:
        return fact

    @dg.asset(partitions_def=PARTITIONS)
    def read(made: kind) -> kind:
        return made

    assert repr(materialise(tmp_path, made, read)["read"]) == repr(fact)  # nan is not equal to nan


def test_a_table_is_parquet_even_if_a_file_of_another_form_is_beside_it(tmp_path: Path) -> None:
    @dg.asset(partitions_def=PARTITIONS)
    def made() -> pa.Table:
        return pa.table({"a": [1, 2]})

    @dg.asset(partitions_def=PARTITIONS)
    def read(made: pa.Table) -> pa.Table:
        return made

    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "made.json").write_text('{"version": 1}')
    assert materialise(tmp_path, made, read)["read"].to_pydict() == {"a": [1, 2]}


def test_the_reader_of_a_clean_table_gets_the_rows_of_the_stored_version(tmp_path: Path) -> None:
    """Also in a run without the asset, and after a newer version was committed."""
    store = TableStore(tmp_path / "toy" / "tables")

    def commit(user_id: str) -> int:
        staging = tmp_path / user_id
        staging.mkdir()
        time = datetime(2026, 1, 1, tzinfo=UTC)
        row = {"user_id": user_id, "item_id": "i", "timestamp": time, "event": "purchase", "weight": 1.0}
        tables = {**{name: kind.empty_table() for name, kind in TABLES.items()}}
        tables["interactions"] = schema.conform(pa.Table.from_pylist([row]), schema.INTERACTIONS, "log")
        for name, table in tables.items():
            pa.parquet.write_table(table, staging / f"{name}.parquet")
        return store.commit(staging, Fingerprint(user_id, ()), Counts(1, 1)).number

    first = commit("ann")

    @dg.asset(partitions_def=PARTITIONS, io_manager_key=CLEAN_TABLES)
    def interactions() -> TableVersion:
        return TableVersion(first)

    @dg.asset(partitions_def=PARTITIONS)
    def read(interactions: pa.Table) -> pa.Table:
        return interactions

    assert materialise(tmp_path, interactions, read)["read"]["user_id"].to_pylist() == ["ann"]
    commit("bob")
    again = materialise(tmp_path, interactions, read, selection=["read"])
    assert again["read"]["user_id"].to_pylist() == ["ann"]


def test_a_skipped_model_is_read_as_one(tmp_path: Path) -> None:
    @dg.asset(partitions_def=PARTITIONS, dagster_type=MODEL)
    def ease() -> SkippedModel:
        return SkippedModel("ease", "too large", {"recipe": "r1"})

    @dg.asset(partitions_def=PARTITIONS, ins={"ease": dg.AssetIn(dagster_type=MODEL)}, dagster_type=MODEL)
    def read(ease: Any) -> Any:
        return ease

    assert materialise(tmp_path, ease, read)["read"] == SkippedModel("ease", "too large", {"recipe": "r1"})


def test_a_type_without_a_form_is_refused(tmp_path: Path) -> None:
    @dg.asset(partitions_def=PARTITIONS)
    def made() -> dict[str, int]:
        return {"a": 1}

    with pytest.raises(TypeError, match=r"no form for values of .*; allowed: pyarrow\.Table, Report"):
        materialise(tmp_path, made)
    assert not (tmp_path / "toy").exists()


def test_a_file_of_an_older_form_is_an_error_that_names_it(tmp_path: Path) -> None:
    lake = Lake(root=str(tmp_path))
    path = lake.path("toy", "release_candidate", ReleaseCandidate)
    path.parent.mkdir()
    for content in ("not JSON", json.dumps({"candidate": "hybrid"})):
        path.write_text(content)
        with pytest.raises(DataError, match=r"release_candidate\.json holds no ReleaseCandidate: .* materialise"):
            lake.read("toy", "release_candidate", ReleaseCandidate)


def log_of(users: list[str], items: list[str]) -> Interactions:
    """One event of each pair of user and item, one after the other."""
    n = len(users)
    times = pa.array(range(n), schema.TIME)
    columns = {"user_id": users, "item_id": items, "event": ["purchase"] * n, "weight": [1.0] * n, "timestamp": times}
    return Interactions.from_table(schema.conform(pa.table(columns), schema.INTERACTIONS, "log"))


def store(lake: Lake, name: str, model: Recommender) -> None:
    lake.handle_output(
        dg.build_output_context(asset_key=dg.AssetKey(name), partition_key="toy", dagster_type=MODEL), model
    )


def load(lake: Lake, name: str) -> Any:
    context = dg.build_input_context(asset_key=dg.AssetKey(name), partition_key="toy", dagster_type=MODEL)
    return lake.load_input(context)


def contexts(root: Path) -> list[Path]:
    return list(root.rglob("contexts/*.safetensors"))


def test_models_of_one_log_share_its_context(tmp_path: Path) -> None:
    lake, log = Lake(root=str(tmp_path)), log_of(["a", "b", "c"], ["tea", "cup", "tea"])
    for name, model in {"popularity": Popularity(), "ease": EASE()}.items():
        store(lake, name, model.fit(log))
    (path,) = contexts(tmp_path)
    assert path.parent == tmp_path / "toy" / "contexts"
    models = [load(lake, name) for name in ("popularity", "ease")]
    assert models[0].context_ is models[1].context_
    assert models[0].context_.users.ids.tolist() == ["a", "b", "c"]


def test_the_context_of_an_earlier_log_goes_with_its_last_model(tmp_path: Path) -> None:
    lake, log = Lake(root=str(tmp_path)), log_of(["a", "b", "c"], ["tea", "cup", "tea"])
    store(lake, "popularity", Popularity().fit(log))
    store(lake, "ease", EASE().fit(log))
    longer = log_of(["a", "b", "d"], ["tea", "cup", "pot"])
    store(lake, "popularity", Popularity().fit(longer))
    assert len(contexts(tmp_path)) == 2
    store(lake, "ease", EASE().fit(longer))
    assert len(contexts(tmp_path)) == 1
    assert load(lake, "ease").context_.items.ids.tolist() == ["cup", "pot", "tea"]
