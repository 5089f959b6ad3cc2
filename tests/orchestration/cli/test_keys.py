"""`tradewind keys`, and a smoke test against a service that needs a key."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from orchestration.cli import app
from recommenders.errors import ConfigurationError
from serving.traffic.api_keys import ApiKeys


def keys(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["keys", *arguments], catch_exceptions=False)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRADEWIND_API_KEYS_FILE", str(tmp_path / "keys.yaml"))
    return tmp_path / "keys.yaml"


def test_a_key_is_printed_once_and_works_until_it_is_removed(path):
    added = keys("add", "shop", "--per-second", "20")
    key = added.stdout.strip()
    assert ApiKeys(path).find(key).name == "shop"
    assert key not in added.stderr
    keys("add", "boss", "--admin")
    assert keys("list").stdout.splitlines() == ["shop  20 per second, 20 at once", "boss  no limit  admin"]
    rows = json.loads(keys("list", "--json").stdout)
    assert rows[0] == {"name": "shop", "per_second": 20.0, "burst": None, "scopes": []}
    keys("remove", "shop")
    assert ApiKeys(path).find(key) is None
    assert keys("list").stdout.splitlines() == ["boss  no limit  admin"]


def test_without_the_setting_the_error_names_it(monkeypatch):
    monkeypatch.delenv("TRADEWIND_API_KEYS_FILE", raising=False)
    with pytest.raises(ConfigurationError, match=r"TRADEWIND_API_KEYS_FILE: got nothing; allowed: the path"):
        keys("add", "shop")
