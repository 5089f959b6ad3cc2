from pathlib import Path
from typing import Any

import pytest

from recommenders.errors import ConfigurationError, UnknownNameError
from recommenders.evaluation.criteria import MEASURED
from recommenders.training import configuration
from recommenders.training.configuration import RENAMED_KEYS, TrainingConfig

CONFIGS = Path(__file__).parents[3] / "configs"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "training.yaml"
    path.write_text(text)
    return path


def test_the_basic_file_holds_the_defaults() -> None:
    config = TrainingConfig.load(CONFIGS / "training.yaml")
    assert config.recipe() == TrainingConfig().recipe()
    network = config.models.neural_collaborative
    assert (network.embedding_dim, network.hidden_layers) == (50, (128, 64, 32))
    assert (network.learning_rate, network.epochs) == (0.001, 100)
    assert config.models.content_based.similarity_threshold == 0.7
    assert config.models.hybrid.model_weights == {
        "neural_collaborative": 0.4,
        "content_based": 0.3,
        "collaborative_filtering": 0.3,
    }


def test_the_quick_configuration_has_only_models_that_are_fitted_in_seconds() -> None:
    config = TrainingConfig()
    quick = config.quick()
    assert quick is not None
    assert quick.enabled() == ["popularity", "repurchase", "ease"]
    assert quick.fit_config("ease") == config.fit_config("ease")
    assert config.is_provisional(quick.recipe())
    assert not config.is_provisional(config.recipe())
    assert quick.quick() is None  # there is nothing more to fit
    off = {name: {"enabled": False} for name in ("repurchase", "ease")}
    assert TrainingConfig.model_validate({"models": off}).quick() is None  # popularity alone needs no head start


