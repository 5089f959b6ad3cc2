"""The asset of batch lists, run by Dagster with and without a configuration."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from orchestration.definitions import definitions
from orchestration.jobs import RETRAINING
from orchestration.launcher.platform_state import example_request, lists_file
from orchestration.settings import Settings
from recommenders.events.ids import IdMap
from recommenders.events.interactions import Interactions
from recommenders.models.popularity import Popularity
from serving.champion.pointer import Pointer, fingerprint, write_pointer
from serving.lists.precomputed import PrecomputedLists, folder_of

DATASET = "custom_b2b"


@pytest.fixture
def settings(tmp_path: Path, make_settings: Callable[..., Settings]) -> Settings:
    """A champion of five users and fifteen items, and rules that bury its best item."""
    rules = tmp_path / "rules.yaml"
    rules.write_text("rules: [{name: last, action: bury, items: 'item.id == \"i00\"'}]")
    settings = make_settings(tmp_path / "home", dataset=DATASET, rules_file=rules)
    columns, rows = np.array([0, 0, 0, 1, 1, 2, 3], np.int32), np.array([0, 1, 2, 3, 4, 0, 1], np.int32)
    ones, n_items = np.ones(len(columns), np.float32), 15
    users, items = IdMap.from_ids(f"u{n}" for n in range(5)), IdMap.from_ids(f"i{n:02}" for n in range(n_items))
    log = Interactions(users, items, rows, columns, np.arange(7), ones, ones, np.ones(n_items, np.bool_), True)
    bundle = Popularity().fit(log).save(settings.champions / DATASET / "1")
    place = (f"{DATASET}/1", fingerprint(bundle))
    write_pointer(settings.pointer, Pointer(DATASET, "popularity", 1, *place, "2026-01-01T00:00:00", "run"))
    return settings


def run(settings: Settings, **config: Any) -> dict[str, Any]:
    """Materialises the asset; returns its metadata."""
    job = definitions(settings).resolve_job_def(RETRAINING)
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(
            instance=instance,
            partition_key=DATASET,
            asset_selection=[dg.AssetKey("batch_recommendations")],
            run_config={"ops": {"batch_recommendations": {"config": config}}} if config else {},
        )
    (shown,) = result.asset_materializations_for_node("batch_recommendations")
    return {name: value.value for name, value in shown.metadata.items()}


def test_without_a_configuration_all_users_get_ten_items_by_the_rules(settings: Settings) -> None:
    shown = run(settings)
    rows = pq.read_table(lists_file(settings)).to_pylist()
    assert len(rows) == 5 * 10
    assert list(rows[0]) == ["user_id", "rank", "item_id", "score", "strategy", "rules"]
    assert "i00" not in {row["item_id"] for row in rows}
    assert (shown["rows"], shown["users"], shown["lists"], shown["version"], shown["scene"]) == (50, 5, 5, 1, "for_you")
    assert (shown["rules"], shown["strategies"]) == ({"last": {"lists": 5, "items": 0}}, {"known_user": 5})
    assert shown["bytes"] == lists_file(settings).stat().st_size
    assert (len(shown["rules_version"]), shown["catalogue_version"], shown["problems"]) == (64, "", [])
    assert shown["preview"].count("\n") == 1 + 10
    assert json.loads(lists_file(settings).with_suffix(".json").read_text())["rows"] == 50
    assert example_request(settings)["user_id"] == "u0"
    bundle = settings.champions / DATASET / "1"
    assert PrecomputedLists.load(folder_of(bundle), fingerprint(bundle)).depth == 100


def test_a_configuration_changes_the_lists_and_adds_a_csv_file(settings: Settings) -> None:
    shown = run(settings, scene="discover", n=3, format="csv")
    rows = pq.read_table(lists_file(settings)).to_pylist()
    assert (shown["scene"], shown["n"], shown["rows"], len(rows)) == ("discover", 3, 15, 15)
    as_csv = pa_csv.read_csv(lists_file(settings).with_suffix(".csv")).to_pylist()
    assert [row["item_id"] for row in as_csv] == [row["item_id"] for row in rows]
    note = json.loads(lists_file(settings).with_suffix(".csv.json").read_text())
    assert note.items() >= {"scene": "discover", "n": 3, "moment": shown["moment"]}.items()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"n": 0}, "batch n: got 0; allowed"),
        ({"scene": "basket"}, "batch scene: got basket, which needs"),
        ({"format": "json"}, "format: got 'json'; allowed: parquet or csv"),
        ({"filters": {"price": {"max": 3}}}, "has no served catalogue"),
    ],
)
def test_a_configuration_that_is_not_allowed_is_refused(
    settings: Settings, config: dict[str, Any], message: str
) -> None:
    with pytest.raises(Exception, match=message):
        run(settings, **config)
    assert not lists_file(settings).exists()


def test_rules_that_do_not_fit_are_a_problem_on_the_page(settings: Settings) -> None:
    assert settings.rules_file
    settings.rules_file.write_text("rules: [{name: red, action: bury, items: 'item.colour == \"red\"'}]")
    shown = run(settings)
    (problem,) = shown["problems"]
    assert "rule red items: " in problem
    assert (shown["rows"], shown["rules_version"]) == (50, "")


def test_no_list_at_all_is_no_error(settings: Settings) -> None:
    shown = run(settings, scene="reorder", n=1)
    assert shown["rows"] == 5
    assert settings.rules_file
    settings.rules_file.write_text("rules: [{name: none, action: exclude, items: 'true'}]")
    shown = run(settings)
    assert (shown["rows"], shown["lists"], shown["users"]) == (0, 0, 5)


def test_the_lists_are_made_after_the_catalogue_that_they_read() -> None:
    graph = definitions(Settings.read()).resolve_asset_graph()
    parents = graph.get(dg.AssetKey("batch_recommendations")).parent_keys
    assert {key.to_user_string() for key in parents} == {"champion", "served_catalogue"}
