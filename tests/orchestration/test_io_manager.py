"""The IO manager: the models of one training share the context of its log."""

from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa

from orchestration.assets.models import MODEL
from orchestration.io_manager import Lake
from recommenders.events.interactions import Interactions
from recommenders.models.ease import EASE
from recommenders.models.popularity import Popularity
from recommenders.models.recommender import Recommender
from recommenders.storage import schema


def log_of(users: list[str], items: list[str]) -> Interactions:
    """One event of each pair of user and item, one after the other."""
    n = len(users)
    times = pa.array(range(n), schema.TIME)
    columns = {"user_id": users, "item_id": items, "event": ["purchase"] * n, "weight": [1.0] * n, "timestamp": times}
    return Interactions.from_table(schema.conform(pa.table(columns), schema.INTERACTIONS, "log"))


def store(lake: Lake, name: str, model: Recommender) -> None:
    lake.handle_output(dg.build_output_context(asset_key=dg.AssetKey(name), partition_key="toy"), model)


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
