"""`make setup` on a machine where something is missing: a one-line error with the fix, and no partial files."""

import re
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


def program(path: Path, lines: str) -> None:
    """Writes a shell script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def fake_python(machine: Path, name: str, fits: bool, venv: bool) -> None:
    """A program that answers the two checks of the script."""
    answers = f'case "$2" in *version_info*) exit {int(not fits)};; *ensurepip*) exit {int(not venv)};; esac'
    program(machine / "bin" / name, answers)


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


@pytest.fixture
def installable(machine: Path) -> Path:
    """A machine whose .venv has a Python that writes down each call of pip to the file `calls`."""
    program(machine / ".venv" / "bin" / "python", 'shift 2; echo "pip $*" >>calls')
    return machine


def calls(machine: Path, want: str = "run", **environment: str) -> list[str]:
    """The calls of pip and uv in a successful installation, without their options for the output."""
    environment = {"PATH": str(machine / "bin"), **environment}
    subprocess.run(["sh", "scripts/install.sh", want], cwd=machine, env=environment, capture_output=True, check=True)
    assert (machine / ".venv" / f".installed-{want}").exists()
    found = (machine / "calls").read_text().splitlines()
    return [re.sub(r" --(disable-pip-version-check|quiet)", "", line) for line in found]


CPU = "https://download.pytorch.org/whl/cpu"


def test_pip_installs_where_uv_is_missing(installable: Path) -> None:
    assert calls(installable, "dev") == ["pip install -c constraints.txt -e .[dev]"]
    assert (installable / ".venv" / ".installed-run").exists()  # the packages for running are among them


def test_uv_installs_the_same_where_it_is_on_the_path(installable: Path) -> None:
    program(installable / "bin" / "uv", 'echo "uv $*" >>calls')
    into = "uv pip install --python .venv/bin/python"
    assert calls(installable, TORCH_INDEX=CPU) == [
        f"{into} torch==2.13.0 --index-url {CPU}",
        f"{into} -c constraints.txt -e .",
    ]


def test_pip_installs_where_uv_fails(installable: Path) -> None:
    program(installable / "bin" / "uv", 'echo "uv $*" >>calls; exit 1')
    uv, *pip = calls(installable, TORCH_INDEX=CPU)
    assert uv.startswith("uv pip install")
    assert pip == [f"pip install torch==2.13.0 --index-url {CPU}", "pip install -c constraints.txt -e ."]


def test_a_failed_installation_is_one_line_with_the_reason_and_leaves_no_stamp(installable: Path) -> None:
    program(installable / ".venv" / "bin" / "python", 'echo "ERROR: no such version" >&2; exit 1')
    done = subprocess.run(
        ["sh", "scripts/install.sh", "run"],
        cwd=installable,
        env={"PATH": str(installable / "bin")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "ERROR: no such version" in line
    assert not (installable / ".venv" / ".installed-run").exists()
