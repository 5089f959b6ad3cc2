"""docs/configuration.md and docs/models/ hold what the classes of the configuration and the list of models hold."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from recommenders.evaluation.tasks.task import EvaluationConfig
from recommenders.models.all_models import MODELS
from recommenders.training.configuration import DataConfig, ModelsConfig

PROJECT = Path(__file__).resolve().parents[1]
SECTIONS = {name: field.annotation for name, field in ModelsConfig.model_fields.items()}


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", PROJECT / "scripts" / "reference.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_script_writes(tool: ModuleType) -> None:
    assert tool.PAGE.read_text() == tool.page(), "run .venv/bin/python scripts/reference.py"


def test_check_finds_a_missing_or_changed_page(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tool, "PAGE", tmp_path / "configuration.md")
    assert tool.main(["--check"]) == 1
    assert tool.main([]) == tool.main(["--check"]) == 0
    tool.PAGE.write_text(tool.PAGE.read_text() + "\n")
    assert tool.main(["--check"]) == 1
    assert "run scripts/reference.py" in capsys.readouterr().err


@pytest.mark.parametrize(("key", "config"), {**SECTIONS, "data": DataConfig, "evaluation": EvaluationConfig}.items())
def test_every_key_has_a_description_of_one_or_more_sentences(key: str, config: type[DataConfig]) -> None:
    for name, field in config.model_fields.items():
        assert re.fullmatch(r"[A-Z`].*\.", field.description or ""), f"{key}.{name}"


def test_types_defaults_and_limits_are_in_words(tool: ModuleType) -> None:
    page = tool.page()
    assert "| `hidden_layers` | list of integers | `[128, 64, 32]` | 1 entry or more |" in page
    assert "| `validation_split` | number | `0.2` | above 0, below 1 |" in page
    assert "| `reg` | number or null | `null` | above 0 |" in page
    assert "| `by` | string | `all` | `all`, `category` |" in page
    assert "| `model_targets` | map of names to maps of names to numbers |" in page
    assert "| `fit_on_windows` | boolean | `false` | `true`, `false` |" in page


def test_each_model_has_a_page_that_names_its_keys() -> None:
    folder = PROJECT / "docs" / "models"
    assert {path.stem for path in folder.glob("*.md")} == {*MODELS, "README"}
    for model, config in SECTIONS.items():
        assert config is not None
        listed = (folder / f"{model}.md").read_text().partition("## Hyper-parameters")[2].partition("[reference]")[0]
        own = set(config.model_fields) - {"enabled", "seed", "max_memory_mb"}
        assert set(re.findall(r"`(\w+)`", listed)) == own, model
        assert f"({model}.md)" in (folder / "README.md").read_text()
