"""Contexts on disk: what several bundles have in common, stored once, under the hash of its content.

    contexts/SHA256.safetensors     named arrays; the name is the SHA-256 of the file

The folder `contexts` is inside a bundle, which is then complete, or beside the bundles that share it.
"""

import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from recommenders.errors import BundleError
from recommenders.storage.atomic_files import atomic_file, sha256

CONTEXTS = "contexts"
LOCK = ".lock"  # held while a shared context, and a bundle that refers to it, are written
SUFFIX = ".safetensors"


def write(folder: Path, arrays: Mapping[str, NDArray[Any]]) -> str:
    """Stores the arrays in a folder of contexts; returns their SHA-256. An intact file with this hash is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder) as temporary:
        new = Path(temporary) / "new"
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, new)
        digest = sha256(new)
        path = folder / f"{digest}{SUFFIX}"
        if not path.is_file() or sha256(path) != digest:
            with atomic_file(path, durable=True) as staging:  # bundles that were written earlier need this file too
                new.replace(staging)
    return digest


def find(bundle: Path, digest: str, beside: bool = True) -> Path:
    """The file of a bundle's context, checked against its hash. Raises BundleError if it is missing or differs.

    beside: whether the context may also be beside the bundle, where several bundles share it.
    """
    places = [bundle / CONTEXTS, *([bundle.parent / CONTEXTS] if beside else [])]
    path = next((found for place in places if (found := place / f"{digest}{SUFFIX}").is_file()), None)
    if path is None:
        where = " or ".join(str(place) for place in places)
        raise BundleError(
            f"bundle {bundle} lacks its context {digest[:12]}: no {digest}{SUFFIX} in {where}; "
            "copy it there or train anew"
        )
    if (got := sha256(path)) != digest:
        raise BundleError(
            f"context {path} was changed (sha256 {got[:12]}, expected {digest[:12]}); copy it again or train anew"
        )
    return path


def read(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a file that find() returned. Raises BundleError if it cannot be read."""
    try:
        arrays: dict[str, NDArray[Any]] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise BundleError(f"context {path} cannot be read: {error}; copy it again or train anew") from error
    return arrays


def remove_unused(folder: Path, used: Collection[str]) -> None:
    """Removes all files of a folder of contexts except those whose hash is in `used`. The caller holds LOCK."""
    kept = {LOCK, *(f"{digest}{SUFFIX}" for digest in used)}
    for path in folder.iterdir():
        if path.name in kept:
            continue
        if path.is_dir():  # a killed process left it
            shutil.rmtree(path)
        else:
            path.unlink()
