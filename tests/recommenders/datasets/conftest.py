"""A small B2B world, written once, and files in the layouts of others."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from recommenders.datasets.b2b.files import write_world


@pytest.fixture(scope="session")
def small_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 buyers, 1,118 products, 1,250 orders."""
    folder = tmp_path_factory.mktemp("world") / "b2b"
    write_world(folder, scale=0.05, seed=7)
    return folder


@pytest.fixture(scope="session")
def layouts() -> Any:
    """benchmarks/layouts.py, which is no package: files in the publishers' layouts."""
    path = Path(__file__).parents[3] / "benchmarks" / "layouts.py"
    spec = importlib.util.spec_from_file_location("layouts", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
