"""Bundles that share a context: it is there before the first of them and goes with the last."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from recommenders.errors import BundleError
from recommenders.storage import bundle, contexts
from recommenders.storage.bundle import Bundle

OLD, NEW = {"log": np.arange(3)}, {"log": np.arange(4)}

# Saves the bundle `a` with a new context; ends as if killed before its n-th change of a name in the file system.
SAVE_AND_DIE = """
import os, shutil, sys
from pathlib import Path
import numpy as np
from recommenders.storage import bundle
folder, last = Path(sys.argv[1]), int(sys.argv[2])
done = 0
def counted(act):
    def one(*args, **kwargs):
        global done
        done += 1
        if done > last:
            os._exit(9)
        return act(*args, **kwargs)
    return one
for owner, name in ((Path, "replace"), (Path, "rename"), (Path, "unlink"), (shutil, "rmtree")):
    setattr(owner, name, counted(getattr(owner, name)))
bundle.write_shared(folder, bundle.Bundle("toy", {}, {"w": np.ones(2)}), {}, {"log": np.arange(4)})
"""


def save(folder: Path, context: dict[str, np.ndarray]) -> Path:
    return bundle.write_shared(folder, Bundle("toy", {}, {"w": np.zeros(2)}), {}, context)


def context_of(folder: Path) -> np.ndarray:
    return contexts.read(contexts.find(folder, bundle.read(folder).context))["log"]


def stored(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "contexts").glob("*.safetensors"))


def test_a_bundle_with_its_context_inside_is_complete(tmp_path: Path) -> None:
    folder = bundle.write(tmp_path / "a", Bundle("toy", {}, {"w": np.zeros(2)}), context=OLD)
    moved = folder.rename(tmp_path / "elsewhere")
    np.testing.assert_array_equal(context_of(moved), OLD["log"])
    assert [path.name for path in tmp_path.iterdir()] == ["elsewhere"]


def test_a_bundle_without_a_context_has_none(tmp_path: Path) -> None:
    folder = bundle.write(tmp_path / "a", Bundle("table", {}, {"w": np.zeros(2)}))
    assert bundle.read(folder).context == ""
    assert not (folder / "contexts").exists()


def test_a_bundle_of_the_format_before_is_refused(tmp_path: Path) -> None:
    folder = bundle.write(tmp_path / "a", Bundle("toy", {}, {}))
    manifest = folder / bundle.MANIFEST
    manifest.write_text(manifest.read_text().replace(f'"format": {bundle.FORMAT}', '"format": 3'))
    with pytest.raises(BundleError, match=r"format 3; this version reads 4; train anew"):
        bundle.read(folder)


def test_an_unused_context_goes_when_the_last_bundle_with_it_is_replaced(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(tmp_path / name, OLD)
    (old,) = stored(tmp_path)
    save(tmp_path / "a", NEW)
    assert len(stored(tmp_path)) == 2
    np.testing.assert_array_equal(context_of(tmp_path / "b"), OLD["log"])
    save(tmp_path / "b", NEW)
    assert len(stored(tmp_path)) == 1
    assert old not in stored(tmp_path)


def test_a_bundle_that_an_interrupted_write_left_keeps_its_context(tmp_path: Path) -> None:
    save(tmp_path / "a", OLD).rename(tmp_path / ".a-12ab34cd-old")
    save(tmp_path / "b", NEW)
    np.testing.assert_array_equal(context_of(tmp_path / ".a-12ab34cd-old"), OLD["log"])


def test_a_bundle_of_an_older_format_beside_uses_no_context(tmp_path: Path) -> None:
    (tmp_path / "older").mkdir()
    (tmp_path / "older" / bundle.MANIFEST).write_text('{"format": 3}')
    save(tmp_path / "a", OLD)
    assert len(stored(tmp_path)) == 1


def test_an_unreadable_manifest_removes_no_context(tmp_path: Path) -> None:
    save(tmp_path / "a", OLD)
    (tmp_path / "a" / bundle.MANIFEST).write_text("{")
    np.testing.assert_array_equal(context_of(save(tmp_path / "b", NEW)), NEW["log"])
    assert len(stored(tmp_path)) == 2


def test_after_a_kill_at_any_step_each_bundle_has_its_context(tmp_path: Path) -> None:
    exits = []
    while not exits or exits[-1] == 9:
        home = tmp_path / str(len(exits))
        for name in ("a", "b"):
            save(home / name, OLD)
        command = [sys.executable, "-c", SAVE_AND_DIE, str(home / "a"), str(len(exits))]
        exits.append(subprocess.run(command, check=False).returncode)
        np.testing.assert_array_equal(context_of(home / "b"), OLD["log"])
        for manifest in home.glob("*/manifest.json"):  # `a`, new or old, or what is left of it under another name
            assert len(context_of(manifest.parent)) in {3, 4}
        for name in ("a", "b"):  # a later write completes, and removes what is not in use
            save(home / name, NEW)
        in_use = {bundle.read(manifest.parent).context for manifest in home.glob("*/manifest.json")}
        assert {path.name for path in (home / "contexts").iterdir()} == {
            contexts.LOCK,
            *(f"{digest}.safetensors" for digest in in_use),
        }
    assert exits[-1] == 0
    assert len(exits) > 5