def test_the_large_file_has_the_large_column() -> None:
    config = TrainingConfig.load(CONFIGS / "training-large.yaml")
    network = config.models.neural_collaborative
    assert (config.data.batch_size, config.data.validation_split) == (2048, 0.1)
    assert (network.embedding_dim, network.hidden_layers, network.epochs) == (100, (256, 128, 64), 200)
    assert config.fit_config("neural_collaborative").model_dump()["batch_size"] == 2048


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("evaluation: {criteria: {ncdg@10: 0.4}}", ["evaluation.criteria", "'ncdg@10'", "did you mean ndcg@10?"]),
        ("evaluation: {criteria: {ndcg@10: .nan}}", ["evaluation.criteria", "ndcg@10: got nan", "a finite number"]),
        ("evaluation: {model_targets: {hybird: {}}}", ["evaluation.model_targets", "'hybird'", "did you mean hybrid?"]),
        ("models: {ncff: {}}", ["models.ncff", "neural_collaborative"]),
        ("models: {content_based: {similarity_threshold: 2}}", ["content_based.similarity_threshold", "2"]),
        ("models: {hybrid: {model_weights: {ncff: 1}}}", ["model_weights", "ncff", "choose from"]),
        ("models: {hybrid: {model_weights: {content_based: -1}}}", ["0 or more"]),
        (
            "models: {hybrid_learned: {base_models: [popularity, eas]}}",
            ["hybrid_learned.base_models", "unknown base model eas", "did you mean ease?"],
        ),
        ("models: {hybrid_learned: {base_models: [ease, repurchase]}}", ["hybrid_learned.base_models", "popularity"]),
        ("models: {hybrid_learned: {base_models: [popularity, popularity]}}", ["popularity is there more than once"]),
        ("models: {hybrid_learned: {n_estimatorz: 3}}", ["unknown key", "did you mean n_estimators?"]),
        ("data: [1]", ["data"]),
        ("- 1", ["got a list", "models"]),
        ("data: {", ["not YAML"]),
    ],
)
def test_an_error_is_one_line_and_names_its_file(tmp_path: Path, text: str, words: list[str]) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigurationError) as caught:
        TrainingConfig.load(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(("old", "new"), RENAMED_KEYS.items())
def test_the_error_of_a_renamed_key_names_the_new_key(tmp_path: Path, old: str, new: str) -> None:
    *sections, key = old.split(".")
    text = "".join(f"{'  ' * depth}{section}:\n" for depth, section in enumerate(sections))
    path = written(tmp_path, f"{text}{'  ' * len(sections)}{key}: 1\n")
    with pytest.raises(ConfigurationError) as caught:
        TrainingConfig.load(path)
    assert str(caught.value) == f"{path}: unknown key '{old}'; it is called {new} now"
    section: Any = TrainingConfig
    for name in new.split("."):
        section = section.model_fields[name].annotation


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.yaml cannot be read"):
        TrainingConfig.load(tmp_path / "none.yaml")


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    assert TrainingConfig.load(written(tmp_path, "")) == TrainingConfig.load() == TrainingConfig()


def test_the_recipe_depends_on_the_models_and_not_on_the_data(tmp_path: Path) -> None:
    base = TrainingConfig().recipe()
    same = TrainingConfig.load(written(tmp_path, "data: {dataset: online_retail, scale: 0.1}"))
    other = TrainingConfig.load(written(tmp_path, "models: {neural_collaborative: {embedding_dim: 8}}"))
    batch = TrainingConfig.load(written(tmp_path, "data: {batch_size: 64}"))
    assert same.recipe() == base
    assert len({base, other.recipe(), batch.recipe()}) == 3


def test_run_time_settings_are_not_part_of_the_recipe_and_all_others_are() -> None:
    fit = {"threads": 2, "max_minutes": 9.0, "max_memory_mb": 1.0}
    assert TrainingConfig.model_validate({"fit": fit}).recipe() == TrainingConfig().recipe() == recipe_with()
    others = {recipe_with("ials", **{name: value}) for name, value in (("reg", 0.1), ("epochs", 3))}
    assert len({*others, recipe_with("ials", seed=1), recipe_with()}) == 4


def test_other_code_is_another_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    before = TrainingConfig().recipe()
    monkeypatch.setattr(configuration, "code_fingerprint", lambda: "of other code")
    assert TrainingConfig().recipe() != before


def recipe_with(name: str = "popularity", **settings: float) -> str:
    return TrainingConfig.model_validate({"models": {name: settings}}).recipe()


def test_the_error_of_an_unknown_model_lists_the_known_models() -> None:
    with pytest.raises(UnknownNameError, match="unknown model 'ncff'; choose from"):
        TrainingConfig().fit_config("ncff")


def test_a_disabled_model_is_not_enabled(tmp_path: Path) -> None:
    text = "models: {content_based: {enabled: false}, hybrid: {model_weights: {collaborative_filtering: 1}}}"
    assert "content_based" not in TrainingConfig.load(written(tmp_path, text)).enabled()
    with pytest.raises(ConfigurationError, match="content_based, which is not enabled"):
        TrainingConfig.load(written(tmp_path, "models: {content_based: {enabled: false}}"))


@pytest.mark.parametrize("name", ["training.yaml", "training-large.yaml"])
def test_a_recipe_stays_the_same_when_it_is_written_and_read(name: str) -> None:
    config = TrainingConfig.load(CONFIGS / name)
    assert TrainingConfig.model_validate_json(config.resolved().model_dump_json()).recipe() == config.recipe()


def test_a_resolved_recipe_names_the_data_set_of_the_fit(tmp_path: Path) -> None:
    config = TrainingConfig.load(written(tmp_path, "data: {dataset: custom_b2b, seed: 7}"))
    assert config.resolved("online_retail").data == config.data.model_copy(update={"dataset": "online_retail"})
    assert config.resolved("online_retail").recipe() == config.resolved().recipe()


def test_the_criteria_in_the_docs_are_valid(tmp_path: Path) -> None:
    page = (CONFIGS.parent / "docs" / "evaluation.md").read_text()
    config = TrainingConfig.load(written(tmp_path, page.partition("```yaml\n")[2].partition("```")[0]))
    assert config.evaluation.criteria["gini@10"] == 0.9
    assert all(f"`{metric}`" in page for metric in MEASURED)
