"""The pointer file: it names the bundle that is served and the earlier versions. No MLflow: the worker reads it.

    champions/
      custom_b2b.json      the pointer, replaced as one step and always written last
      custom_b2b/7/        the bundle it names, complete and verified before the pointer is written

The version in the pointer is the champion; the registry's aliases follow it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recommenders.errors import BundleError, ReleaseError
from recommenders.storage import bundle, contexts
from recommenders.storage.atomic_files import atomic_file, sha256

MAX_EARLIER_VERSIONS = 20  # earlier champions that a pointer stores


@dataclass(frozen=True)
class Pointer:
    """The content of a pointer file.

    `bundle` is relative to the file's folder; `earlier` holds past versions, each once, newest last, and never the
    version that serves.
    """

    dataset: str
    model: str
    version: int
    bundle: str
    bundle_sha256: str  # of the bundle's manifest, which holds the hash of every other file
    promoted_at: str  # ISO 8601, UTC
    run_id: str
    earlier: tuple[int, ...] = ()
    pinned: bool = False  # no retraining replaces it

    def bundle_folder(self, pointer_file: Path) -> Path:
        """The bundle's folder."""
        return (pointer_file.parent / self.bundle).resolve()


def read_pointer(path: Path) -> Pointer | None:
    """The pointer; None if there is no file. Raises ReleaseError if the file is damaged."""
    try:
        content = json.loads(path.read_text())
        version = int(content["version"])  # a file of older code may hold it among the earlier versions, too
        return Pointer(**{**content, "version": version, "earlier": earlier_versions(content["earlier"], version)})
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise ReleaseError(
            f"{path} is not a champion pointer ({error!r}); promote a version to write a new one"
        ) from error


def earlier_versions(numbers: Sequence[int], version: int) -> tuple[int, ...]:
    """The earlier versions of a pointer to `version`: each number once, at its newest place, and never `version`.

    numbers: versions that served, newest last. A rollback from `version` to any of the result changes what serves.
    """
    newest_first = dict.fromkeys(number for number in reversed(numbers) if number != version)
    return tuple(newest_first)[:MAX_EARLIER_VERSIONS][::-1]


def write_pointer(path: Path, pointer: Pointer) -> None:
    """Replaces the pointer file in one step; after a crash the file is the old or the new one, never a part."""
    with atomic_file(path, durable=True) as staging:
        staging.write_text(json.dumps({**vars(pointer), "earlier": list(pointer.earlier)}, indent=2))


def fingerprint(folder: Path) -> str:
    """The sha256 of a bundle's manifest. Raises BundleError if the folder holds none."""
    bundle.read_manifest(folder)
    return sha256(folder / bundle.MANIFEST)


def verify(folder: Path, expected: str) -> dict[str, Any]:
    """Verifies a bundle by its hashes, file by file; returns its manifest.

    expected: the sha256 of the manifest. Raises BundleError if a file was changed, or if the bundle is not complete:
    a bundle that shares its context with others would lack it where it is served.
    """
    if (actual := fingerprint(folder)) != expected:
        raise BundleError(
            f"bundle {folder}: {bundle.MANIFEST} was changed (sha256 {actual[:12]}, expected {expected[:12]}); "
            "publish the model again"
        )
    contexts.find(folder, bundle.read(folder).context, beside=False)
    return bundle.read_manifest(folder)
