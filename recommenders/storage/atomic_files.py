"""Atomic writes of files and folders, and file hashes."""

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_file(path: Path, durable: bool = False) -> Iterator[Path]:
    """Yields a temporary path beside `path`; that file replaces `path` in one step when the block ends.

    If the block raises, `path` is not changed. durable: after a power cut, `path` has the old or the new content.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = _beside(path)
    try:
        yield staging
        if durable:
            _flush(staging)
        staging.replace(path)
        if durable:
            _flush(path.parent)  # the rename itself
    finally:
        staging.unlink(missing_ok=True)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yields an empty folder beside `folder`; it replaces `folder` when the block ends, but not if the block raises."""
    staging = _beside(folder)
    staging.mkdir(parents=True)
    try:
        yield staging
        replace_folder(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def replace_folder(staging: Path, folder: Path) -> None:
    """Replaces `folder` by the staging folder; the old one is renamed first and then removed."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    old = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}-old")
    if folder.exists():
        folder.rename(old)
    staging.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def staging_of(path: Path) -> list[Path]:
    """The temporary files beside `path` that atomic_file() left when a process was killed during a write."""
    return list(path.parent.glob(f".{path.name}-*"))


def signature(path: Path) -> tuple[int, int, int] | None:
    """Changes whenever atomic_file() replaces the file; None if there is no file. Cheap enough for each poll."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size


def sha256(path: Path) -> str:
    """The file's SHA-256 as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    """Waits until the content of a file, or the entries of a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _beside(path: Path) -> Path:
    # The suffix is not at the end: a file that a killed process left is no source file to a search for *.csv.
    return path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}")
