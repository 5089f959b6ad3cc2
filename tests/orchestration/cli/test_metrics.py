"""`tradewind metrics` starts the exporter with the settings as environment variables, in its own place."""

import os
import socket
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestration.cli import app
from orchestration.launcher import exporter
from recommenders.errors import ConfigurationError


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setenv("TRADEWIND_HOME", str(tmp_path))
    monkeypatch.setenv("TRADEWIND_METRICS_PORT", str(free_port))


def test_the_process_becomes_the_exporter_of_this_home(
    tmp_path: Path, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(os, "execv", lambda path, arguments: started.append((path, arguments)))
    done = CliRunner().invoke(app, ["metrics"])
    assert done.exit_code == 0, done.output
    assert f"http://127.0.0.1:{free_port}/metrics" in done.output
    assert started == [(sys.executable, [sys.executable, "-P", "-m", exporter.__name__])]
    assert os.environ["TRADEWIND_OUTBOX_URL"] == f"sqlite:///{tmp_path}/alerts/outbox.db"
    assert exporter.readings().keys() == {"machine", "gpu", "disk", "freshness", "alerts", "dagster"}


def test_a_port_that_is_taken_is_one_line(free_port: int) -> None:
    with socket.create_server(("127.0.0.1", free_port)):
        done = CliRunner().invoke(app, ["metrics"])
    assert isinstance(done.exception, ConfigurationError)
    assert f"port {free_port} (metrics) is taken" in str(done.exception)
