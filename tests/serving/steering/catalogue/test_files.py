"""The catalogue on disk: content-addressed, complete or the old one, and refused if damaged."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recommenders.storage import atomic_files
from serving.steering.catalogue import files
from serving.steering.catalogue.attributes import NO_TEXTS, AttributeTable, Column, Texts
from serving.steering.catalogue.files import CatalogueError, arrays_file, copy, read, read_record, record_file, write

USERS = AttributeTable(
    Texts.from_sorted(["u"]), {"income": Column("text", np.zeros(1, np.int32), Texts.from_sorted(["x"]))}
)


def items(price: float = 1.0) -> AttributeTable:
    return AttributeTable(
        Texts.from_sorted(["a", "b"]),
        {
            "price": Column("number", np.array([price, np.nan]), NO_TEXTS),
            "stocked": Column("boolean", np.array([1, -1], np.int8), NO_TEXTS),
            "title": Column("text", np.array([-1, 0], np.int32), Texts.from_sorted(["caf\u00e9"])),
        },
    )


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return record_file(tmp_path / "champions" / "toy.json")


def test_what_is_written_is_read_again(record: Path) -> None:
    written = write(record, items(), USERS)
    assert (written.items, written.users, read_record(record)) == (2, 1, written)
    found = read(record, written.version)
    assert found.version == written.version
    assert list(found.items.ids) == ["a", "b"]
    values = {name: [column.value(row) for row in (0, 1)] for name, column in found.items.columns.items()}
    assert values == {"price": [1.0, None], "stocked": [True, None], "title": [None, "caf\u00e9"]}
    assert found.users.columns["income"].value(0) == "x"


def test_the_version_is_the_hash_of_the_content(record: Path) -> None:
    first = write(record, items(), USERS)
    before = record.stat().st_mtime_ns
    assert write(record, items(), USERS) == first
    assert record.stat().st_mtime_ns == before
    second = write(record, items(2.0), USERS)
    assert second.version != first.version
    assert second.earlier == (first.version,)
    assert read(record, first.version).items.columns["price"].value(0) == 1.0  # an earlier answer can be repeated
    assert write(record, items(), USERS).earlier == (second.version,)
    assert atomic_files.sha256(arrays_file(record, first.version)) == first.version


def test_only_the_newest_of_the_earlier_ones_stay_on_disk(record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_EARLIER", 2)
    versions = [write(record, items(float(price)), USERS).version for price in range(5)]
    assert read_record(record).earlier == tuple(versions[2:4])  # type: ignore[union-attr]
    assert {path.stem for path in arrays_file(record, "x").parent.glob("*.safetensors")} == set(versions[2:])


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_after_a_crash_while_writing_the_old_catalogue_is_complete(
    record: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    old = write(record, items(), USERS)

    def crash(*_: object) -> None:
        raise OSError("power cut")

    monkeypatch.setattr(*((atomic_files.os, "fsync") if step == "fsync" else (Path, "replace")), crash)
    with pytest.raises(OSError, match="power cut"):
        write(record, items(2.0), USERS)
    monkeypatch.undo()
    assert read_record(record) == old
    read(record, old.version)
    assert write(record, items(2.0), USERS).earlier == (old.version,)


def test_a_damaged_file_is_refused_and_written_again(record: Path) -> None:
    version = write(record, items(), USERS).version
    path = arrays_file(record, version)
    content = path.read_bytes()
    path.write_bytes(content + b"x")
    with pytest.raises(
        CatalogueError, match=r"was changed \(sha256 .*, expected .*\); materialise served_catalogue again"
    ):
        read(record, version)
    assert write(record, items(), USERS).version == version
    assert path.read_bytes() == content
    path.unlink()
    with pytest.raises(CatalogueError, match=r"cannot be read: No such file.*; materialise served_catalogue again"):
        read(record, version)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"version": 1, "earlier": []}'])
def test_a_damaged_record_is_an_error_of_one_line_and_is_replaced(record: Path, content: str) -> None:
    write(record, items(), USERS)
    record.write_text(content)
    with pytest.raises(CatalogueError, match=r"names no catalogue .*; materialise served_catalogue again") as error:
        read_record(record)
    assert "\n" not in str(error.value)
    write(record, items(), USERS)
    assert read_record(record) is not None


def test_another_format_and_other_arrays_are_refused(record: Path) -> None:
    written = write(record, items(), USERS)
    record.write_text(json.dumps({**json.loads(record.read_text()), "format": 9}))
    with pytest.raises(CatalogueError, match="got format 9; this version reads 1"):
        read_record(record)
    for wrong in ({"items.ids.bytes": np.zeros(1)}, {"items.number.price.values": np.zeros(3)}):
        content = files.save(wrong)
        version = files.hashlib.sha256(content).hexdigest()
        arrays_file(record, version).write_bytes(content)
        with pytest.raises(CatalogueError, match="is no catalogue of this version"):
            read(record, version)
    short = AttributeTable(items().ids, {"price": Column("number", np.zeros(5), NO_TEXTS)})
    with pytest.raises(CatalogueError, match="price: not one value for each of 2 ids"):
        read(record, _store(record, short))
    assert written.format == 1


def _store(record: Path, table: AttributeTable) -> str:
    record.unlink()
    return write(record, table, USERS).version


def test_a_copy_is_complete_and_has_no_earlier_ones(record: Path, tmp_path: Path) -> None:
    write(record, items(), USERS)
    newest = write(record, items(2.0), USERS)
    to = record_file(tmp_path / "bento" / "champion.json")
    assert copy(record, to) == newest
    copied: Any = read_record(to)
    assert (copied.version, copied.earlier) == (newest.version, ())
    assert read(to, newest.version).items.columns["price"].value(0) == 2.0
    assert copy(tmp_path / "none.json", to) is None
    arrays_file(record, newest.version).write_bytes(b"")
    with pytest.raises(CatalogueError, match="was changed"):
        copy(record, to)
