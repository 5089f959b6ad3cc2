"""A home of one data set, with limits that a test sets."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from orchestration.settings import Settings


@pytest.fixture
def limited(tmp_path: Path, make_settings: Callable[..., Settings]) -> Callable[..., Settings]:
    """A function that makes settings with these limits in their file."""

    def make(**limits: int | None) -> Settings:
        path = tmp_path / "retention.yaml"
        path.write_text(yaml.safe_dump(limits))
        return make_settings(tmp_path / "home", dataset="online_retail", retention_file=path)

    return make
