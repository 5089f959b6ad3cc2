"""Fixtures with files in the publishers' layouts."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def layouts() -> Any:
    """benchmarks/layouts.py, which is not a package: it writes files in the publishers' layouts."""
    path = Path(__file__).parents[3] / "benchmarks" / "layouts.py"
    spec = importlib.util.spec_from_file_location("layouts", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
