"""Runs of a real Dagster instance: deleted ones leave nothing, and those that made what is stored stay."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from orchestration.jobs import CAUSE_TAG, PARTITION_TAG
from orchestration.retention.dagster_runs import delete_run, ended_runs, protected_runs

PARTITIONS = dg.StaticPartitionsDefinition(["toy", "other"])


@dg.asset(partitions_def=PARTITIONS)
def tables() -> None:
    print("a line of the log")


@dg.asset(partitions_def=PARTITIONS)
def model() -> None: ...


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield instance


def run(instance: dg.DagsterInstance, assets: list[dg.AssetsDefinition], dataset: str, cause: str = "drift") -> str:
    tags = {PARTITION_TAG: dataset, CAUSE_TAG: cause}
    return dg.materialize(assets, instance=instance, partition_key=dataset, tags=tags).run_id


def left(tmp_path: Path, run_id: str) -> list[Path]:
    return [path for path in tmp_path.rglob("*") if run_id in path.name]


def test_a_deleted_run_leaves_nothing_and_what_is_stored_keeps_its_run(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization("reported"))  # in a file of no run
    began = datetime.now(UTC)
    both, newer, other = (
        run(instance, *given) for given in (([tables, model], "toy"), ([tables], "toy"), ([tables], "other"))
    )
    again, manual = run(instance, [tables], "toy"), run(instance, [tables], "toy", "command line")
    found = {one.name: one for one in ended_runs(instance)}
    assert set(found) == {both, newer, other, again, manual}
    assert all(one.bytes > 0 and began <= one.at <= datetime.now(UTC) for one in found.values())
    assert left(tmp_path, newer)
    reasons = protected_runs(instance)
    assert reasons.pop(both) == "made the stored model"
    assert reasons.pop(again).startswith("the newest of ")  # of its cause: a sensor reads it
    assert reasons == {other: "made the stored tables", manual: "made the stored tables"}
    delete_run(instance, newer)
    assert left(tmp_path, newer) == []
    assert instance.get_run_by_id(newer) is None
    assert set(found) - {newer} == {one.name for one in ended_runs(instance)}
    assert instance.get_latest_materialization_event(dg.AssetKey("tables")).run_id == manual
    assert instance.get_latest_materialization_event(dg.AssetKey("reported")) is not None


def test_a_run_that_waits_or_works_is_not_listed(instance: dg.DagsterInstance) -> None:
    job = dg.define_asset_job("all", [tables]).resolve(asset_graph=dg.Definitions([tables]).resolve_asset_graph())
    for status in (dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELED):
        run_id = instance.create_run_for_job(job, status=status).run_id
    assert [one.name for one in ended_runs(instance)] == [run_id]


def test_a_deletion_that_was_killed_after_a_step_is_completed_by_the_next_one(
    tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = [
        (type(instance.compute_log_manager), "delete_logs"),
        (type(instance.event_log_storage), "delete_events"),
        (type(instance.run_storage), "delete_run"),
        (Path, "unlink"),
    ]
    killed, last = [run(instance, [tables], "toy") for _ in steps], run(instance, [tables], "toy")
    for run_id, (place, name) in zip(killed, steps, strict=True):
        with monkeypatch.context() as broken:
            broken.setattr(place, name, then_kill(getattr(place, name)))
            with pytest.raises(KeyboardInterrupt):
                delete_run(instance, run_id)
    assert {one.name for one in ended_runs(instance)} == {*killed, last}
    for run_id in killed:
        delete_run(instance, run_id)
        assert left(tmp_path, run_id) == []
    assert {one.name for one in ended_runs(instance)} == {last}
    assert left(tmp_path, last)
    assert [one.run_id for one in instance.fetch_materializations(tables.key, limit=9).records] == [last]


def then_kill(step: Callable[..., object]) -> Callable[..., object]:
    """The step, after which the process is killed."""

    def killed(*given: object, **named: object) -> None:
        step(*given, **named)
        raise KeyboardInterrupt

    return killed
