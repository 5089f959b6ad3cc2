"""The private parts of Dagster that runs and sensors in this process need. Dagster has no public names for them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.definitions.repository_definition import SINGLETON_REPOSITORY_NAME
from dagster._core.errors import DagsterAssetCheckFailedError as AssetCheckFailedError
from dagster._core.execution.api import execute_run
from dagster._core.remote_origin import RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.storage.tags import RUN_KEY_TAG, SENSOR_NAME_TAG
from dagster._core.workspace.load import location_origins_from_yaml_paths

__all__ = ["RUN_KEY_TAG", "SENSOR_NAME_TAG", "AssetCheckFailedError", "create_run", "execute", "origin"]


def create_run(
    instance: dg.DagsterInstance,
    job: dg.JobDefinition,
    assets: Sequence[str],
    tags: Mapping[str, str],
    workspace: Path,
    quiet: bool = False,
    ops: Mapping[str, Any] | None = None,
) -> dg.DagsterRun:
    """A run of a job for some assets (none: all of them), which belongs to the code location of a workspace.yaml.

    quiet: it prints no line for each step. ops: asset -> {"config": its configuration}.
    Not job.execute_in_process(): its runs have no code location, and Dagster's timeline leaves those out.
    """
    return instance.create_run_for_job(
        job,
        run_config={"loggers": {"console": {"config": {"quiet": True}} if quiet else {}}, "ops": dict(ops or {})},
        asset_selection=frozenset(dg.AssetKey(name) for name in assets) or None,
        tags=tags,
        remote_job_origin=origin(job.name, workspace),
    )


def origin(job: str, workspace: Path) -> RemoteJobOrigin:
    """The origin of a job in the code location of a workspace.yaml, as Dagster's pages know it."""
    (location,) = location_origins_from_yaml_paths([str(workspace)])
    return RemoteRepositoryOrigin(location, SINGLETON_REPOSITORY_NAME).get_job_origin(job)


def execute(instance: dg.DagsterInstance, job: dg.JobDefinition, run: dg.DagsterRun) -> None:
    """Executes a run in this process. Raises the error that stopped it.

    AssetCheckFailedError for a blocking check, dg.DagsterExecutionInterruptedError for Ctrl-C.
    """
    execute_run(InMemoryJob(job), run, instance, raise_on_error=True)
