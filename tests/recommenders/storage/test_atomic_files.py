"""Atomic writes: the whole content or the old one, and nothing left that looks like a source file."""

from pathlib import Path

import pytest

from recommenders.storage.atomic_files import atomic_file, atomic_folder, signature, staging_of


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_replaced_when_the_block_ends(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "new" / "log.csv"
    for content in ("first", "second"):
        with atomic_file(path, durable) as staging:
            staging.write_text(content)
        assert path.read_text() == content
    assert [found.name for found in path.parent.iterdir()] == ["log.csv"]


def test_the_signature_changes_with_each_replacement(tmp_path: Path) -> None:
    path, seen = tmp_path / "pointer.json", []
    assert signature(path) is None
    for _ in range(3):  # equal content too
        with atomic_file(path) as staging:
            staging.write_text("same")
        seen.append(signature(path))
        assert signature(path) == seen[-1]
    assert len(set(seen)) == 3


def test_a_block_that_raises_changes_nothing(tmp_path: Path) -> None:
    path, folder = tmp_path / "log.csv", tmp_path / "bundle"
    path.write_text("old")
    folder.mkdir()
    (folder / "old").touch()

    def write_half_a_file() -> None:
        with atomic_file(path) as staging:
            staging.write_text("half")
            raise RuntimeError

    def write_half_a_folder() -> None:
        with atomic_folder(folder) as staging:
            (staging / "half").touch()
            raise RuntimeError

    for write in (write_half_a_file, write_half_a_folder):
        with pytest.raises(RuntimeError):
            write()
    assert path.read_text() == "old"
    assert sorted(found.name for found in tmp_path.rglob("*")) == ["bundle", "log.csv", "old"]


def test_what_a_killed_process_leaves_is_found_and_is_no_source_file(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    with atomic_file(path) as staging:
        staging.write_text("half")
        assert staging_of(path) == [staging]
        assert not list(tmp_path.glob("*.csv"))
    assert staging_of(path) == []
    assert list(tmp_path.glob("*.csv")) == [path]
