"""Files that are named by the hash of their content, inside a bundle or beside several."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from recommenders.errors import BundleError
from recommenders.storage import contexts
from recommenders.storage.atomic_files import sha256

ARRAYS = {"n": np.arange(5), "on": np.array([True, False])}


def files_in(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def test_equal_arrays_are_stored_once_under_their_hash(tmp_path: Path) -> None:
    digest = contexts.write(tmp_path, ARRAYS)
    (path,) = files_in(tmp_path)
    before = path.stat().st_ino
    assert contexts.write(tmp_path, {name: ARRAYS[name].copy() for name in ("on", "n")}) == digest
    assert (path.name, path.stat().st_ino) == (f"{digest}.safetensors", before)
    assert contexts.write(tmp_path, {**ARRAYS, "n": np.arange(6)}) != digest
    assert len(files_in(tmp_path)) == 2
    np.testing.assert_array_equal(contexts.read(path)["n"], ARRAYS["n"])


def test_a_damaged_file_is_replaced_when_it_is_written_again(tmp_path: Path) -> None:
    digest = contexts.write(tmp_path, ARRAYS)
    (path,) = files_in(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    assert contexts.write(tmp_path, ARRAYS) == digest == sha256(path)


def test_many_writers_of_one_context_leave_one_intact_file(tmp_path: Path) -> None:
    arrays = {"n": np.arange(100_000)}
    with ThreadPoolExecutor(8) as writers:
        digests = list(writers.map(lambda _: contexts.write(tmp_path, arrays), range(16)))
    (path,) = files_in(tmp_path)
    assert set(digests) == {sha256(path)}


def test_a_context_is_found_inside_a_bundle_and_beside_it(tmp_path: Path) -> None:
    digest = contexts.write(tmp_path / "contexts", ARRAYS)
    beside = tmp_path / "contexts" / f"{digest}.safetensors"
    assert contexts.find(tmp_path / "a", digest) == beside
    with pytest.raises(BundleError, match=rf"lacks its context {digest[:12]}: .* in \S*a/contexts; copy it there"):
        contexts.find(tmp_path / "a", digest, beside=False)
    contexts.write(tmp_path / "a" / "contexts", ARRAYS)
    inside = tmp_path / "a" / "contexts" / beside.name
    assert contexts.find(tmp_path / "a", digest) == contexts.find(tmp_path / "a", digest, beside=False) == inside


def test_a_missing_or_changed_context_is_an_error_of_one_line(tmp_path: Path) -> None:
    digest = contexts.write(tmp_path / "contexts", ARRAYS)
    path = tmp_path / "contexts" / f"{digest}.safetensors"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(BundleError, match=rf"was changed \(sha256 \w+, expected {digest[:12]}\); copy it again or "):
        contexts.find(tmp_path / "a", digest)
    path.unlink()
    with pytest.raises(BundleError, match=r"lacks its context .* in .*a/contexts or .*/contexts; .* train anew") as got:
        contexts.find(tmp_path / "a", digest)
    assert "\n" not in str(got.value)


def test_a_file_that_holds_no_arrays_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty.safetensors").touch()
    with pytest.raises(BundleError, match=r"empty\.safetensors cannot be read: .*; copy it again or train anew"):
        contexts.read(tmp_path / "empty.safetensors")


def test_only_contexts_in_use_and_the_lock_stay(tmp_path: Path) -> None:
    used, unused = contexts.write(tmp_path, ARRAYS), contexts.write(tmp_path, {"n": np.arange(2)})
    (tmp_path / contexts.LOCK).touch()
    (tmp_path / "tmp-of-a-killed-process").mkdir()
    (tmp_path / f".{unused}.safetensors-12ab").touch()
    contexts.remove_unused(tmp_path, {used, ""})
    assert [path.name for path in files_in(tmp_path)] == [contexts.LOCK, f"{used}.safetensors"]
