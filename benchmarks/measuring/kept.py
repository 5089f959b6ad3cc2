"""Finished parts of a benchmark, kept on disk, so that one that was cut goes on where it was."""

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
def code_version() -> str:
    """A hash of the library's source."""
    root = Path(recommenders.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def key_of(*parts: Any) -> str:
    """A short name of whatever a result depends on. Parts must have a stable repr."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:20]


def kept_arrays(key: str, make: Callable[[], Arrays]) -> dict[str, NDArray[Any]]:
    """The arrays of that key, made if they are not there."""
    path = place() / "finished" / f"{key}.npz"
    if not path.exists():
        _write(path, lambda part: np.savez_compressed(part, **make()))
    with np.load(path) as found:
        return dict(found)


def kept_facts(key: str, make: Callable[[], Any]) -> Any:
    """The same of anything JSON can hold."""
    path = place() / "finished" / f"{key}.json"
    if not path.exists():
        _write(path, lambda part: part.write_text(json.dumps(make())))
    return json.loads(path.read_text())


def _write(path: Path, write: Callable[[Path], object]) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".part-{path.name}")
    write(part)
    part.replace(path)
