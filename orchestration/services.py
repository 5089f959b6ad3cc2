"""The long-running processes of the platform and the commands that start them."""

import sys
from pathlib import Path

from orchestration.settings import Settings
from orchestration.supervisor import Service, ensure_free
from serving.settings import PROJECT


def services(settings: Settings) -> list[Service]:
    """Dagster (web pages and daemon), MLflow, Evidently's pages and the service, as the supervisor starts them."""
    urls, host = settings.urls, settings.host
    return [
        _service(
            settings,
            "dagster",
            [
                "dagster",
                "dev",
                "-h",
                host,
                "-p",
                str(settings.dagster_port),
                "-w",
                str(PROJECT / "workspace.yaml"),
            ],
            f"{urls['dagster']}/server_info",
        ),
        _service(
            settings,
            "service",
            [
                "bentoml",
                "serve",
                "serving.service:Tradewind",
                "--host",
                host,
                "--port",
                str(settings.service_port),
            ],
            f"{urls['service']}/livez",
        ),
        _service(
            settings,
            "mlflow",
            [
                *("mlflow", "server", "--backend-store-uri", settings.tracking_uri),
                *("--artifacts-destination", str(settings.artifact_root), "--workers", "1"),
                *("--host", host, "--port", str(settings.mlflow_port)),
            ],
            f"{urls['mlflow']}/health",
        ),
        _service(
            settings,
            "evidently",
            [
                *("evidently", "ui", "--workspace", str(settings.workspace)),
                *("--host", host, "--port", str(settings.evidently_port)),
            ],
            f"{urls['evidently']}/api/version",
        ),
    ]


def ensure_ports(settings: Settings) -> None:
    """Raises ConfigurationError, in one line, for the first port that is taken."""
    for name, port in (
        ("dagster", settings.dagster_port),
        ("service", settings.service_port),
        ("mlflow", settings.mlflow_port),
        ("evidently", settings.evidently_port),
    ):
        ensure_free(settings.host, port, name)


def _service(settings: Settings, name: str, command: list[str], ready_url: str) -> Service:
    program = Path(sys.executable).with_name(command[0])
    return Service(
        name,
        [str(program), *command[1:]],
        settings.environment(),
        settings.logs / f"{name}.log",
        ready_url,
        cwd=settings.home.resolve(),  # whatever a vendor drops into the current folder stays below home
    )
