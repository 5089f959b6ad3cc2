"""What lies afar as files at hand: objects of a store byte for byte, rows of a database as sorted Parquet.

    FOLDER/pulled.json          which objects were copied; a folder without it is not ours and stays as it is
    FOLDER/TABLE/...            the objects under their own names
    FOLDER/TABLE/TABLE.parquet  the rows of a query, each value as text

The same rows give the same bytes, so that a data set's version changes only when its data does.
"""

import fnmatch
import json
import shutil
import time
import uuid
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
from pyarrow import fs

from recommenders.datasets.custom.entry import Entry
from recommenders.datasets.custom.secrets import Secrets
from recommenders.errors import DataError
from recommenders.storage.files import replace_folder, sha256

WILD = set("*[")
NOTE = "pulled.json"
BLOCK = 1 << 22  # bytes in hand at once
SETTLED = 60  # seconds after which an object of the same size and time is the same; stores tell time in seconds


def pull(dataset: str, entry: Entry, base: Path, folder: Path) -> None:
    """Copies the tables that lie afar into `folder`, which appears whole or stays as it was.

    base: what relative paths of a database file go by. Raises ConfigurationError if the entry or the environment must
    be mended, DataError if the other side does not give the data. Neither repeats a password.
    """
    if folder.exists() and not (folder / NOTE).exists():
        raise DataError(f"{dataset}: {folder} was not made by this project and stays as it is; move it away")
    staging = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
    staging.mkdir(parents=True)
    known = _noted(folder)
    seen: dict[str, Any] = {}
    try:
        for name, table in entry.tables.items():
            for url in table.files if table.pulled else ():
                objects = _copy_objects(dataset, url, folder / name, staging / name, known.get(name, {}))
                seen[name] = {**seen.get(name, {}), **objects}
        queries = {name: table.query for name, table in entry.tables.items() if table.query is not None}
        if queries and entry.sql is not None:
            from recommenders.datasets.custom.pull_sql import pull_queries

            pull_queries(dataset, entry.sql.url, queries, base, staging)
        (staging / NOTE).write_text(json.dumps({"dataset": dataset, "objects": seen}))
        if not folder.exists() or _hashes(staging) != _hashes(folder):
            replace_folder(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _noted(folder: Path) -> dict[str, Any]:
    """Table -> object -> what the last pull noted of it."""
    note = folder / NOTE
    objects: dict[str, Any] = json.loads(note.read_text())["objects"] if note.exists() else {}
    return objects


def _hashes(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): sha256(path) for path in folder.rglob("*") if path.is_file()}


def _copy_objects(dataset: str, url: str, old: Path, new: Path, known: Mapping[str, Any]) -> dict[str, Any]:
    """Copies the objects that a URL names, * and [] allowed, under their names below its first such part.

    new: the table's folder; old: the same of the last pull, from which comes what has not changed since. known: what
    that pull noted of its objects. Returns the note of these.
    """
    place, secrets = f"{dataset}: {new.name}.files", Secrets(dataset)
    address = secrets.fill(url)
    try:
        store, base, pattern = _opened(address)
        found = _listed(store, base, pattern)
        seen = {}
        for info in found:
            name = PurePosixPath(info.path).relative_to(base).as_posix()
            seen[name] = [info.path, info.size, info.mtime_ns]
            if (new / name).exists():
                raise DataError(f"{place}: two objects are called {name}; let one URL with * name them all")
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            if known.get(name) == seen[name] and (old / name).is_file():
                shutil.copyfile(old / name, new / name)
            else:
                _copy(store, info.path, new / name)
    except (OSError, pa.ArrowException) as error:
        said = secrets.scrub(error)
        raise DataError(f"{place}: {secrets.scrub(url)} cannot be read: {said}; mend the URL or the access") from None
    if not found:
        raise DataError(f"{place}: {secrets.scrub(url)} names no object; mend the URL")
    newest = (time.time() - SETTLED) * 1e9
    return {name: facts for name, facts in seen.items() if facts[2] is not None and facts[2] < newest}


def _opened(url: str) -> tuple[fs.FileSystem, str, str]:
    """The store, the path of the folder before the first part with a wildcard, and the pattern from there on."""
    place, mark, options = url.partition("?")
    scheme, _, path = place.partition("://")
    parts = path.split("/")
    first = next((n for n, part in enumerate(parts) if set(part) & WILD), len(parts) - 1)
    store, base = fs.FileSystem.from_uri(f"{scheme}://{'/'.join(parts[:first])}{mark}{options}")
    return store, base, "/".join(parts[first:])


def _listed(store: fs.FileSystem, base: str, pattern: str) -> list[fs.FileInfo]:
    """The files below base whose parts match the pattern's, each for each."""
    wanted = pattern.split("/")
    if not set(pattern) & WILD:  # who may read one object may not be allowed to list
        info = store.get_file_info(f"{base}/{pattern}")
        return [info] if info.type == fs.FileType.File else []
    found = store.get_file_info(fs.FileSelector(base, recursive=len(wanted) > 1))
    files = [info for info in found if info.type == fs.FileType.File]
    return [info for info in files if _fits(PurePosixPath(info.path).relative_to(base).parts, wanted)]


def _fits(parts: tuple[str, ...], wanted: list[str]) -> bool:
    """Whether each part is as wanted; a key of a store may hold "..", which would lead out of the folder."""
    return len(parts) == len(wanted) and ".." not in parts and all(map(fnmatch.fnmatchcase, parts, wanted))


def _copy(store: fs.FileSystem, name: str, path: Path) -> None:
    with store.open_input_stream(name, compression=None) as source, path.open("wb") as target:
        shutil.copyfileobj(source, target, BLOCK)
