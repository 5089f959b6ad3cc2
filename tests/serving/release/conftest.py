"""A real MLflow store in SQLite, and versions of the toy market in it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serving.release.registry import Registry
from serving.release.versions import Version
from serving.settings import ServingSettings


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """One store for all files; each test has a data set of its own."""
    return Registry(ServingSettings(home=tmp_path_factory.mktemp("registry"), dataset="toy"))


@pytest.fixture
def publish(registry: Registry, market: Any, tmp_path: Path) -> Callable[[str], Version]:
    """A function that publishes one more version of a data set, each with another favourite item."""

    def one(dataset: str) -> Version:
        favourite = len(registry.versions(dataset))
        with registry.run(dataset, "training", {"seed": favourite}, {}) as run:
            return registry.publish(
                dataset, market.bundle(tmp_path / f"b{favourite}", favourite), run.run_id, {"cut": "x"}
            )

    return one
