"""The rules of the code that a program can check."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
# a fresh clone needs no cache of mypy, whose writing takes a tenth of its time; that of `make lint` is used
CACHE = [] if (PROJECT / ".mypy_cache").exists() else ["--cache-dir", os.devnull]


@pytest.mark.slow  # mypy without its cache
@pytest.mark.parametrize(
    "command",
    [["lint-imports"], ["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy", *CACHE]],
    ids=["import contracts", "ruff", "format", "mypy"],
)
def test_the_linters_find_nothing(command: list[str]) -> None:
    done = subprocess.run([BIN / command[0], *command[1:]], cwd=PROJECT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]


def test_no_module_loads_pickles() -> None:
    for package in ("recommenders", "serving", "monitoring", "orchestration"):
        modules = list((PROJECT / package).rglob("*.py"))
        assert modules
        for path in modules:
            text = path.read_text()
            assert "import pickle" not in text, path
            assert "torch.load" not in text, path
            assert "allow_pickle=True" not in text, path
