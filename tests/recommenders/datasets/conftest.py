"""Fixtures with files in the publishers' layouts."""

from types import ModuleType

import pytest
from measuring.synthetic import layouts as layouts_of_publishers


@pytest.fixture(scope="session")
def layouts() -> ModuleType:
    """The module of the benchmarks that writes files in the publishers' layouts."""
    return layouts_of_publishers
