"""`tradewind validate` on a small market, with a real Dagster instance."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from orchestration.settings import Settings

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def validate(run_here: Command, home: Path, quick_configuration: Callable[..., Path]) -> Command:
    config = quick_configuration(home / "configuration", sasrec={"enabled": False})
    return lambda *given: run_here("validate", "--config", str(config), *given, home=home)


def test_the_command_prints_the_folds_and_dagster_shows_them(validate: Command, home: Path, tmp_path: Path) -> None:
    page = tmp_path / "reports" / "folds.md"
    options = ("--scheme", "stratified", "--by", "region", "--folds", "2", "--models", "popularity, ease")
    done = validate(*options, "--output", str(page), "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["plan"] == {"scheme": "stratified", "folds": 2, "by": "region", "seed": 42}
    assert [sorted(fold["models"]) for fold in found["folds"]] == [["ease", "popularity"]] * 2
    assert found["comparison"]["best"] == "ease"
    lines = [line.strip() for line in done.stderr.splitlines()]
    assert sum(line.startswith("fold 1 of 2: ease: fitted in") for line in lines) == 1
    assert page.read_text().startswith("# Cross-validation of custom_b2b, stratified\n")

    settings = Settings.read(home=home)
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        (run,) = instance.get_runs()
        assert (run.job_name, run.status) == ("cross_validation_job", dg.DagsterRunStatus.SUCCESS)
        event = instance.get_latest_materialization_event(dg.AssetKey("cross_validation"))
        assert event is not None
        assert event.asset_materialization is not None
        metadata = {key: value.value for key, value in event.asset_materialization.metadata.items()}
    assert metadata["report"] == page.read_text()
    assert metadata["dataset"] == "custom_b2b"
    assert "data:image/png" in str(metadata["plot"])
    assert (
        "jobs/cross_validation_job/playground/setup?config=ops%3A%0A%20%20cross_validation%3A" in metadata["run again"]
    )
    assert metadata["ease ndcg@10"] == round(found["pooled"]["ease"]["ndcg@10"][0], 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--folds 1", "folds: got 1; allowed: 2 or more"),
        ("--scheme tim", "unknown scheme 'tim'; choose from kfold, stratified, time; did you mean time?"),
        ("--by region", "by: got region with the scheme kfold"),
        ("--models eas", "did you mean ease?"),
        ("--models sasrec", "models: got sasrec, which is not enabled"),
        ("--models ,", "--models: got ','; allowed: names separated by commas"),
    ],
)
def test_a_wrong_option_is_an_error_before_a_run_begins(validate: Command, options: str, message: str) -> None:
    done = validate(*options.split())
    assert done.returncode == 2
    assert message in done.stderr
    assert "✓" not in done.stderr


def test_too_many_folds_are_an_error_of_one_line(validate: Command) -> None:
    done = validate("--scheme", "time", "--folds", "99", "--models", "popularity")
    assert done.returncode == 2
    assert "tradewind: folds: got 99; allowed: at most 10 windows of 30 days" in done.stderr
    assert "Traceback" not in done.stderr
