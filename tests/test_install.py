"""`make setup` on a machine where something is missing: a one-line error with the fix, and no partial files."""

import shutil
import stat
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
TOOLS = ("sh", "dirname", "cat", "cut", "sha256sum", "grep", "tail")


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A checkout on a machine with a shell and without Python; its folder `bin` is the whole PATH."""
    (tmp_path / "scripts").mkdir()
    for name in ("scripts/install.sh", "pyproject.toml", "constraints.txt"):
        shutil.copy(PROJECT / name, tmp_path / name)
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found, tool
        (tmp_path / "bin" / tool).symlink_to(found)
    return tmp_path


def install(machine: Path) -> str:
    """The line of the script on standard error; it must exit with 2."""
    done = subprocess.run(
        ["sh", "scripts/install.sh", "run"],
        cwd=machine,
        env={"PATH": str(machine / "bin")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done
    (line,) = done.stderr.splitlines()
    assert not (machine / ".venv").exists()
    return line


def fake_python(machine: Path, name: str, fits: bool, venv: bool) -> None:
    """A program that answers the two checks of the script."""
    path = machine / "bin" / name
    path.write_text(
        f'#!/bin/sh\ncase "$2" in *version_info*) exit {int(not fits)};; *ensurepip*) exit {int(not venv)};; esac\n'
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_a_missing_python_is_a_one_line_error(machine: Path) -> None:
    assert "no Python 3.11, 3.12 or 3.13 found" in install(machine)


def test_an_old_python_is_not_used(machine: Path) -> None:
    fake_python(machine, "python3", fits=False, venv=True)
    assert "no Python 3.11, 3.12 or 3.13 found" in install(machine)


def test_a_python_without_venv_is_an_error_with_the_package_to_install(machine: Path) -> None:
    fake_python(machine, "python3", fits=True, venv=False)
    line = install(machine)
    assert "python3 has no venv" in line
    assert "python3-venv" in line


def test_installed_packages_are_not_installed_again(machine: Path) -> None:
    digest = subprocess.run(
        "cat pyproject.toml constraints.txt | sha256sum | cut -d' ' -f1",
        shell=True,
        cwd=machine,
        capture_output=True,
        text=True,
    ).stdout
    (machine / ".venv").mkdir()
    (machine / ".venv" / ".installed-run").write_text(digest)
    done = subprocess.run(
        ["sh", "scripts/install.sh", "run"], cwd=machine, env={"PATH": str(machine / "bin")}, capture_output=True
    )
    assert done.returncode == 0
    assert not done.stdout
