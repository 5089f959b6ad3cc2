"""Keeps finished parts of a benchmark on disk, so that an interrupted run continues where it stopped."""

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from peers.environments import place

import recommenders

Arrays = Mapping[str, NDArray[Any]]


@cache
def code_version(*packages: str) -> str:
    """A hash of the library's source, and of other packages beside it."""
    root, digest = Path(recommenders.__file__).parent, hashlib.sha256()
    for folder in (root, *(root.with_name(package) for package in packages)):
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.relative_to(folder).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def key_of(*parts: Any) -> str:
    """A short key of everything that a result depends on. Parts must have a stable repr."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:20]


def kept_arrays(key: str, make: Callable[[], Arrays]) -> dict[str, NDArray[Any]]:
    """The arrays of that key. They are made and kept if they are missing."""
    path = place() / "finished" / f"{key}.npz"
    if not path.exists():
        _write(path, lambda temporary: np.savez_compressed(temporary, **make()))
    with np.load(path) as found:
        return dict(found)


def kept_json(key: str, make: Callable[[], Any]) -> Any:
    """The same for any JSON value."""
    path = place() / "finished" / f"{key}.json"
    if not path.exists():
        _write(path, lambda temporary: temporary.write_text(json.dumps(make())))
    return json.loads(path.read_text())


def _write(path: Path, write: Callable[[Path], object]) -> None:
    """Writes to a temporary file and then renames it, so that no partial file remains under the final name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".part-{path.name}")
    write(temporary)
    temporary.replace(path)
