"""The services of the platform and the commands that start them."""

import sys
from pathlib import Path

from orchestration.launcher.supervisor import Service, ensure_free
from orchestration.settings import Settings
from serving.settings import PROJECT

SERVICE = "serving.service:Tradewind"
EXPORTER = ("-P", "-m", "orchestration.launcher.exporter")  # arguments of Python
READY = {
    "dagster": "/server_info",
    "service": "/livez",
    "mlflow": "/health",
    "evidently": "/api/version",
    "metrics": "/favicon.ico",  # the one path for which nothing is read
}


def services(settings: Settings) -> list[Service]:
    """Dagster (web pages and daemon), the service, MLflow, Evidently's pages and the figures for Prometheus."""
    urls, host = settings.urls, settings.host
    workspace = str(PROJECT / "workspace.yaml")
    store = ("--backend-store-uri", settings.tracking_uri, "--artifacts-destination", str(settings.artifact_root))
    commands = {
        "dagster": ("dagster", "dev", "-w", workspace, "-h", host, "-p", str(settings.dagster_port)),
        "service": ("bentoml", "serve", SERVICE, "--host", host, "--port", str(settings.service_port)),
        "mlflow": ("mlflow", "server", *store, "--workers", "1", "--host", host, "--port", str(settings.mlflow_port)),
        "evidently": (
            *("evidently", "ui", "--workspace", str(settings.workspace)),
            *("--host", host, "--port", str(settings.evidently_port)),
        ),
        "metrics": (Path(sys.executable).name, *EXPORTER),
    }
    return [
        Service(
            name,
            [str(Path(sys.executable).with_name(program)), *arguments],
            environment(name, settings),
            settings.logs / f"{name}.log",
            urls[name] + READY[name],
            cwd=settings.home,  # files that a library writes to the current folder stay below home
        )
        for name, (program, *arguments) in commands.items()
        if urls[name].startswith(f"http://{host}:")  # an MLflow that runs elsewhere is not started here
    ]


def environment(name: str, settings: Settings) -> dict[str, str]:
    """The environment variables of a service. The exporter knows no default, so it also gets the outbox."""
    return settings.environment() | ({"TRADEWIND_OUTBOX_URL": settings.outbox} if name == "metrics" else {})


def ensure_ports(settings: Settings) -> None:
    """Raises ConfigurationError, in one line, for the first port that is taken."""
    for name in READY:
        ensure_free(settings.host, getattr(settings, f"{name}_port"), name)
