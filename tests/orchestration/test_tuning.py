"""Tuning a data set: one run in MLflow for each trial, a configuration that trains, and an asset on its own."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from orchestration.cli import app
from orchestration.definitions import definitions
from orchestration.jobs import RETRAINING, TUNING
from orchestration.settings import Settings
from orchestration.tuning import STUDY_TAG, TRIAL_TAG, StudyRun, tune_models
from recommenders.errors import ConfigurationError
from recommenders.storage.feedback_files import FeedbackFiles
from recommenders.training.configuration import TrainingConfig
from recommenders.training.tuning.tune import Budget
from serving.release.registry import PARENT_TAG, Registry

DATASET = "custom_b2b"
TRIALS = 3


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, make_settings: Callable[..., Settings]) -> Settings:
    return make_settings(tmp_path_factory.mktemp("tuning") / "home", dataset=DATASET)


@pytest.fixture(scope="module")
def tables(settings: Settings) -> dict[str, pa.Table]:
    spec, source = settings.spec, settings.prepare_source()
    version = spec.ingest(source, settings.tables, spec.fingerprint(source), FeedbackFiles(settings.home / "none"))
    return {name: settings.tables.read(name, version) for name in ("interactions", "items")}


def tune(settings: Settings, tables: dict[str, pa.Table], *models: str, trials: int = TRIALS) -> Any:
    lines: list[str] = []
    registry, budget = Registry(settings), Budget("random", trials)
    found = tune_models(settings, registry, settings.training, tables, "1", models, budget, lines.append)
    return found, lines


def trial_runs(settings: Settings) -> list[dict[str, str]]:
    runs = Registry(settings).find_runs(DATASET, {"stage": "tuning"})
    return [tags for tags in runs.values() if TRIAL_TAG in tags]


def test_each_trial_has_one_run_below_the_run_of_its_study(
    settings: Settings, tables: dict[str, pa.Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the process was killed between the end of a trial and its run."""
    monkeypatch.setattr(StudyRun, "_log_missing", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        tune(settings, tables, "popularity")
    monkeypatch.undo()
    found, lines = tune(settings, tables, "popularity")
    assert len(lines) == TRIALS - 1
    assert lines[-1].startswith(f"popularity {TRIALS}/{TRIALS}: ndcg@10 ")
    for _ in range(2):
        logged = trial_runs(settings)
        assert sorted(tags[TRIAL_TAG] for tags in logged) == [str(number) for number in range(TRIALS)]
        parents = Registry(settings).find_runs(DATASET, {STUDY_TAG: found.tuned[0].study})
        assert {tags[PARENT_TAG] for tags in logged} == set(parents)
        assert len(parents) == 1
        tune(settings, tables, "popularity")


def test_the_written_configuration_trains_with_the_best_values(settings: Settings, tables: dict[str, pa.Table]) -> None:
    found, _ = tune(settings, tables, "ease", "popularity")
    assert [one.model for one in found.tuned] == ["popularity", "ease"]  # base models come first
    config = TrainingConfig.load(Path(found.config))
    for one in found.tuned:
        section = config.section(one.model).model_dump()
        assert {key: section[key] for key in one.values} == dict(one.values)
    untouched = [name for name in config.enabled() if name not in ("popularity", "ease")]
    assert [config.fit_config(name) for name in untouched] == [settings.training.fit_config(n) for n in untouched]
    assert Path(found.config).read_text().startswith(f"# The training configuration of {DATASET}")


def test_a_model_that_cannot_be_fitted_is_skipped_with_its_reason(
    settings: Settings, tables: dict[str, pa.Table]
) -> None:
    found, lines = tune(settings, tables, "popularity", "sasrec")
    assert [one.model for one in found.tuned] == ["popularity"]
    assert "fit_on_windows" in found.skipped["sasrec"]
    assert any(line.startswith("sasrec is skipped") for line in lines)


def test_a_wrong_model_is_an_error(settings: Settings, tables: dict[str, pa.Table]) -> None:
    with pytest.raises(ConfigurationError, match="did you mean ease"):
        tune(settings, tables, "eas")


def test_the_command_and_the_asset_share_their_studies(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The asset shows what the command found, and its plots; no retraining materialises it."""
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    arguments = ["tune", "--models", "popularity", "--trials", "4", "--sampler", "random", "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    (printed,) = json.loads(result.stdout.splitlines()[-1])["tuned"]
    defs = definitions(settings)
    options = {"models": ["popularity"], "trials": 4, "sampler": "random"}
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        run = defs.resolve_job_def(TUNING).execute_in_process(
            instance=instance, partition_key=DATASET, run_config={"ops": {"tuning": {"config": options}}}
        )
    (shown,) = run.asset_materializations_for_node("tuning")
    row = f"| popularity | {printed['present']:.4f} | {printed['best']:.4f} | 4 |"
    assert row in shown.metadata["best values"].value
    assert "popularity slices" in shown.metadata
    in_retraining = defs.resolve_job_def(RETRAINING).asset_layer.selected_asset_keys
    assert dg.AssetKey("tuning") not in in_retraining
    assert dg.AssetKey("champion") in in_retraining
