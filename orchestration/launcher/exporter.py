"""The process that publishes the figures of the machine and of the platform, as `tradewind metrics` starts it.

It is small because it imports neither Dagster nor the settings of the platform. It gets them as environment variables
(Settings.environment), from `tradewind run` or `tradewind metrics`, so it needs no defaults of its own.
"""

import logging
import os
from pathlib import Path

from prometheus_client import start_http_server

from monitoring.system.disk import HomeDisk
from monitoring.system.exporter import Reading, registry_of
from monitoring.system.freshness import freshness
from monitoring.system.machine import gpus, processors_and_memory
from monitoring.system.open_alerts import OpenAlerts
from orchestration.launcher.dagster_figures import DagsterFigures


def readings() -> dict[str, Reading]:
    """What is read when Prometheus asks. Raises KeyError if the environment has no settings."""
    home, host, dagster_port = (os.environ[f"TRADEWIND_{name}"] for name in ("HOME", "HOST", "DAGSTER_PORT"))
    return {
        "machine": processors_and_memory,
        "gpu": gpus,
        "disk": HomeDisk(Path(home)),
        "freshness": lambda: freshness(Path(home, "lake")),
        "alerts": OpenAlerts(os.environ["TRADEWIND_OUTBOX_URL"]),
        "dagster": DagsterFigures(f"http://{host}:{dagster_port}"),
    }


def main() -> None:
    """Publishes the figures until the process is ended. Raises OSError if the port is taken."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    port, host = int(os.environ["TRADEWIND_METRICS_PORT"]), os.environ["TRADEWIND_HOST"]
    _, thread = start_http_server(port, host, registry_of(readings()))
    thread.join()


if __name__ == "__main__":
    main()
