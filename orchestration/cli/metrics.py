"""`tradewind metrics`: the figures of the machine and of the platform, for Prometheus."""

import os
import sys

from orchestration.cli.options import echo


def metrics() -> None:
    """Publish the figures of machine and platform for Prometheus, until Ctrl-C; `tradewind run` does so, too."""
    from orchestration.launcher.services import EXPORTER, environment
    from orchestration.launcher.supervisor import ensure_free
    from orchestration.settings import Settings

    settings = Settings.read()
    ensure_free(settings.host, settings.metrics_port, "metrics")
    echo(f"Figures for Prometheus: {settings.urls['metrics']}/metrics")
    os.environ.update(environment("metrics", settings))
    os.execv(sys.executable, [sys.executable, *EXPORTER])  # this process needs twice the memory of that one
