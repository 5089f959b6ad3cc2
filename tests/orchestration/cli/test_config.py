"""`tradewind config`, and --set of the commands that train."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from orchestration.cli import app
from orchestration.cli.config import shown
from orchestration.launcher import platform_state
from orchestration.settings import Settings


def test_show_prints_a_configuration_file_and_the_settings_of_the_platform(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRADEWIND_HOME", str(tmp_path))
    monkeypatch.setenv("TRADEWIND_FEEDBACK_URL", "postgresql://shop:secret@db/feedback")
    result = CliRunner().invoke(app, ["config", "show", "--set", "models.ease.reg=300"])
    assert result.exit_code == 0, result.output
    assert yaml.safe_load(result.stdout)["models"]["ease"]["reg"] == 300
    assert "    reg: 300.0  # --set" in result.stdout
    assert "# TRADEWIND_FEEDBACK_URL=postgresql://***@db/feedback  (environment)" in result.stdout
    assert "# TRADEWIND_SERVICE_PORT=5001  (default)" in result.stdout
    assert "secret" not in result.stdout


def test_keys_and_passwords_are_hidden() -> None:
    assert shown("api_key", "abc") == "***"
    assert shown("cache_url", "redis://:abc@host:6379/0") == "redis://***@host:6379/0"
    assert shown("feedback_url", "postgresql://db/x?user=a&password=secret") == "postgresql://db/x?***"
    assert shown("mlflow_uri", "https://secret@host") == "https://***@host"
    assert shown("home", Path("/srv")) == "/srv"
    assert shown("source", None) == ""


def test_schema_prints_json() -> None:
    printed = json.loads(CliRunner().invoke(app, ["config", "schema"]).stdout)
    limit = printed["$defs"]["FitConfig"]["properties"]["max_memory_mb"]
    assert "A model that is estimated to need more" in limit["description"]


def test_train_and_evaluate_with_the_same_change_have_one_recipe(
    tmp_path: Path, make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fitted model has the changed setting; without the change the models count as not trained."""
    off = {name: {"enabled": False} for name in ("ease", "ials", "sasrec", "neural_collaborative", "hybrid")}
    settings = make_settings(tmp_path / "home", dataset="custom_b2b")
    config = yaml.safe_load(settings.config.read_text())
    for name, section in {**off, "hybrid_learned": {"enabled": False}, "content_based": {"enabled": False}}.items():
        config["models"][name] |= section
    settings.config.write_text(yaml.safe_dump(config))
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    change = ["--set", "models.popularity.half_life_days=9"]
    result = CliRunner().invoke(app, ["train", *change])
    assert result.exit_code == 0, result.output
    fitted = json.loads((settings.lake / "custom_b2b" / "popularity" / "manifest.json").read_text())
    assert fitted["config"]["half_life_days"] == 9
    assert platform_state.is_trained(Settings.read(changes=(change[1],)))
    assert not platform_state.is_trained(Settings.read())
