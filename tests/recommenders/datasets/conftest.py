"""A small B2B world, written once."""

from pathlib import Path

import pytest

from recommenders.datasets.b2b import write_world


@pytest.fixture(scope="session")
def small_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 buyers, 1,118 products, 1,250 orders."""
    folder = tmp_path_factory.mktemp("world") / "b2b"
    write_world(folder, scale=0.05, seed=7)
    return folder
