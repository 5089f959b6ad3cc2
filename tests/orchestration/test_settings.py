"""The meaning of the settings; every process of the platform reads the same settings."""

from pathlib import Path

import pytest

from orchestration.settings import Settings
from recommenders.datasets.all_datasets import CUSTOM_CONFIG, dataset
from recommenders.errors import ConfigurationError, DataError


def read_in_a_service(settings: Settings, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Settings:
    """The settings as a service reads them: from the environment, in another folder."""
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(folder)
    return Settings.read()


def test_a_service_reads_the_same_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADEWIND_DATASET", "online_retail")
    monkeypatch.setenv("TRADEWIND_SOURCE", "/files/of/online_retail")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    operation = {"workers": 3, "access_log": True, "cors_origins": "https://a.example", "api_keys_file": "keys.yaml"}
    settings = Settings.read(home=Path("home"), dataset="custom_b2b", **operation)
    assert settings.api_keys_file == tmp_path / "keys.yaml"
    assert settings.source is None  # the environment's source belongs to the environment's data set
    assert read_in_a_service(settings, monkeypatch, tmp_path / "elsewhere") == settings
    assert settings.home == tmp_path / "home"


def test_relative_paths_mean_the_same_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    settings = Settings.read(home=Path("home"), dataset="online_retail", source=Path("retail.csv"))
    child = read_in_a_service(settings, monkeypatch, tmp_path / "elsewhere")
    assert child.source_of(child.spec) == tmp_path / "retail.csv"


def test_given_files_are_never_generated_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "buyers.parquet").write_text("precious")
    settings = Settings.read(home=tmp_path / "home", source=Path("mine"))
    assert settings.prepare_source() == mine
    with pytest.raises(DataError, match="was not made by this project"):
        dataset("custom_b2b").make(mine, scale=0.05, seed=1)
    assert (mine / "buyers.parquet").read_text() == "precious"


def test_a_source_is_remembered_for_the_schedules(tmp_path: Path) -> None:
    given = Settings.read(home=tmp_path, dataset="online_retail", source=tmp_path / "retail.csv")
    given.remember_source()
    later = Settings.read(home=tmp_path, dataset="online_retail")
    assert later.source_of(later.spec) == tmp_path / "retail.csv"


def test_the_configuration_gives_the_data_set_where_nothing_else_does(tmp_path: Path) -> None:
    config = tmp_path / "training.yaml"
    config.write_text("data: {dataset: movielens}")
    assert Settings.read(config=config).dataset == "movielens"
    assert Settings.read(config=config, dataset="custom_b2b").dataset == "custom_b2b"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("TRADEWIND_SERVICE_PORT", "70000", "65535"),
        ("TRADEWIND_RETRAIN_CRON", "soon", "cron line"),
        ("TRADEWIND_MLFLOW_PORT", "3000", "must differ"),
        ("TRADEWIND_FEEDBACK_WEIGHTS", "purchase", r"^TRADEWIND_FEEDBACK_WEIGHTS: .* JSON such as"),
        ("TRADEWIND_FEEDBACK_WEIGHTS", '{"impression": 1}', "got 'impression'; allowed: click, cart, purchase, rating"),
        ("TRADEWIND_FEEDBACK_WEIGHTS", '{"cart": -1}', r"got the weight -1.0 of cart; allowed: a number above 0"),
        ("TRADEWIND_FEEDBACK_SHARE", "0", "greater than 0"),
    ],
)
def test_an_invalid_setting_is_one_error(name: str, value: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=expected):
        Settings.read()


def test_custom_data_sets_are_read_from_the_folder_of_their_file(tmp_path: Path) -> None:
    custom = tmp_path / "custom" / "datasets.yaml"
    custom.parent.mkdir()
    custom.write_text(
        "shop:\n  title: Ours\n  interactions:\n    files: log.csv\n"
        "    columns: {user_id: who, item_id: what, timestamp: at}\n"
    )
    settings = Settings.read(home=tmp_path / "home", datasets=custom, dataset="shop")
    assert settings.prepare_source() == custom.parent
    assert settings.environment()["TRADEWIND_DATASETS"] == str(custom)
    given = Settings.read(home=tmp_path / "home", datasets=custom, dataset="shop", source=tmp_path / "other")
    assert given.prepare_source() == tmp_path / "other"
    given.remember_source()
    assert settings.source_of(settings.spec) == tmp_path / "other"
    with pytest.raises(ConfigurationError, match=r"unknown dataset 'shop'; choose from"):
        _ = settings.for_dataset("custom_b2b").model_copy(update={"dataset": "shop", "datasets": CUSTOM_CONFIG}).spec


