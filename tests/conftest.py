"""Fixtures that several rooms share."""

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import orchestration  # noqa: F401  (switches the vendors' telemetry off before any of them is imported)

# A law that holds is no less true on a busy machine.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

REQUIRE_ALL = os.environ.get("TRADEWIND_REQUIRE_ALL") == "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fast tests first, so that a mistake shows within seconds."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


@pytest.fixture(autouse=True, scope="session")
def _own_home(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test touches the user's own state: every home, default included, lies below a temporary folder."""
    home = tmp_path_factory.mktemp("home")
    os.environ["TRADEWIND_HOME"] = str(home)
    os.environ["BENTOML_HOME"] = str(home / "bentoml")
    for name in ("TRADEWIND_DATASET", "TRADEWIND_SOURCE", "TRADEWIND_CONFIG", "TRADEWIND_DATASETS", "DAGSTER_HOME"):
        os.environ.pop(name, None)


def missing(what: str) -> None:
    """Skips with a clear word; where everything is required (CI), fails instead."""
    if REQUIRE_ALL:
        pytest.fail(f"{what} (TRADEWIND_REQUIRE_ALL=1)")
    pytest.skip(what)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets."""
    folder = os.environ.get("TRADEWIND_REAL_DATA", "")
    if not folder or not Path(folder).is_dir():
        # Real data may not be committed, so that even CI has it only where the folder is at hand.
        pytest.skip(
            "real data is not at hand: set TRADEWIND_REAL_DATA to a folder with online_retail/ and ml-latest-small/"
        )
    return Path(folder)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium on this machine."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if not path:
        missing("chromium is not installed (Debian: apt-get install chromium)")
    assert path
    return path
