"""What a setting means, and that every process of the platform reads the same."""

from pathlib import Path

import pytest

from orchestration.settings import Settings
from recommenders.datasets.catalog import OWN, dataset
from recommenders.errors import ConfigurationError, DataError


def in_a_child(settings: Settings, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Settings:
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
    settings = Settings.read(home=Path("home"), dataset="custom_b2b")
    assert settings.source is None  # the environment's source belongs to the environment's data set
    assert in_a_child(settings, monkeypatch, tmp_path / "elsewhere") == settings
    assert settings.home == tmp_path / "home"


def test_relative_paths_mean_the_same_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    settings = Settings.read(home=Path("home"), dataset="online_retail", source=Path("retail.csv"))
    child = in_a_child(settings, monkeypatch, tmp_path / "elsewhere")
    assert child.source_of(child.spec) == tmp_path / "retail.csv"


def test_given_files_are_never_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_the_configuration_names_the_data_set_where_nobody_else_does(tmp_path: Path) -> None:
    config = tmp_path / "training.yaml"
    config.write_text("data: {dataset: movielens}")
    assert Settings.read(config=config).dataset == "movielens"
    assert Settings.read(config=config, dataset="custom_b2b").dataset == "custom_b2b"


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("TRADEWIND_SERVICE_PORT", "70000", "65535"),
        ("TRADEWIND_RETRAIN_CRON", "soon", "cron line"),
        ("TRADEWIND_MLFLOW_PORT", "3000", "must differ"),
    ],
)
def test_a_setting_that_cannot_be_is_told_at_once(
    name: str, value: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=told):
        Settings.read()


def test_own_data_sets_are_read_where_their_file_lies(tmp_path: Path) -> None:
    own = tmp_path / "own" / "datasets.yaml"
    own.parent.mkdir()
    own.write_text(
        "shop:\n  title: Ours\n  interactions:\n    files: log.csv\n"
        "    columns: {user_id: who, item_id: what, timestamp: at}\n"
    )
    settings = Settings.read(home=tmp_path / "home", datasets=own, dataset="shop")
    assert settings.prepare_source() == own.parent
    assert settings.environment()["TRADEWIND_DATASETS"] == str(own)
    given = Settings.read(home=tmp_path / "home", datasets=own, dataset="shop", source=tmp_path / "other")
    assert given.prepare_source() == tmp_path / "other"
    given.remember_source()
    assert settings.source_of(settings.spec) == tmp_path / "other"
    with pytest.raises(ConfigurationError, match=r"unknown dataset 'shop'; choose from"):
        _ = settings.of("custom_b2b").model_copy(update={"dataset": "shop", "datasets": OWN}).spec


def test_what_lies_afar_is_pulled_when_a_run_starts_and_at_no_other_time(tmp_path: Path) -> None:
    own, log = tmp_path / "datasets.yaml", tmp_path / "store" / "log.csv"
    log.parent.mkdir()
    log.write_text("who,what,at\n1,a,2024-01-01\n")
    own.write_text(
        f"shop:\n  title: Ours\n  interactions:\n    files: file://{log}\n"
        "    columns: {user_id: who, item_id: what, timestamp: at}\n"
    )
    settings = Settings.read(home=tmp_path / "home", datasets=own, dataset="shop")
    spec, source = settings.spec, settings.home / "sources" / "shop"
    with pytest.raises(DataError, match="holds nothing yet; it is pulled when a run starts"):
        spec.locate(settings.source_of(spec))
    assert settings.prepare_source() == source
    seen = spec.fingerprint(source)["version"]
    log.write_text("who,what,at\n1,a,2024-01-01\n2,b,2024-01-02\n")
    assert spec.fingerprint(settings.source_of(spec))["version"] == seen
    assert spec.fingerprint(settings.prepare_source())["version"] != seen
    assert spec.read(source).counts.kept == 2


def test_the_data_set_is_the_one_named_else_what_this_home_served_or_trained_last(
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
    assert Settings.read(home=tmp_path).source is None  # not its files
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
