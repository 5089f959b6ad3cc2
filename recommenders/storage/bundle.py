"""A fitted model on disk: arrays and a manifest, no pickle.

    manifest.json           name, configuration, provenance, the sha256 of its context, and of every other file
    arrays.safetensors      the learned arrays
    base_models/NAME/...    bundles inside a bundle (base models of an ensemble; popularity beside another model)
    contexts/SHA256...      its context (storage.contexts), unless that is beside the bundle: ../contexts/SHA256...

A bundle is written completely or not at all: it is written to a folder beside the target and then renamed.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from recommenders.errors import BundleError
from recommenders.storage import contexts
from recommenders.storage.atomic_files import atomic_folder, sha256
from recommenders.storage.contexts import CONTEXTS
from recommenders.storage.locks import locked

FORMAT = 4  # 4: ids and histories are in a context
MANIFEST = "manifest.json"
ARRAYS = "arrays.safetensors"
BASE_MODELS = "base_models"


@dataclass(frozen=True)
class Bundle:
    """The content of a bundle in memory. base_models: the names of the bundles inside it.

    context: the SHA-256 of the context that it refers to; write() sets it. Empty for a bundle without one.
    """

    model: str
    config: dict[str, Any]
    arrays: dict[str, NDArray[Any]]
    provenance: dict[str, Any] = field(default_factory=dict)
    base_models: tuple[str, ...] = ()
    context: str = ""


def write(
    folder: Path,
    bundle: Bundle,
    base_models: Mapping[str, Bundle] | None = None,
    context: Mapping[str, NDArray[Any]] | None = None,
) -> Path:
    """Writes the bundle, with its context inside, if it has one; replaces an existing folder in one step."""
    with atomic_folder(folder) as staging:
        digest = "" if context is None else contexts.write(staging / CONTEXTS, context)
        _write_into(staging, replace(bundle, context=digest), base_models or {})
    return folder


def write_shared(
    folder: Path, bundle: Bundle, base_models: Mapping[str, Bundle], context: Mapping[str, NDArray[Any]]
) -> Path:
    """Writes the bundle, and its context beside it, where bundles with one context share it.

    Then removes the contexts that no bundle there refers to any more. A context is stored before the first bundle that
    refers to it is in place, and removed after the last one is replaced, so a crash leaves each bundle its context.
    """
    beside = folder.parent / CONTEXTS
    with locked(beside / contexts.LOCK):  # else another process could remove the context before the bundle is in place
        digest = contexts.write(beside, context)
        with atomic_folder(folder) as staging:
            _write_into(staging, replace(bundle, context=digest), base_models)
        with suppress(ValueError):  # a damaged manifest, or one that is just written, may refer to any context
            contexts.remove_unused(beside, _contexts_in_use(folder.parent))
    return folder


def _contexts_in_use(bundles: Path) -> set[str]:
    """The hashes of the contexts to which the bundles in a folder refer, hidden ones of an interrupted write too.

    Raises ValueError if a manifest cannot be read.
    """
    used = set()
    for manifest in bundles.glob(f"*/{MANIFEST}"):
        with suppress(FileNotFoundError):  # replaced since it was listed, by something that is no bundle
            used.add(json.loads(manifest.read_text()).get("context", ""))
    return used


def _write_into(folder: Path, bundle: Bundle, base_models: Mapping[str, Bundle]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: np.ascontiguousarray(array) for name, array in bundle.arrays.items()}, folder / ARRAYS)
    for name, base_model in base_models.items():
        _write_into(folder / BASE_MODELS / name, base_model, {})
    listed = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.parent != folder / CONTEXTS]
    manifest = {
        "format": FORMAT,
        "model": bundle.model,
        "config": bundle.config,
        "provenance": bundle.provenance,
        "base_models": list(base_models),
        "context": bundle.context,
        "files": {p.relative_to(folder).as_posix(): sha256(p) for p in listed},
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2, sort_keys=True))


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest alone. Raises BundleError if there is none, or if it has another format."""
    path = folder / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        raise BundleError(f"no model bundle at {folder}: {MANIFEST} is missing") from None
    except ValueError as error:
        raise BundleError(f"{path} is not JSON: {error}") from error
    if manifest.get("format") != FORMAT:
        raise BundleError(f"{path}: format {manifest.get('format')!r}; this version reads {FORMAT}; train anew")
    return manifest


def read(folder: Path, verify: bool = True) -> Bundle:
    """The bundle without its context. Each file is checked against its hash first.

    Raises BundleError if a file is missing or differs.
    """
    manifest = read_manifest(folder)
    if verify:
        _verify(folder, manifest["files"])
    try:
        arrays = load_file(folder / ARRAYS)
    except (OSError, SafetensorError) as error:
        raise BundleError(f"{folder / ARRAYS} cannot be read: {error}") from error
    return Bundle(
        manifest["model"],
        manifest["config"],
        arrays,
        manifest["provenance"],
        tuple(manifest["base_models"]),
        manifest["context"],
    )


def read_base_model(folder: Path, name: str) -> Bundle:
    """The bundle of a base model inside a bundle; read(folder) has already checked its files."""
    return read(folder / BASE_MODELS / name, verify=False)


def _verify(folder: Path, files: Mapping[str, str]) -> None:
    for name, expected in files.items():
        path = folder / name
        if not path.is_file():
            raise BundleError(f"bundle {folder} lacks {name}; copy it again or train anew")
        if (got := sha256(path)) != expected:
            raise BundleError(
                f"bundle {folder}: {name} was changed (sha256 {got[:12]}, expected {expected[:12]}); "
                "copy it again or train anew"
            )


def size_in_bytes(folder: Path) -> int:
    """The size of all files in a folder, in bytes; 0 if there is none."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def pack_strings(strings: NDArray[np.str_]) -> dict[str, NDArray[Any]]:
    """Strings as two arrays, UTF-8 bytes and end offsets, because safetensors stores numbers only."""
    encoded = [s.encode() for s in strings.tolist()]
    ends = np.cumsum([len(s) for s in encoded], dtype=np.int64)
    return {"bytes": np.frombuffer(b"".join(encoded), dtype=np.uint8), "ends": ends}


def unpack_strings(arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.str_]:
    """The inverse of pack_strings."""
    data = arrays["bytes"].tobytes()
    ends = arrays["ends"].tolist()
    return np.array([data[a:b].decode() for a, b in zip([0, *ends], ends, strict=False)], dtype=np.str_)
