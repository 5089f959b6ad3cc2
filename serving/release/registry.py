"""Remembers every run and every version. MLflow lives here, and nowhere else."""

import logging
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from recommenders.errors import BundleError, ReleaseError
from recommenders.storage import bundle as bundles
from recommenders.storage.files import replace_folder
from recommenders.storage.locks import locked
from serving import pointer as pointers
from serving.release.releases import Releases
from serving.release.versions import (
    BUNDLE_TAG,
    CHAMPION,
    HASH_TAG,
    LISTS_FILE,
    MODEL_TAG,
    PREFIX,
    Version,
    flatten,
    registered_name,
)
from serving.settings import ServingSettings

if TYPE_CHECKING:
    import pyarrow as pa
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

BATCH = 100  # parameters MLflow takes at once
LONGEST_PARAM = 6000  # characters


@dataclass(frozen=True)
class RunTracker:
    """One MLflow run, as training sees it (recommenders.models.recommender.Tracker)."""

    client: "MlflowClient"
    run_id: str
    checkpoints: Path | None = None

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """One point of the learning curve; ndcg@10 becomes ndcg_at_10, because MLflow allows no @."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        points = [Metric(name.replace("@", "_at_"), float(value), now, step) for name, value in metrics.items()]
        for start in range(0, len(points), BATCH):
            self.client.log_batch(self.run_id, metrics=points[start : start + BATCH])

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Final figures."""
        self.log(0, dict(metrics))

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Settings; nested ones become names with dots.

        MLflow refuses to change one that is logged already.
        """
        from mlflow.entities import Param

        flat = [Param(name, str(value)[:LONGEST_PARAM]) for name, value in flatten(params)]
        for start in range(0, len(flat), BATCH):
            self.client.log_batch(self.run_id, params=flat[start : start + BATCH])

    def log_file(self, path: Path, folder: str = "") -> None:
        """A file, or a folder with all it holds, as an artifact below `folder`."""
        self.client.log_artifact(self.run_id, str(path), folder or None)

    def log_bytes(self, name: str, content: bytes) -> None:
        """An artifact from memory; the name may hold folders, "plots/curve.png"."""
        place = PurePosixPath(name)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / place.name
            path.write_bytes(content)
            self.log_file(path, "" if place.parent == PurePosixPath() else str(place.parent))


@dataclass(frozen=True)
class Unlogged:
    """A tracker of fits that no run tells of; where they are cut, they go on from here."""

    checkpoints: Path

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """Nobody asks."""


class Registry(Releases):
    """Runs, versions and releases of all data sets; the first use imports MLflow and makes its store."""

    def __init__(self, settings: ServingSettings) -> None:
        super().__init__(settings)
        self._web = settings.mlflow_url
        self._lock = settings.home / "mlflow" / ".lock"

    # -- runs

    @contextmanager
    def run(self, dataset: str, name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> Iterator[RunTracker]:
        """A run as long as the block; MLflow shows it as FAILED if the block raises."""
        run = self._client.create_run(self._experiment(dataset), tags={"dataset": dataset, **tags}, run_name=name)
        tracker = RunTracker(self._client, run.info.run_id, self.checkpoints(dataset))
        try:
            tracker.log_params(params)
            yield tracker
        except BaseException:
            self._client.set_terminated(tracker.run_id, "FAILED")
            raise
        self._client.set_terminated(tracker.run_id, "FINISHED")

    @contextmanager
    def resume(self, run_id: str) -> Iterator[RunTracker]:
        """An earlier run, to add figures and files; its status stays.

        Raises ReleaseError if there is none.
        """
        self._run_info(run_id)
        yield RunTracker(self._client, run_id)

    def checkpoints(self, dataset: str) -> Path:
        """Where fits on the data set keep what they need to go on."""
        return self.settings.home / "checkpoints" / dataset

    def run_url(self, run_id: str) -> str:
        """The run's page in MLflow."""
        return f"{self._web}/#/experiments/{self._run_info(run_id).experiment_id}/runs/{run_id}"

    def version_url(self, version: Version) -> str:
        """The version's page in MLflow."""
        return f"{self._web}/#/models/{version.name}/versions/{version.number}"

    # -- versions

    def publish(self, dataset: str, bundle: Path, run_id: str, tags: Mapping[str, str]) -> Version:
        """A new version of the bundle, which is copied into the run's artifacts.

        Raises BundleError if damaged.
        """
        digest = pointers.fingerprint(bundle)
        manifest = pointers.verify(bundle, digest)
        place = f"bundles/{digest[:12]}"  # by content, so that one run may publish several
        source = f"{self._run_info(run_id).artifact_uri}/{place}"
        self._client.log_artifacts(run_id, str(bundle), place)
        own = {MODEL_TAG: manifest["model"], HASH_TAG: digest, BUNDLE_TAG: place}
        self._register(registered_name(dataset))
        made = self._client.create_model_version(registered_name(dataset), source, run_id, tags={**tags, **own})
        return self.version(dataset, int(made.version))

    def versions(self, dataset: str) -> list[Version]:
        """All versions of the data set, newest first."""
        found = self._client.search_model_versions(f"name = '{registered_name(dataset)}'")
        aliases = self.aliases(dataset)
        return sorted((_version(dataset, v, aliases) for v in found), key=lambda v: -v.number)

    def version(self, dataset: str, number: int) -> Version:
        """One version. Raises ReleaseError, with the numbers there are, if it does not exist."""
        every = self.versions(dataset)
        for version in every:
            if version.number == number:
                return version
        there = f"there are {', '.join(str(v.number) for v in reversed(every))}" if every else "none is published"
        raise ReleaseError(f"no version {number} of {registered_name(dataset)}; {there}")

    def champion(self, dataset: str) -> Version | None:
        """The version that serves, by the pointer; where that is gone, the one that has the champion's alias.

        Of one that was deleted from the registry, what its bundle says.
        """
        live = self.pointer(dataset)
        if live is None:
            return next((v for v in self.versions(dataset) if CHAMPION in v.aliases), None)
        return self._registered(live) or _of_pointer(live, live.bundle_folder(self.pointer_file(dataset)))

    def judged_lists(self, version: Version) -> "pa.Table":
        """What the version's recipe was judged by: user_id, item_ids, best first. Raises ReleaseError if it is gone."""
        import pyarrow.parquet as pq

        with tempfile.TemporaryDirectory() as folder:
            what = f"the lists that version {version.number} of {version.name} was judged by"
            return pq.read_table(self._download(version.run_id, LISTS_FILE, Path(folder), what))

    def set_tags(self, version: Version, tags: Mapping[str, str]) -> Version:
        """Adds tags to the version, or replaces them; returns it as it is now."""
        for key, value in tags.items():
            self._client.set_model_version_tag(version.name, str(version.number), key, value)
        return self.version(version.dataset, version.number)

    def fetch(self, version: Version, folder: Path) -> Path:
        """The version's bundle, verified, in the place of `folder`.

        Raises BundleError if it was tampered with, ReleaseError if it is gone.
        """
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as staging:
            what = f"the bundle of version {version.number} of {version.name}"
            got = self._download(version.run_id, version.tags.get(BUNDLE_TAG, ""), Path(staging), what)
            pointers.verify(got, version.tags[HASH_TAG])
            replace_folder(got, folder)
        return folder

    def _download(self, run_id: str, place: str, folder: Path, what: str) -> Path:
        """An artifact of a run, copied into the folder. Raises ReleaseError, which says what is gone."""
        from mlflow.exceptions import MlflowException

        try:
            return Path(self._client.download_artifacts(run_id, place, str(folder)))
        except (MlflowException, OSError) as error:
            cause = " ".join(str(error).split())[:200]
            raise ReleaseError(
                f"{what} cannot be fetched from MLflow ({cause}); promote another version or train anew"
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
        """Gives the alias to the version, or takes it away."""
        if number is not None:
            self._client.set_registered_model_alias(registered_name(dataset), alias, str(number))
        elif alias in self.aliases(dataset):
            self._client.delete_registered_model_alias(registered_name(dataset), alias)

    # -- MLflow

    def prepare(self) -> None:
        """Makes the store if there is none; call it before an MLflow server is started on it."""
        self._client  # noqa: B018

    @cached_property
    def _client(self) -> "MlflowClient":
        from mlflow import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.WARNING)
        uri = self.settings.tracking_uri
        with locked(self._lock):  # two processes that make the tables at once break the store
            client = MlflowClient(uri, uri)
            client.search_experiments(max_results=1)
        return client

    def _experiment(self, dataset: str) -> str:
        """The id of the data set's experiment, made at the first run."""
        name = f"{PREFIX}/{dataset}"
        with locked(self._lock):
            if (found := self._client.get_experiment_by_name(name)) is not None:
                return str(found.experiment_id)
            remote = self.settings.tracking_uri.startswith("http")  # a server decides where its files lie
            location = None if remote else str(self.settings.artifact_root / dataset)
            return str(self._client.create_experiment(name, artifact_location=location))

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
    created = datetime.fromtimestamp(found.creation_timestamp / 1000, UTC)
    tags = dict(found.tags)
    return Version(dataset, number, found.run_id or "", tags.get(MODEL_TAG, ""), own, created, tags)


def _of_pointer(live: pointers.Pointer, folder: Path) -> Version:
    """A version as far as the bundle that serves tells of it."""
    try:
        known = bundles.read_manifest(folder)["provenance"]
    except BundleError:
        known = {}
    tags = {name: str(value) for name, value in known.items()} | {HASH_TAG: live.bundle_sha256, MODEL_TAG: live.model}
    promoted = datetime.fromisoformat(live.promoted_at)
    return Version(live.dataset, live.version, live.run_id, live.model, (), promoted, tags)
