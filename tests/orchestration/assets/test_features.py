"""The assets of the features: what is stored, and what their pages show."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestration.assets.features import item_features, user_features
from recommenders.datasets.spec import Protocol
from recommenders.events.interactions import Interactions
from recommenders.features.leakage import differences
from recommenders.features.ranking import USER_FEATURES, UserPairFeatures
from recommenders.splitting.temporal import training_log
from recommenders.storage import schema

START = datetime(2026, 1, 1, tzinfo=UTC)
ITEMS = schema.conform(pa.table({"item_id": ["a", "b"], "title": ["tape", None]}), schema.ITEMS, "items")
USERS = schema.conform(pa.table({"user_id": ["u1", "u2"], "segment": ["cafe", "shop"]}), schema.USERS, "users")


@pytest.fixture(scope="module")
def log() -> Interactions:
    """u2 has three events, the others have one."""
    rows = [("u1", "a", 1), ("u2", "a", 2), ("u2", "b", 5), ("u2", "a", 9), ("u3", "b", 9)]
    names = {"event": "purchase", "weight": 1.0}
    table = pa.Table.from_pylist(
        [names | {"user_id": u, "item_id": i, "timestamp": START + timedelta(days=day)} for u, i, day in rows]
    )
    events = schema.conform(table, schema.INTERACTIONS, "events")
    return training_log(events, ITEMS, Protocol(split="time_cut"), START + timedelta(days=20))


def materialized(asset: Any, *inputs: Any) -> tuple[pa.Table, dict[str, Any]]:
    context = dg.build_asset_context(partition_key="toy")
    return asset(context, *inputs), dict(context.get_output_metadata("result"))


def test_the_stored_features_are_those_of_the_ranker(log: Interactions, tmp_path: Path) -> None:
    table, _ = materialized(user_features, log, USERS, ITEMS)
    pq.write_table(table, tmp_path / "user_features.parquet")
    again = pq.read_table(tmp_path / "user_features.parquet")
    assert differences(again, table) == []
    found = np.stack([again[name].to_numpy() for name in USER_FEATURES], axis=1)
    np.testing.assert_array_equal(found, UserPairFeatures.from_log(log).users)


def test_the_page_of_a_table_shows_the_cut_and_the_meaning_of_each_column(log: Interactions) -> None:
    table, shown = materialized(item_features, log, ITEMS)
    assert (shown["dataset"], shown["rows"], shown["cut"]) == ("toy", 2, "2026-01-10T00:00:00+00:00")
    columns = {column.name: column for column in shown["dagster/column_schema"].columns}
    assert list(columns) == table.column_names
    assert columns["item_sales"].type == "float"
    assert columns["item_sales"].description == "ln(1 + events of the log / the mean item's). Unit: log ratio."
    assert [name for name, column in columns.items() if column.description is None] == ["item_id"]


def test_the_page_of_users_shows_the_pairs_of_the_most_active_users(
    log: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestration.assets.features.N_PAIR_USERS", 1)
    _, shown = materialized(user_features, log, USERS, ITEMS)
    lines = shown["pairs of the most active users"].value.splitlines()[2:]
    assert [[cell.strip() for cell in line.split("|")[1:3]] for line in lines] == [["u2", "a"], ["u2", "b"]]
