"""A home of one data set, with limits that a test sets."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from orchestration.settings import Settings


@pytest.fixture(scope="session")
def mlflow_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One store for all tests, because it takes a second to make one."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


@pytest.fixture
def limited(tmp_path: Path, mlflow_uri: str, make_settings: Callable[..., Settings]) -> Callable[..., Settings]:
    """A function that makes settings with these limits in their file."""

    def make(**limits: int | None) -> Settings:
        path = tmp_path / "retention.yaml"
        path.write_text(yaml.safe_dump(limits))
        given = {"dataset": "online_retail", "retention_file": path, "mlflow_uri": mlflow_uri}
        return make_settings(tmp_path / "home", **given)

    return make
