"""Runs in this process, by the private parts of Dagster."""

import dagster as dg
import pytest

from orchestration.launcher.dagster_internals import AssetCheckFailedError, create_run, execute
from serving.settings import PROJECT


@dg.asset
def first() -> int:
    return 1


@dg.asset
def second(first: int) -> int:
    return first + 1


@dg.asset_check(asset=first, blocking=True)
def small(first: int) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=False)


def job(*checks: dg.AssetChecksDefinition) -> dg.JobDefinition:
    assets = dg.Definitions(
        [first, second], asset_checks=checks, jobs=[dg.define_asset_job("all")], executor=dg.in_process_executor
    )
    return assets.resolve_job_def("all")


def test_a_run_belongs_to_the_code_location_and_has_its_tags() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        run = create_run(instance, job(), [], {"cause": "test"}, PROJECT / "workspace.yaml")
        execute(instance, job(), run)
        (found,) = instance.get_runs()
        assert found.status is dg.DagsterRunStatus.SUCCESS
        assert found.tags["cause"] == "test"
        assert found.remote_job_origin is not None
        assert found.remote_job_origin.location_name == "tradewind"
        assert instance.get_latest_materialization_event(second.key) is not None


def test_a_run_of_some_assets_leaves_the_others_out() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        execute(instance, job(), create_run(instance, job(), ["first"], {}, PROJECT / "workspace.yaml"))
        assert instance.get_latest_materialization_event(first.key) is not None
        assert instance.get_latest_materialization_event(second.key) is None


def test_a_failed_blocking_check_is_raised() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        run = create_run(instance, job(small), [], {}, PROJECT / "workspace.yaml")
        with pytest.raises(AssetCheckFailedError):
            execute(instance, job(small), run)
