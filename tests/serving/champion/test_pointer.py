"""The pointer file: a reader gets the whole file or none."""

import json
import threading
from pathlib import Path

import pytest

from recommenders.errors import BundleError, ReleaseError
from recommenders.models import all_models
from recommenders.models.popularity import Popularity
from recommenders.storage import atomic_files
from serving.champion.pointer import Pointer, earlier_versions, fingerprint, read_pointer, verify, write_pointer


def make_pointer(version: int = 1) -> Pointer:
    return Pointer("toy", "popularity", version, f"toy/{version}", "0" * 64, "2026-01-01T00:00:00", "run", (3, 4))


def test_write_then_read_returns_the_same_pointer(tmp_path):
    write_pointer(tmp_path / "toy.json", make_pointer())
    assert read_pointer(tmp_path / "toy.json") == make_pointer()


@pytest.mark.parametrize(
    ("numbers", "version", "earlier"),
    [((), 1, ()), ((1, 2), 3, (1, 2)), ((1, 2), 2, (1,)), ((2, 2), 2, ()), ((1, 2, 1, 3), 4, (2, 1, 3))],
)
def test_earlier_versions_are_each_once_and_without_the_version(numbers, version, earlier):
    assert earlier_versions(numbers, version) == earlier


def test_only_the_newest_earlier_versions_are_kept():
    assert earlier_versions(range(30), 0) == tuple(range(10, 30))


def test_the_bundle_path_is_relative_to_the_pointer_file(tmp_path):
    write_pointer(tmp_path / "a" / "toy.json", make_pointer())
    (tmp_path / "a").rename(tmp_path / "b")
    moved = read_pointer(tmp_path / "b" / "toy.json")
    assert moved is not None
    assert moved.bundle_folder(tmp_path / "b" / "toy.json") == tmp_path / "b" / "toy" / "1"


def test_without_a_file_there_is_no_pointer(tmp_path):
    assert read_pointer(tmp_path / "toy.json") is None


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"version": "x", "earlier": []}', '{"version": 1, "earlier": []}']
)
def test_a_damaged_pointer_is_an_error_of_one_line(tmp_path, content):
    (tmp_path / "toy.json").write_text(content)
    with pytest.raises(ReleaseError, match=r"is not a champion pointer .*; promote a version") as error:
        read_pointer(tmp_path / "toy.json")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_crash_while_writing_leaves_the_old_pointer(tmp_path, monkeypatch, step):
    path = tmp_path / "toy.json"
    write_pointer(path, make_pointer(1))

    def crash(*_: object) -> None:
        raise OSError("power cut")

    monkeypatch.setattr(*((atomic_files.os, "fsync") if step == "fsync" else (Path, "replace")), crash)
    with pytest.raises(OSError, match="power cut"):
        write_pointer(path, make_pointer(2))
    monkeypatch.undo()
    assert read_pointer(path) == make_pointer(1)
    assert [p.name for p in tmp_path.iterdir()] == ["toy.json"]


def test_a_reader_never_gets_a_partial_file(tmp_path):
    path = tmp_path / "toy.json"
    write_pointer(path, make_pointer(0))
    writer = threading.Thread(target=lambda: [write_pointer(path, make_pointer(n)) for n in range(100)])
    writer.start()
    while writer.is_alive():
        assert read_pointer(path) is not None
    writer.join()


class TestVerify:
    def test_a_complete_bundle_passes(self, tmp_path, market):
        folder = market.bundle(tmp_path / "b")
        assert verify(folder, fingerprint(folder))["model"] == "popularity"

    def test_a_changed_array_is_an_error(self, tmp_path, market):
        folder = market.bundle(tmp_path / "b")
        digest = fingerprint(folder)
        with (folder / "arrays.safetensors").open("ab") as file:
            file.write(b"x")
        with pytest.raises(BundleError, match=r"arrays\.safetensors was changed"):
            verify(folder, digest)

    def test_a_changed_context_is_an_error(self, tmp_path, market):
        folder = market.bundle(tmp_path / "b")
        (path,) = (folder / "contexts").iterdir()
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(BundleError, match=r"context .* was changed"):
            verify(folder, fingerprint(folder))

    def test_a_bundle_that_shares_its_context_is_not_complete(self, tmp_path, market):
        folder = Popularity().fit(market.log()).save(tmp_path / "b", shared_context=True)
        assert all_models.load(folder).context_.users.ids.tolist() == ["1", "2", "3", "4", "5", "6"]
        with pytest.raises(BundleError, match=r"lacks its context .* in .*/b/contexts; copy it there"):
            verify(folder, fingerprint(folder))

    def test_a_changed_manifest_is_an_error(self, tmp_path, market):
        folder = market.bundle(tmp_path / "b")
        digest = fingerprint(folder)
        manifest = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps({**manifest, "provenance": {"forged": True}}))
        with pytest.raises(BundleError, match=r"manifest\.json was changed"):
            verify(folder, digest)
