"""The definitions as Dagster loads them."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest

from orchestration.definitions import definitions
from orchestration.jobs import DRIFT, RETRAINING, VALIDATION
from orchestration.settings import Settings
from recommenders.datasets.all_datasets import DATASETS
from recommenders.errors import ReleaseError
from recommenders.models.all_models import MODELS
from serving.settings import PROJECT

LINEAGE = {
    *("raw_dataset", "feedback", "interactions", "items", "users", "quarantine", "split"),
    *("training_log", "item_vectors", "item_features", "user_features"),
    *MODELS,
    *("evaluation_report", "release_candidate", "registered_model", "champion"),
    *("served_catalogue", "bento", "batch_recommendations", "drift_report", "online_quality", "quality_monitor"),
    *("prediction_drift", "decisions", "cross_validation", "tuning"),
}


@pytest.fixture(scope="module")
def defs() -> dg.Definitions:
    return definitions(Settings.read())


def test_every_stage_is_an_asset_with_one_partition_per_data_set(defs: dg.Definitions) -> None:
    graph = defs.resolve_asset_graph()
    assert {key.to_user_string() for key in graph.get_all_asset_keys()} == LINEAGE
    for key in graph.get_all_asset_keys():
        assert set(graph.get(key).partitions_def.get_partition_keys()) == set(DATASETS)
        assert graph.get(key).description, f"{key} has no description"


def test_the_ranker_waits_for_the_tables_whose_leakage_is_checked(defs: dg.Definitions) -> None:
    graph = defs.resolve_asset_graph()
    parents = {key.to_user_string() for key in graph.get(dg.AssetKey("hybrid_learned")).parent_keys}
    assert parents >= {"item_features", "user_features"}
    assert not parents & {"evaluation_report"}


def test_the_hourly_job_reads_the_source_and_the_feedback_and_trains_nothing(defs: dg.Definitions) -> None:
    assets = {key.to_user_string() for key in defs.resolve_job_def(DRIFT).asset_layer.selected_asset_keys}
    tables = {"raw_dataset", "feedback", "interactions", "items", "users", "quarantine"}
    judged = {"drift_report", "online_quality", "quality_monitor", "prediction_drift"}
    assert assets == tables | judged | {"served_catalogue"}
    graph = defs.resolve_asset_graph()
    for name in ("interactions", "items", "users", "quarantine"):
        assert dg.AssetKey("feedback") in graph.get(dg.AssetKey(name)).parent_keys


def test_no_retraining_and_no_schedule_validates(defs: dg.Definitions) -> None:
    retrained = defs.resolve_job_def(RETRAINING).asset_layer.selected_asset_keys
    assert {key.to_user_string() for key in retrained} == LINEAGE - {"decisions", "cross_validation", "tuning"}
    assets = {key.to_user_string() for key in defs.resolve_job_def(VALIDATION).asset_layer.selected_asset_keys}
    tables = {"raw_dataset", "feedback", "interactions", "items", "users", "quarantine"}
    assert assets == tables | {"cross_validation"}
    repository = defs.get_repository_def()
    assert VALIDATION not in {one.job_name for one in repository.schedule_defs}
    assert VALIDATION not in {target.job_name for one in repository.sensor_defs for target in one.targets}


def test_schedules_and_sensors_run_by_default(defs: dg.Definitions) -> None:
    repository = defs.get_repository_def()
    schedules = {s.name: s.default_status for s in repository.schedule_defs}
    sensors = {s.name: s.default_status for s in repository.sensor_defs}
    names = ["nightly_retraining", "hourly_drift", "daily_pruning"]
    running = dict.fromkeys(names, dg.DefaultScheduleStatus.RUNNING)
    assert schedules == {**running, "weekly_tuning": dg.DefaultScheduleStatus.STOPPED}
    names = ["new_data", "monitoring", "rollback", "failed_runs", "succeeded_runs", "lost_runs", "alerts"]
    assert sensors == dict.fromkeys(names, dg.DefaultSensorStatus.RUNNING)


def test_which_checks_block_and_which_warn(defs: dg.Definitions) -> None:
    graph = defs.resolve_asset_graph()
    blocking = {key.name: graph.get_check_spec(key).blocking for key in graph.asset_check_keys}
    assert blocking == {
        "interactions_schema": True,
        "interactions_volume": True,
        "feed_is_sound": True,
        "no_temporal_leakage": True,
        "no_feature_leakage": True,
        "release_candidate_beats_popularity": True,
        "members_beat_popularity": False,
        "no_drift": False,
    }


def test_a_disabled_model_is_not_in_the_graph(tmp_path: Path) -> None:
    config = tmp_path / "training.yaml"
    config.write_text(
        "models:\n"
        "  neural_collaborative: {enabled: false}\n"
        "  hybrid: {model_weights: {content_based: 0.5, collaborative_filtering: 0.5}}\n"
    )
    graph = definitions(Settings.read(config=config)).resolve_asset_graph()
    assert dg.AssetKey("neural_collaborative") not in graph.get_all_asset_keys()


def test_a_resource_can_be_replaced(tmp_path: Path) -> None:
    registry = SimpleNamespace(pointer_file=lambda dataset: tmp_path / f"{dataset} of the test.json")
    defs = definitions(Settings.read(home=tmp_path), registry=registry)
    with dg.DagsterInstance.ephemeral() as instance, pytest.raises(ReleaseError, match=r"custom_b2b of the test\.json"):
        defs.resolve_job_def(RETRAINING).execute_in_process(
            instance=instance, partition_key="custom_b2b", asset_selection=[dg.AssetKey("batch_recommendations")]
        )


def test_the_workspace_file_loads() -> None:
    command = [
        sys.executable,
        "-m",
        "dagster",
        "definitions",
        "validate",
        "-w",
        str(PROJECT / "workspace.yaml"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