def test_remote_files_are_downloaded_only_when_a_run_starts(tmp_path: Path) -> None:
    custom, log = tmp_path / "datasets.yaml", tmp_path / "store" / "log.csv"
    log.parent.mkdir()
    log.write_text("who,what,at\n1,a,2024-01-01\n")
    custom.write_text(
        f"shop:\n  title: Ours\n  interactions:\n    files: file://{log}\n"
        "    columns: {user_id: who, item_id: what, timestamp: at}\n"
    )
    settings = Settings.read(home=tmp_path / "home", datasets=custom, dataset="shop")
    spec, source = settings.spec, settings.home / "sources" / "shop"
    with pytest.raises(DataError, match="is empty; the files are pulled when a run starts"):
        spec.locate(settings.source_of(spec))
    assert settings.prepare_source() == source
    seen = spec.fingerprint(source).version
    log.write_text("who,what,at\n1,a,2024-01-01\n2,b,2024-01-02\n")
    assert spec.fingerprint(settings.source_of(spec)).version == seen
    assert spec.fingerprint(settings.prepare_source()).version != seen
    assert spec.read(source).counts.kept == 2


def test_the_data_set_is_the_named_one_else_the_one_last_served_or_trained_in_this_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def named(**given: object) -> tuple[str, str]:
        settings, by = Settings.read_named(home=tmp_path, **given)
        return settings.dataset, by

    monkeypatch.setenv("TRADEWIND_SOURCE", "/files/of/the/default")
    assert named() == ("custom_b2b", "the configured default")
    assert Settings.read(home=tmp_path).source == Path("/files/of/the/default")
    Settings.read(home=tmp_path, dataset="movielens").remember_dataset("train")
    assert named() == ("movielens", "the one that was trained or evaluated last here")
    assert Settings.read(home=tmp_path).source is None  # the files of another data set
    Settings.read(home=tmp_path, dataset="online_retail").remember_dataset("run")
    Settings.read(home=tmp_path, dataset="movielens").remember_dataset("train")
    assert named() == ("online_retail", "the one that `tradewind run` served last here")
    config = tmp_path / "training.yaml"
    config.write_text("evaluation: {seed: 1}")
    assert named(config=config)[0] == "online_retail"
    config.write_text("data: {dataset: retailrocket}")
    assert named(config=config) == ("retailrocket", "--config")
    monkeypatch.setenv("TRADEWIND_DATASET", "amazon")
    assert named(config=config) == ("amazon", "TRADEWIND_DATASET")
    assert named(config=config, dataset="custom_b2b") == ("custom_b2b", "--dataset")


def test_the_weights_of_feedback_are_those_of_the_served_data_set_if_it_is_built_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    custom = tmp_path / "datasets.yaml"
    custom.write_text(
        "shop:\n  interactions:\n    files: log.csv\n    columns: {user_id: who, item_id: what, timestamp: at}\n"
        "  feedback: {cart: 0.5}\n"
    )
    assert Settings.read(home=tmp_path).spec.feedback == {}
    monkeypatch.setenv("TRADEWIND_FEEDBACK_WEIGHTS", '{"purchase": 1.0, "cart": 0.3}')
    settings = Settings.read(home=tmp_path, datasets=custom)
    assert settings.spec.feedback == {"purchase": 1.0, "cart": 0.3}
    assert settings.for_dataset("movielens").spec.feedback == {}
    assert settings.for_dataset("shop").spec.feedback == {"cart": 0.5}
    assert Settings.read(home=tmp_path, datasets=custom, dataset="shop").spec.feedback == {"cart": 0.5}
    assert read_in_a_service(settings, monkeypatch, tmp_path) == settings
