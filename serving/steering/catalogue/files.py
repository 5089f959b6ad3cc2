"""The served catalogue on disk: arrays under the hash of their content, and a JSON file that names the newest ones.

champions/
  custom_b2b.json                          the champion's pointer
  custom_b2b.catalogue.json                names the catalogue; replaced as one step, always written last
  custom_b2b.catalogue/SHA256.safetensors  its arrays; earlier ones stay, so that an earlier answer can be repeated
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from recommenders.errors import TradewindError
from recommenders.storage.atomic_files import atomic_file, sha256
from recommenders.storage.locks import locked
from serving.steering.catalogue.attributes import AttributeTable

FORMAT = 1
MAX_EARLIER = 50  # earlier catalogues that stay on disk


class CatalogueError(TradewindError):
    """A catalogue that is missing or damaged."""


@dataclass(frozen=True, eq=False)
class Catalogue:
    """The newest known attributes of all items and users. version: the SHA-256 of its file."""

    items: AttributeTable
    users: AttributeTable
    version: str = ""


@dataclass(frozen=True)
class CatalogueRecord:
    """The content of the JSON file. earlier: versions that are still on disk, newest last."""

    version: str
    items: int
    users: int
    written_at: str  # ISO 8601, UTC
    earlier: tuple[str, ...] = ()
    format: int = FORMAT


def record_file(pointer_file: Path) -> Path:
    """The JSON file that names the catalogue, beside the champion's pointer."""
    return pointer_file.with_suffix(".catalogue.json")


def arrays_file(record: Path, version: str) -> Path:
    """The file of a catalogue's arrays."""
    return record.with_suffix("") / f"{version}.safetensors"


def write(record: Path, items: AttributeTable, users: AttributeTable) -> CatalogueRecord:
    """Makes these attributes the served catalogue. Equal content is the same version, and changes no file.

    After a crash the old or the new catalogue is served, and never a part of one.
    """
    parts = {"items": items, "users": users}
    content = save({f"{part}.{name}": array for part, table in parts.items() for name, array in table.arrays().items()})
    version = hashlib.sha256(content).hexdigest()
    path = arrays_file(record, version)
    with locked(record.with_name(f".{record.stem}.lock")):
        try:
            known = read_record(record)
        except CatalogueError:  # damaged: this write replaces it
            known = None
        if not path.is_file() or sha256(path) != version:
            with atomic_file(path, durable=True) as staging:
                staging.write_bytes(content)
        if known is not None and known.version == version:
            return known
        past = tuple(v for v in (*known.earlier, known.version) if v != version)[-MAX_EARLIER:] if known else ()
        new = CatalogueRecord(version, len(items.ids), len(users.ids), f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", past)
        _write_record(record, new)
        kept = {arrays_file(record, each) for each in (*past, version)}
        for old in path.parent.glob("*.safetensors"):
            if old not in kept:
                old.unlink()
    return new


def read_record(record: Path) -> CatalogueRecord | None:
    """What the JSON file says; None if there is none. Raises CatalogueError if it is damaged."""
    try:
        content = json.loads(record.read_text())
        found = CatalogueRecord(**{**content, "earlier": tuple(content["earlier"])})
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise CatalogueError(f"{record} names no catalogue ({error!r}); materialise served_catalogue again") from error
    if found.format != FORMAT:
        raise CatalogueError(
            f"{record}: got format {found.format}; this version reads {FORMAT}; materialise served_catalogue again"
        )
    return found


def read(record: Path, version: str) -> Catalogue:
    """One version of the catalogue, checked against its hash. Raises CatalogueError if it is missing or differs."""
    path = arrays_file(record, version)
    advice = "materialise served_catalogue again"
    try:
        content = path.read_bytes()
    except OSError as error:
        why = f"{error.strerror}; only the newest {MAX_EARLIER + 1} stay on disk"
        raise CatalogueError(f"catalogue {path} cannot be read: {why}; {advice}") from error
    if (got := hashlib.sha256(content).hexdigest()) != version:
        raise CatalogueError(f"catalogue {path} was changed (sha256 {got[:12]}, expected {version[:12]}); {advice}")
    try:
        arrays = load(content)
        return Catalogue(_table_of(arrays, "items."), _table_of(arrays, "users."), version)
    except (SafetensorError, KeyError, ValueError) as error:
        raise CatalogueError(f"{path} is no catalogue of this version: {error!r}; {advice}") from error


def copy(record: Path, to: Path) -> CatalogueRecord | None:
    """Copies the newest catalogue, without earlier ones, beside another pointer; None if there is none.

    to: the JSON file there. Raises CatalogueError if the catalogue is missing or damaged.
    """
    named = read_record(record)
    if named is None:
        return None
    read(record, named.version)
    with atomic_file(arrays_file(to, named.version)) as staging:
        shutil.copyfile(arrays_file(record, named.version), staging)
    _write_record(to, replace(named, earlier=()))
    return named


def _write_record(record: Path, content: CatalogueRecord) -> None:
    with atomic_file(record, durable=True) as staging:
        staging.write_text(json.dumps(asdict(content), indent=2))


def _table_of(arrays: Mapping[str, NDArray[Any]], part: str) -> AttributeTable:
    return AttributeTable.from_arrays(
        {k.removeprefix(part): array for k, array in arrays.items() if k.startswith(part)}
    )
