"""Unpacks the declared files of a publisher's zip, completely or not at all, and checks gzip files."""

import gzip
import importlib
import shutil
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from zipfile import BadZipFile, ZipFile

from recommenders.datasets.downloads.publications import Member
from recommenders.datasets.downloads.transfer import need_room
from recommenders.errors import DataError

BLOCK = 1 << 20  # bytes
# Besides BadZipFile: a truncated member, damaged deflate data, a member with a password, an unknown method.
DAMAGE = (BadZipFile, EOFError, zlib.error, RuntimeError)


def unpack(path: Path, members: Sequence[Member], folder: Path) -> list[Path]:
    """Writes the members into the folder, each under its own name, and returns their paths; checks their CRCs.

    They are unpacked to a temporary folder and renamed only when all are complete. Raises DataError if the zip is
    damaged or truncated, lacks a member, or has a path outside the folder; NoRoomError if the disk is too small.
    """
    _refuse_targets(members, folder)
    try:
        with ZipFile(path) as archive, tempfile.TemporaryDirectory(dir=folder, prefix=".unpacking-") as staging:
            _refuse_escapes(archive, path)
            _refuse_missing(archive, members, path)
            need_room(folder, sum(archive.getinfo(m.path).file_size for m in members), f"unpacking {path.name}")
            staged = [_stage(archive, member, Path(staging)) for member in members]
            return [new.replace(folder / new.name) for new in staged]
    except DAMAGE as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path} is a damaged or truncated zip: {reason}; download it again") from error


def check_gzip(path: Path) -> None:
    """Reads a gzip file to its end, which checks length and CRC. Raises DataError if it is damaged or truncated."""
    try:
        with gzip.open(path) as file:
            while file.read(BLOCK):
                pass
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is a damaged or truncated gzip file: {error}; download it again") from error


def _stage(archive: ZipFile, member: Member, staging: Path) -> Path:
    out = staging / member.file
    raw = staging / f"{member.file}.{PurePosixPath(member.path).suffix.lstrip('.')}" if member.convert else out
    with archive.open(member.path) as source, raw.open("wb") as target:
        shutil.copyfileobj(source, target, BLOCK)
    if member.convert:
        module, function = member.convert.split(":")
        getattr(importlib.import_module(module), function)(raw, out)
    return out


def _refuse_targets(members: Sequence[Member], folder: Path) -> None:
    for member in members:
        if (folder / member.file).resolve().parent != folder.resolve():
            raise DataError(f"{member.file!r} would be outside {folder}; expected the plain name of a file")


def _refuse_escapes(archive: ZipFile, path: Path) -> None:
    """Rejects a zip with a path outside the folder: only declared names are unpacked, but such a zip was changed."""
    for name in archive.namelist():
        place = PureWindowsPath(name)  # handles both slashes, and drives
        if place.anchor or ".." in place.parts:
            fix = "it is not the published file; nothing was unpacked"
            raise DataError(f"{path} has {name!r}, a path outside the folder; {fix}")


def _refuse_missing(archive: ZipFile, members: Sequence[Member], path: Path) -> None:
    names = archive.namelist()
    missing = [member.path for member in members if member.path not in names]
    if missing:
        got = ", ".join(names)[:200] or "nothing"
        raise DataError(f"{path} lacks {', '.join(missing)}; got {got}; check the publisher's page for changes")
