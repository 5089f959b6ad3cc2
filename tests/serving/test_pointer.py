"""The pointer file: whole or not at all."""

import json
import threading
from pathlib import Path

import pytest

from recommenders.errors import BundleError, ReleaseError
from serving import pointer
from serving.pointer import Pointer, fingerprint, read_pointer, verify, write_pointer


def named(version: int = 1) -> Pointer:
    return Pointer("toy", "popularity", version, f"toy/{version}", "0" * 64, "2026-01-01T00:00:00", "run", (3, 4))


def test_what_is_written_is_read(tmp_path):
    write_pointer(tmp_path / "toy.json", named())
    assert read_pointer(tmp_path / "toy.json") == named()
    assert named().promoted == (3, 4, 1)


def test_the_bundle_is_relative_to_the_pointer(tmp_path):
    write_pointer(tmp_path / "a" / "toy.json", named())
    (tmp_path / "a").rename(tmp_path / "b")
    moved = read_pointer(tmp_path / "b" / "toy.json")
    assert moved is not None
    assert moved.bundle_folder(tmp_path / "b" / "toy.json") == tmp_path / "b" / "toy" / "1"


def test_no_file_is_no_champion(tmp_path):
    assert read_pointer(tmp_path / "toy.json") is None


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"version": "x", "earlier": []}', '{"version": 1, "earlier": []}']
)
def test_a_damaged_pointer_is_told_in_one_line(tmp_path, content):
    (tmp_path / "toy.json").write_text(content)
    with pytest.raises(ReleaseError, match=r"is not a champion pointer .*; promote a version") as error:
        read_pointer(tmp_path / "toy.json")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_crash_while_writing_leaves_the_old_pointer(tmp_path, monkeypatch, step):
    path = tmp_path / "toy.json"
    write_pointer(path, named(1))

    def crash(*_: object) -> None:
        raise OSError("power cut")

    monkeypatch.setattr(*((pointer.os, "fsync") if step == "fsync" else (Path, "replace")), crash)
    with pytest.raises(OSError, match="power cut"):
        write_pointer(path, named(2))
    monkeypatch.undo()
    assert read_pointer(path) == named(1)
    assert [p.name for p in tmp_path.iterdir()] == ["toy.json"]


def test_a_reader_never_sees_a_part(tmp_path):
    path = tmp_path / "toy.json"
    write_pointer(path, named(0))
    writer = threading.Thread(target=lambda: [write_pointer(path, named(n)) for n in range(100)])
    writer.start()
    while writer.is_alive():
        assert read_pointer(path) is not None
    writer.join()


class TestVerify:
    def test_a_whole_bundle_passes(self, tmp_path, market):
        folder = market.bundle(tmp_path / "b")
        assert verify(folder, fingerprint(folder))["model"] == "popularity"

    def test_a_changed_array_is_found(self, tmp_path, market):
        folder = market.bundle(tmp_path / "b")
        digest = fingerprint(folder)
        with (folder / "arrays.safetensors").open("ab") as file:
            file.write(b"x")
        with pytest.raises(BundleError, match=r"arrays\.safetensors was changed"):
            verify(folder, digest)

    def test_a_manifest_changed_to_fit_is_found(self, tmp_path, market):
        folder = market.bundle(tmp_path / "b")
        digest = fingerprint(folder)
        manifest = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps({**manifest, "provenance": {"forged": True}}))
        with pytest.raises(BundleError, match=r"manifest\.json was changed"):
            verify(folder, digest)
