"""Runs the command in the process of the test."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestration.cli import main

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run_here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `tradewind` in this process, which is faster than a new one."""

    def run(*arguments: str, home: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
        for name, value in {"TRADEWIND_HOME": str(home), **environment}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("sys.argv", ["tradewind", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, int(end.value.code or 0), printed.out, printed.err)

    return run
