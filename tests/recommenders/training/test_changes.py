"""--set changes one value of the configuration, and `config show` names the origin of each."""

import json
from pathlib import Path

import pytest
import yaml

from recommenders.errors import ConfigurationError
from recommenders.training.configuration import TrainingConfig
from recommenders.training.origins import to_yaml, with_origins

CONFIGS = Path(__file__).parents[3] / "configs"


def test_a_change_is_as_if_it_was_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "training.yaml"
    path.write_text("models: {ease: {reg: 5.0, n_half_lives: 2.0}}")
    changed = TrainingConfig.load(path, ["models.ease.reg=300", "models.neural_collaborative.hidden_layers=[8, 4]"])
    wanted = {"ease": {"reg": 300, "n_half_lives": 2.0}, "neural_collaborative": {"hidden_layers": [8, 4]}}
    assert changed == TrainingConfig.model_validate({"models": wanted})
    assert TrainingConfig.load(path, ["data.seed=7"]).fit_config("ials").seed == 7
    assert TrainingConfig.load(None, ["models.ease.reg=null", "fit.threads=2"]).fit.threads == 2
    twice = TrainingConfig.load(path, ["models.ease.reg=1", "models.ease.reg=2"])
    assert twice.section("ease").model_dump()["reg"] == 2  # the last one counts


def test_a_key_within_a_mapping_leaves_the_other_keys(tmp_path: Path) -> None:
    """They are those of the file; without them, those of the default."""
    change = ["models.hybrid.model_weights.content_based=0.9"]
    weights = TrainingConfig.load(None, change).section("hybrid").model_dump()["model_weights"]
    assert weights == {"neural_collaborative": 0.4, "content_based": 0.9, "collaborative_filtering": 0.3}
    path = tmp_path / "training.yaml"
    path.write_text("models: {hybrid: {model_weights: {collaborative_filtering: 1.0}}}")
    weights = TrainingConfig.load(path, change).section("hybrid").model_dump()["model_weights"]
    assert weights == {"collaborative_filtering": 1.0, "content_based": 0.9}
    assert TrainingConfig().section("hybrid").model_dump()["model_weights"]["content_based"] == 0.3
    TrainingConfig.load(None, ["evaluation.model_targets.hybrid.ndcg@10=0.1"])
    assert TrainingConfig().evaluation.model_targets["hybrid"]["ndcg@10"] == 0.86  # the defaults stay
    criteria = TrainingConfig.load(None, ["evaluation.criteria.ndcg@10=0.4"]).evaluation.criteria
    assert (criteria["ndcg@10"], len(criteria)) == (0.4, len(TrainingConfig().evaluation.criteria))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("models.ease.regg=3", "unknown key 'models.ease.regg'; choose from .*did you mean reg"),
        ("model.ease.reg=3", "unknown key 'model'; choose from .*did you mean models"),
        ("models.ease.reg=abc", "--set models.ease.reg=abc: models.ease.reg: got 'abc'"),
        ("models.ease.reg=-1", "greater than 0"),
        ("models.ease.reg", "allowed: section.key=value"),
        ("reg=3", "allowed: section.key=value"),
        ("models..reg=3", "allowed: section.key=value"),
        ("models.ease.reg=[1", "is not YAML"),
        ("data.seed.x=1", "data.seed: got"),
    ],
)
def test_a_wrong_change_is_an_error_that_names_it(change: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        TrainingConfig.load(None, [change])


def test_a_change_below_a_value_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "training.yaml"
    path.write_text("data: {seed: 4}")
    with pytest.raises(ConfigurationError, match=r"data\.seed is no section; got 4 there; write data\.seed=VALUE"):
        TrainingConfig.load(path, ["data.seed.x=1"])


@pytest.mark.parametrize("name", ["training.yaml", "training-large.yaml"])
def test_the_shown_configuration_is_a_file_of_the_same_recipe(tmp_path: Path, name: str) -> None:
    changes = ["models.ease.reg=300", "data.seed=7", "fit.threads=1"]
    shown = tmp_path / "shown.yaml"
    shown.write_text(to_yaml(with_origins(CONFIGS / name, changes)))
    first, second = TrainingConfig.load(CONFIGS / name, changes), TrainingConfig.load(shown)
    assert second.recipe() == first.recipe()
    assert (second.data, second.evaluation, second.fit) == (first.data, first.evaluation, first.fit)


def test_each_value_has_its_origin(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("data: {batch_size: 64}\nmodels: {ease: {reg: 5.0}, sasrec: {seed: 3}}")
    changes = ["models.ials.epochs=3", "models.hybrid.model_weights.content_based=1"]
    origins = {".".join(key): origin for key, _, origin in with_origins(path, changes)}
    assert origins["models.ease.reg"] == "mine.yaml"
    assert origins["models.sasrec.seed"] == "mine.yaml"
    assert origins["models.ials.epochs"] == "--set"
    assert origins["models.hybrid.model_weights"] == "--set"
    assert origins["models.neural_collaborative.batch_size"] == "data.batch_size"
    assert origins["models.ials.seed"] == "data.seed"
    assert origins["models.ials.reg"] == "default"


def test_the_schema_for_editors_is_that_of_the_classes() -> None:
    """Written by: tradewind config schema > configs/training.schema.json"""
    assert json.loads((CONFIGS / "training.schema.json").read_text()) == TrainingConfig.model_json_schema()
    for name in ("training.yaml", "training-large.yaml"):
        text = (CONFIGS / name).read_text()
        assert text.startswith("# yaml-language-server: $schema=training.schema.json\n")
        assert yaml.safe_load(text)
