"""The file locks, between processes."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from recommenders.errors import ConfigurationError
from recommenders.storage.locks import is_in_use, locked, mark_in_use

HOLDER = """
import sys, time
from pathlib import Path
from recommenders.storage.locks import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "below" / "one.lock"  # the folder does not exist yet


def hold(lock: Path, seconds: float) -> "subprocess.Popen[str]":
    """Another process that holds the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(lock), str(seconds)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.fixture
def holder(lock: Path) -> "Iterator[subprocess.Popen[str]]":
    with hold(lock, 60) as process:
        yield process
        process.kill()


def test_a_held_lock_is_an_error_with_the_text_given(lock: Path, holder: "subprocess.Popen[str]") -> None:
    with pytest.raises(ConfigurationError, match=r"^another one runs$"), locked(lock, "another one runs"):
        pytest.fail("the lock is held by another process")


def test_a_killed_process_holds_no_lock(lock: Path, holder: "subprocess.Popen[str]") -> None:
    holder.kill()
    holder.wait()
    with locked(lock, "another one runs"):
        assert lock.exists()


def test_without_a_text_it_waits(lock: Path) -> None:
    with hold(lock, 0.5) as process:
        started = time.monotonic()
        with locked(lock):
            assert time.monotonic() - started > 0.2
        assert process.wait() == 0


def test_an_error_in_the_block_releases_the_lock(lock: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(lock, "busy"):
        raise ZeroDivisionError
    with locked(lock, "busy"):
        pass


MARKER = """
import sys
from pathlib import Path
from recommenders.storage.locks import mark_in_use
class Owner: ...
owner = Owner()
mark_in_use(Path(sys.argv[1]), owner)
print("marked", flush=True)
sys.stdin.read()
"""


def test_a_file_is_in_use_while_an_owner_in_any_process_exists(tmp_path: Path) -> None:
    class Owner: ...

    path, owners = tmp_path / "file", [Owner(), Owner()]
    assert not is_in_use(path)
    path.write_text("")
    assert not is_in_use(path)
    command = [sys.executable, "-c", MARKER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "marked\n"
        for owner in owners:
            mark_in_use(path, owner)
        assert is_in_use(path)
        del owner
        owners.clear()
        assert is_in_use(path)
        process.kill()
        process.wait()
    assert not is_in_use(path)
    path.unlink()
    assert not is_in_use(path)
