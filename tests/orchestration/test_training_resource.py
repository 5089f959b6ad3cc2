"""A person changes values of the training configuration in Dagster's launchpad, for one run."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from orchestration.definitions import definitions
from orchestration.jobs import RETRAINING
from orchestration.launcher.runs import root_cause, upstream
from orchestration.settings import Settings
from orchestration.training_resource import changed_values, form, settings, training_resource
from recommenders.errors import ConfigurationError
from recommenders.training.configuration import TrainingConfig

DATASET = "custom_b2b"


def of_run(config: TrainingConfig, **given: Any) -> TrainingConfig:
    """The configuration that the assets of a run get."""

    @dg.op(required_resource_keys={"training"})
    def read(context: dg.OpExecutionContext) -> None:
        found.append(context.resources.training)

    @dg.job(resource_defs={"training": training_resource(config)})
    def job() -> None:
        read()

    found: list[TrainingConfig] = []
    job.execute_in_process(run_config={"resources": {"training": {"config": given}}} if given else {})
    return found[0]


def test_a_run_without_changes_has_the_configuration_of_the_file() -> None:
    config = TrainingConfig.model_validate({"data": {"seed": 7}, "models": {"ease": {"reg": 5.0}}})
    assert of_run(config) is config


def test_only_the_changed_values_differ() -> None:
    """Also if the form is filled in with all values in force, and a model still inherits from the section data."""
    config = TrainingConfig.model_validate({"data": {"seed": 7}})
    found = of_run(config, models={"ials": {"embedding_dim": 16}, "ease": {"reg": None}}, data={"seed": 9})
    assert found.fit_config("ials").model_dump()["embedding_dim"] == 16
    assert found.fit_config("ials").seed == 9
    same = {name: found.fit_config(name) for name in ("popularity", "ease")}
    assert same == {name: config.changed({("data", "seed"): 9}).fit_config(name) for name in same}
    assert found.models.model_fields_set == {"ials"}


def test_every_setting_is_in_the_form_except_which_models_are_enabled() -> None:
    config = TrainingConfig()
    fields, keys = form(config), [key for key, *_ in settings(config)]
    assert {key[0] for key in keys} == {"data", "models", "evaluation", "fit"}
    assert not [key for key in keys if key[-1] == "enabled"]
    network = fields["models"]["neural_collaborative"]["learning_rate"]
    assert (network.default_value, network.is_required) == (0.001, False)
    assert network.description.startswith("Learning rate")
    values: dict[str, Any] = {}
    for key, value, _ in settings(config):
        node = values
        for part in key[:-1]:
            node = node.setdefault(part, {})
        node[key[-1]] = value
    assert changed_values(config, values) == {}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"models": {"ease": {"reg": -1.0}}}, r"models\.ease\.reg: got -1\.0; .*greater than 0"),
        ({"models": {"hybrid": {"model_weights": {"eas": 1.0}}}}, "unknown base model eas"),
    ],
)
def test_a_wrong_value_is_an_error_of_one_line(given: dict[str, Any], message: str) -> None:
    with pytest.raises(Exception) as raised:  # noqa: PT011  (Dagster's wrapping)
        of_run(TrainingConfig(), **given)
    cause = root_cause(raised.value)
    assert isinstance(cause, ConfigurationError)
    assert re.search(message, str(cause))


def test_an_unknown_key_is_marked_in_the_form() -> None:
    with pytest.raises(dg.DagsterInvalidConfigError, match="regg"):
        of_run(TrainingConfig(), models={"ease": {"regg": 1.0}})


def test_all_assets_of_a_run_get_the_changed_configuration(
    tmp_path: Path, make_settings: Callable[..., Settings]
) -> None:
    made = make_settings(tmp_path / "home", dataset=DATASET)
    job = definitions(made).resolve_job_def(RETRAINING)
    changed = {"models": {"popularity": {"half_life_days": 9.0}}}
    with dg.DagsterInstance.ephemeral() as instance:
        job.execute_in_process(
            instance=instance,
            partition_key=DATASET,
            asset_selection=[dg.AssetKey(name) for name in upstream(made, "popularity")],
            run_config={"resources": {"training": {"config": changed}}},
        )
    fitted = json.loads((made.lake / DATASET / "popularity" / "manifest.json").read_text())
    assert fitted["config"]["half_life_days"] == 9.0
    wanted = made.training.changed({("models", "popularity", "half_life_days"): 9.0})
    assert fitted["provenance"]["recipe"] == wanted.recipe() != made.training.recipe()
