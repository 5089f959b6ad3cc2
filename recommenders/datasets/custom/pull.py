"""Copies remote data to local files: objects of a store byte for byte, rows of a database as sorted Parquet.

    FOLDER/pulled.json          the copied objects; a folder without this file is never replaced
    FOLDER/TABLE/...            the objects under their own names
    FOLDER/TABLE/TABLE.parquet  the rows of a query, each value as text

The same rows give the same bytes, so a data set's version changes only when its data changes.
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
from recommenders.storage.atomic_files import replace_folder, sha256

WILD = set("*[")
NOTE = "pulled.json"
BLOCK = 1 << 22  # bytes in memory at once
SETTLED = 60  # seconds after which equal size and time mean an unchanged object; stores give times in seconds


def pull(dataset: str, entry: Entry, base: Path, folder: Path) -> None:
    """Copies the remote tables into `folder`, which is replaced in one step or not at all.

    base: the folder that relative paths of a database file start from. Raises ConfigurationError if the entry or the
    environment must be changed, DataError if the remote side does not give the data. Neither contains a password.
    """
    if folder.exists() and not (folder / NOTE).exists():
        raise DataError(f"{dataset}: {folder} was not made by this project and is not replaced; move it away")
    staging = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
    staging.mkdir(parents=True)
    known = _recorded_objects(folder)
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


def _recorded_objects(folder: Path) -> dict[str, Any]:
    """Table -> object -> [path, size, time] as recorded by the last pull."""
    note = folder / NOTE
    objects: dict[str, Any] = json.loads(note.read_text())["objects"] if note.exists() else {}
    return objects


def _hashes(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): sha256(path) for path in folder.rglob("*") if path.is_file()}


def _copy_objects(dataset: str, url: str, old: Path, new: Path, known: Mapping[str, Any]) -> dict[str, Any]:
    """Copies the objects that match a URL with optional * and [], with their paths below its first wildcard part.

    new: the table's folder; old: its folder of the last pull, from which unchanged objects are copied. known: the
    objects that the last pull recorded. Returns the record of the copied objects.
    """
    place, secrets = f"{dataset}: {new.name}.files", Secrets(dataset)
    address = secrets.fill(url)
    try:
        store, base, pattern = _open_store(address)
        found = _list_files(store, base, pattern)
        seen = {}
        for info in found:
            name = PurePosixPath(info.path).relative_to(base).as_posix()
            seen[name] = [info.path, info.size, info.mtime_ns]
            if (new / name).exists():
                raise DataError(f"{place}: two objects have the name {name}; use one URL with * for all of them")
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            if known.get(name) == seen[name] and (old / name).is_file():
                shutil.copyfile(old / name, new / name)
            else:
                _copy(store, info.path, new / name)
    except (OSError, pa.ArrowException) as error:
        reason = secrets.scrub(error)
        raise DataError(f"{place}: {secrets.scrub(url)} cannot be read: {reason}; fix the URL or the access") from None
    if not found:
        raise DataError(f"{place}: {secrets.scrub(url)} matches no object; fix the URL")
    newest = (time.time() - SETTLED) * 1e9
    return {name: facts for name, facts in seen.items() if facts[2] is not None and facts[2] < newest}


def _open_store(url: str) -> tuple[fs.FileSystem, str, str]:
    """The store, the folder before the first path part with a wildcard, and the pattern from that part on."""
    place, mark, options = url.partition("?")
    scheme, _, path = place.partition("://")
    parts = path.split("/")
    first = next((n for n, part in enumerate(parts) if set(part) & WILD), len(parts) - 1)
    store, base = fs.FileSystem.from_uri(f"{scheme}://{'/'.join(parts[:first])}{mark}{options}")
    return store, base, "/".join(parts[first:])


def _list_files(store: fs.FileSystem, base: str, pattern: str) -> list[fs.FileInfo]:
    """The files below base whose path parts match the parts of the pattern."""
    wanted = pattern.split("/")
    if not set(pattern) & WILD:  # access to one object does not imply permission to list the folder
        info = store.get_file_info(f"{base}/{pattern}")
        return [info] if info.type == fs.FileType.File else []
    found = store.get_file_info(fs.FileSelector(base, recursive=len(wanted) > 1))
    files = [info for info in found if info.type == fs.FileType.File]
    return [info for info in files if _matches_pattern(PurePosixPath(info.path).relative_to(base).parts, wanted)]


def _matches_pattern(parts: tuple[str, ...], wanted: list[str]) -> bool:
    """Whether each part matches; rejects "..", which a store's key may contain and which would leave the folder."""
    return len(parts) == len(wanted) and ".." not in parts and all(map(fnmatch.fnmatchcase, parts, wanted))


def _copy(store: fs.FileSystem, name: str, path: Path) -> None:
    with store.open_input_stream(name, compression=None) as source, path.open("wb") as target:
        shutil.copyfileobj(source, target, BLOCK)
