"""Prunes versions with their bundles, lists and MLflow runs, and runs of no version.

Steps for a version: mark it -> delete bundle and lists -> delete its run -> delete it from the registry. The mark comes
first, so that no rollback chooses a version without files, and the next pruning completes what a killed one began.
"""

import shutil
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from recommenders.errors import BundleError
from recommenders.storage.bundle import MANIFEST, read_manifest, size_in_bytes
from recommenders.storage.locks import is_in_use, locked
from recommenders.storage.retention import Stored
from serving.lists import precomputed
from serving.release.registry import Registry
from serving.release.versions import CHAMPION, HASH_TAG, PREVIOUS, Version, pruned_tags


def stored_versions(registry: Registry, dataset: str) -> list[Stored]:
    """The versions of a data set that have files, by their numbers."""
    found = []
    for version in registry.versions(dataset):
        folders = _folders(registry, version)
        size = sum(map(size_in_bytes, folders)) + registry.artifact_bytes(dataset, version.run_id)
        only_record = version.pruned_at and version.rolled_back_at and not version.bundle_sha256
        if not only_record:
            found.append(Stored(str(version.number), version.created, size, version.pruned_at is not None))
    return found


def protected_versions(registry: Registry, dataset: str) -> dict[str, str]:
    """Number of each version that must stay -> why. Whatever else uses versions names them here."""
    versions, pointer = registry.versions(dataset), registry.pointer(dataset)
    reasons: dict[int, list[str]] = {}
    if versions:
        reasons.setdefault(versions[0].number, []).append("the newest")
    if pointer is not None:
        reasons.setdefault(pointer.version, []).append("the champion, pinned" if pointer.pinned else "the champion")
        loadable = {version.number for version in versions if version.promoted_at and not version.pruned_at}
        for number in [number for number in pointer.earlier if number in loadable][-1:]:
            reasons.setdefault(number, []).append("the champion before")
    for version in versions:
        aliases = set(version.aliases) - ({CHAMPION, PREVIOUS} if pointer is not None else set())
        reasons.setdefault(version.number, []).extend(f"alias {alias}" for alias in sorted(aliases))
        if is_in_use(_folders(registry, version)[0] / MANIFEST):
            reasons[version.number].append("a service has it in memory")
    return {str(number): ", ".join(why) for number, why in reasons.items() if why}


def prune_version(registry: Registry, dataset: str, number: int) -> None:
    """Deletes a version, unless it is protected by now.

    The record of a version that was rolled back stays, without files: its recipe is compared with later ones.
    """
    with locked(registry.lock_file(dataset)):
        if str(number) in protected_versions(registry, dataset):
            return
        version = registry.version(dataset, number)
        registry.set_tags(version, pruned_tags(datetime.now(UTC)))
        for folder in filter(Path.is_dir, _folders(registry, version)):
            shutil.rmtree(folder)
        _delete_run_of(registry, version)
        if version.rolled_back_at:
            registry.set_tags(version, {HASH_TAG: ""})
        else:
            registry.delete_version(version)


def protected_runs(registry: Registry, dataset: str, models: Path) -> dict[str, str]:
    """Id of each run that must stay -> why: the runs of versions, and those of the models in a folder of bundles."""
    reasons = dict.fromkeys(_runs_of(models.glob(f"*/{MANIFEST}")), "of a model of the last training")
    return reasons | {version.run_id: f"of version {version.number}" for version in registry.versions(dataset)}


def _runs_of(manifests: Iterable[Path]) -> set[str]:
    found = set()
    for path in manifests:
        with suppress(BundleError):
            found.add(read_manifest(path.parent)["provenance"].get("run_id", ""))
    return found


def _delete_run_of(registry: Registry, version: Version) -> None:
    """Deletes the run of a version; only the version's bundle in it, if other versions are of the same run."""
    same = [one for one in registry.versions(version.dataset) if one.run_id == version.run_id]
    others = [one for one in same if one.number != version.number and not one.pruned_at]
    if not others:
        registry.delete_run(version.run_id)
    elif version.bundle_path not in {one.bundle_path for one in others}:
        registry.delete_artifacts(version.run_id, version.bundle_path)


def _folders(registry: Registry, version: Version) -> tuple[Path, Path]:
    """The released bundle of a version, and its precomputed lists."""
    bundle = registry.settings.champions / version.dataset / str(version.number)
    return bundle, precomputed.folder_of(bundle)
