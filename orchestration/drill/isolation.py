"""What keeps a drill apart from another platform: its own settings, ports and environment."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orchestration.settings import Settings

OF_A_PLATFORM = ("TRADEWIND_", "DAGSTER_HOME", "MLFLOW_TRACKING", "MLFLOW_REGISTRY")  # begin of variables' names


def drill_settings(home: Path, shop: Path, config: Path) -> Settings:
    """The settings of the platform of a drill: its own home, free ports, no channel for alerts."""
    (home / "alerts.yaml").write_text("channels: []\n")
    names = ("service_port", "dagster_port", "mlflow_port", "evidently_port", "metrics_port")
    ports: dict[str, Any] = dict(zip(names, free_ports(len(names)), strict=True))
    return Settings.read(
        home=home,
        dataset="custom_b2b",
        source=shop,
        config=config,
        alerts_file=home / "alerts.yaml",
        feedback_weights={"purchase": 1.0},
        purchase_days=1.0,
        **ports,
    )


@contextmanager
def own_environment() -> Iterator[None]:
    """Without the variables of another platform, so that a drill reads and writes nothing of it."""
    others = {name: value for name, value in os.environ.items() if name.startswith(OF_A_PLATFORM)}
    for name in others:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(others)


@contextmanager
def environment(values: dict[str, str]) -> Iterator[None]:
    """With these variables."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def free_ports(n: int) -> list[int]:
    """Ports of this machine that no process listens on."""
    sockets = [socket.socket() for _ in range(n)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
