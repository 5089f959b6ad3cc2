"""The registry: stores every run and every version in MLflow. Only this module and run_tracker.py use MLflow."""

import json
import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from recommenders.errors import BundleError, ReleaseError
from recommenders.storage import bundle as bundles
from recommenders.storage.atomic_files import replace_folder
from recommenders.storage.locks import locked
from recommenders.storage.retention import Stored
from serving.champion import pointer as pointers
from serving.release.releases import Releases
from serving.release.run_tracker import RunTracker
from serving.release.versions import (
    CHAMPION,
    LISTS_FILE,
    MODEL_TAG,
    PREFIX,
    Version,
    bundle_tags,
    registered_name,
)
from serving.settings import ServingSettings

if TYPE_CHECKING:
    import pyarrow as pa
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion


COMPARED = 5  # runs
PARENT_TAG = "mlflow.parentRunId"  # of a run that MLflow shows below another one


class Registry(Releases):
    """Runs, versions and releases of all data sets; the first use imports MLflow and creates its store."""

    def __init__(self, settings: ServingSettings) -> None:
        super().__init__(settings)
        self._web = settings.mlflow_url
        self._lock = settings.home / "mlflow" / ".lock"

    # -- runs

    @contextmanager
    def run(
        self, dataset: str, name: str, params: Mapping[str, Any], tags: Mapping[str, str], parent: str | None = None
    ) -> Iterator[RunTracker]:
        """A run that is open during the block; MLflow shows it as FAILED if the block raises, and below its parent."""
        below = {PARENT_TAG: parent} if parent else {}
        tags = {"dataset": dataset, **tags, **below}
        run = self._client.create_run(self._experiment(dataset), tags=tags, run_name=name)
        tracker = RunTracker(self._client, run.info.run_id, self.checkpoints(dataset))
        try:
            tracker.log_params(params)
            yield tracker
        except BaseException:
            self._client.set_terminated(tracker.run_id, "FAILED")
            raise
        self._client.set_terminated(tracker.run_id, "FINISHED")

    def find_runs(self, dataset: str, tags: Mapping[str, str]) -> dict[str, dict[str, str]]:
        """The runs of the data set with these tags: run id -> all its tags. At most 50,000, the newest ones."""
        wanted = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        found = self._client.search_runs([self._experiment(dataset)], wanted, max_results=50_000)
        return {run.info.run_id: dict(run.data.tags) for run in found}

    @contextmanager
    def resume(self, run_id: str) -> Iterator[RunTracker]:
        """An earlier run, to add metrics and files; its status does not change.

        Raises ReleaseError if it does not exist.
        """
        self._run_info(run_id)
        yield RunTracker(self._client, run_id)

    def checkpoints(self, dataset: str) -> Path:
        """The folder of the checkpoints from which fits on the data set resume."""
        return self.settings.home / "checkpoints" / dataset

    def stored_runs(self, dataset: str) -> list[Stored]:
        """All runs of the data set that are not deleted, by their ids."""
        experiment = self._client.get_experiment_by_name(f"{PREFIX}/{dataset}")
        found, token = [], ""
        while experiment is not None and token is not None:
            page = self._client.search_runs([experiment.experiment_id], max_results=1000, page_token=token or None)
            found += [run.info for run in page]
            token = page.token
        return [
            Stored(info.run_id, _time(info.start_time), self.artifact_bytes(dataset, info.run_id)) for info in found
        ]

    def artifact_bytes(self, dataset: str, run_id: str) -> int:
        """The size of a run's artifacts on this machine, in bytes."""
        return bundles.size_in_bytes(self.settings.artifact_root / dataset / run_id)

    def delete_artifacts(self, run_id: str, path: str | None = None) -> None:
        """Deletes artifacts of a run, all by default; deletes the rest if some were deleted before."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        artifacts: Any = get_artifact_repository(self._run_info(run_id).artifact_uri, self.settings.tracking_uri)
        artifacts.delete_artifacts(path)

    def delete_run(self, run_id: str) -> None:
        """Deletes the artifacts of a run, then the run, as MLflow does it: `mlflow gc` removes its figures, too."""
        with suppress(ReleaseError):  # the run is gone
            self.delete_artifacts(run_id)
            if self._run_info(run_id).lifecycle_stage == "active":
                self._client.delete_run(run_id)

    def run_url(self, run_id: str) -> str:
        """The run's page in MLflow."""
        return f"{self._web}/#/experiments/{self._run_info(run_id).experiment_id}/runs/{run_id}"

    def comparison_url(self, dataset: str, name: str) -> str:
        """The page in MLflow that compares the newest fits of a model, COMPARED at most."""
        newest = list(self.find_runs(dataset, {"stage": "evaluation", "mlflow.runName": name}))[:COMPARED]
        runs, experiments = quote(json.dumps(newest)), quote(json.dumps([self._experiment(dataset)]))
        return f"{self._web}/#/compare-runs?runs={runs}&experiments={experiments}"

    def experiment_url(self, dataset: str) -> str:
        """The page in MLflow with the data set's runs. MLflow's own start page is about GenAI, which is not used."""
        return f"{self._web}/#/experiments/{self._experiment(dataset)}/runs?workflowType=machine_learning"

    def version_url(self, version: Version) -> str:
        """The version's page in MLflow."""
        return f"{self._web}/#/models/{version.name}/versions/{version.number}"

    # -- versions

    def publish(self, dataset: str, bundle: Path, run_id: str, tags: Mapping[str, str]) -> Version:
        """Registers the bundle as a new version and copies it into the run's artifacts.

        Raises BundleError if the bundle is damaged.
        """
        digest = pointers.fingerprint(bundle)
        manifest = pointers.verify(bundle, digest)
        artifact_path = f"bundles/{digest[:12]}"  # by content, so that one run may publish several bundles
        source = f"{self._run_info(run_id).artifact_uri}/{artifact_path}"
        self._client.log_artifacts(run_id, str(bundle), artifact_path)
        own = bundle_tags(manifest["model"], digest, artifact_path)
        self._register(registered_name(dataset))
        created = self._client.create_model_version(registered_name(dataset), source, run_id, tags={**tags, **own})
        return self.version(dataset, int(created.version))

    def versions(self, dataset: str) -> list[Version]:
        """All versions of the data set, newest first."""
        found = self._client.search_model_versions(f"name = '{registered_name(dataset)}'")
        aliases = self.aliases(dataset)
        return sorted((_version(dataset, v, aliases) for v in found), key=lambda v: -v.number)

    def version(self, dataset: str, number: int) -> Version:
        """One version. Raises ReleaseError, which names the existing numbers, if it does not exist."""
        versions = self.versions(dataset)
        for version in versions:
            if version.number == number:
                return version
        numbers = ", ".join(str(v.number) for v in reversed(versions))
        existing = f"existing versions: {numbers}" if versions else "no version is published"
        raise ReleaseError(f"no version {number} of {registered_name(dataset)}; {existing}")

    def champion(self, dataset: str) -> Version | None:
        """The version that serves, by the pointer; without a pointer, the version with the champion's alias.

        If it was deleted from the registry, it is read from its bundle. None if no version serves.
        """
        pointer = self.pointer(dataset)
        if pointer is None:
            return next((v for v in self.versions(dataset) if CHAMPION in v.aliases), None)
        bundle = pointer.bundle_folder(self.pointer_file(dataset))
        return self._registered(pointer) or _version_from_pointer(pointer, bundle)

    def evaluated_lists(self, version: Version) -> "pa.Table":
        """The lists that the version's recipe was evaluated by: user_id, and item_ids, best first.

        Raises ReleaseError if they are gone.
        """
        import pyarrow.parquet as pq

        with tempfile.TemporaryDirectory() as folder:
            what = f"the lists that version {version.number} of {version.name} was evaluated by"
            return pq.read_table(self._download(version.run_id, LISTS_FILE, Path(folder), what))

    def set_tags(self, version: Version, tags: Mapping[str, str]) -> Version:
        """Adds tags to the version, or replaces them; returns the updated version."""
        for key, value in tags.items():
            self._client.set_model_version_tag(version.name, str(version.number), key, value)
        return self.version(version.dataset, version.number)

    def delete_version(self, version: Version) -> None:
        """Removes the version from the registry; its number is not used again."""
        self._client.delete_model_version(version.name, str(version.number))

    def download_bundle(self, version: Version, folder: Path) -> Path:
        """Downloads the version's bundle, verifies it and replaces `folder` by it; returns the folder.

        Raises BundleError if the bundle was changed, ReleaseError if it is gone.
        """
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as staging:
            what = f"the bundle of version {version.number} of {version.name}"
            downloaded = self._download(version.run_id, version.bundle_path, Path(staging), what)
            pointers.verify(downloaded, version.bundle_sha256)
            replace_folder(downloaded, folder)
        return folder

    def _download(self, run_id: str, artifact_path: str, folder: Path, what: str) -> Path:
        """Copies an artifact of a run into the folder. Raises ReleaseError, which names what is gone."""
        from mlflow.exceptions import MlflowException

        try:
            return Path(self._client.download_artifacts(run_id, artifact_path, str(folder)))
        except (MlflowException, OSError) as error:
            cause = " ".join(str(error).split())[:200]
            raise ReleaseError(
                f"{what} cannot be downloaded from MLflow ({cause}); promote another version or train again"
            ) from error

    def aliases(self, dataset: str) -> dict[str, int]:
        """The aliases of the data set's model and the versions they name."""
        from mlflow.exceptions import MlflowException

        try:
            aliases = self._client.get_registered_model(registered_name(dataset)).aliases
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return {}
        return {alias: int(number) for alias, number in aliases.items()}

    def set_alias(self, dataset: str, alias: str, number: int | None) -> None:
        """Gives the alias to the version, or removes the alias if number is None."""
        if number is not None:
            self._client.set_registered_model_alias(registered_name(dataset), alias, str(number))
        elif alias in self.aliases(dataset):
            self._client.delete_registered_model_alias(registered_name(dataset), alias)

    # -- MLflow

    def prepare(self) -> None:
        """Creates the store if there is none; call it before an MLflow server is started on it."""
        self._client  # noqa: B018

    @cached_property
    def _client(self) -> "MlflowClient":
        from mlflow import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.WARNING)
        uri = self.settings.tracking_uri
        with locked(self._lock):  # two processes that create the tables at the same time break the store
            client = MlflowClient(uri, uri)
            client.search_experiments(max_results=1)
        return client

    def _experiment(self, dataset: str) -> str:
        """The id of the data set's experiment, which the first run creates."""
        name = f"{PREFIX}/{dataset}"
        client = self._client  # before the lock, which its first use takes, too
        with locked(self._lock):
            if (found := client.get_experiment_by_name(name)) is not None:
                return str(found.experiment_id)
            remote = self.settings.tracking_uri.startswith("http")  # a server chooses the place of its files
            location = None if remote else str(self.settings.artifact_root / dataset)
            return str(client.create_experiment(name, artifact_location=location))

    def _run_info(self, run_id: str) -> Any:
        from mlflow.exceptions import MlflowException

        try:
            return self._client.get_run(run_id).info
        except MlflowException as error:
            raise ReleaseError(f"no MLflow run {run_id!r} in {self.settings.tracking_uri}") from error

    def _register(self, name: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise


def _version(dataset: str, found: "ModelVersion", aliases: Mapping[str, int]) -> Version:
    number = int(found.version)
    own = tuple(sorted(alias for alias, aliased in aliases.items() if aliased == number))
    tags, created = dict(found.tags), _time(found.creation_timestamp)
    return Version(dataset, number, found.run_id or "", tags.get(MODEL_TAG, ""), own, created, tags)


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _version_from_pointer(pointer: pointers.Pointer, folder: Path) -> Version:
    """The version that serves, from its pointer and the provenance in its bundle."""
    try:
        known = bundles.read_manifest(folder)["provenance"]
    except BundleError:
        known = {}
    own = bundle_tags(pointer.model, pointer.bundle_sha256)
    tags = {name: str(value) for name, value in known.items()} | own
    promoted = datetime.fromisoformat(pointer.promoted_at)
    return Version(pointer.dataset, pointer.version, pointer.run_id, pointer.model, (), promoted, tags)
