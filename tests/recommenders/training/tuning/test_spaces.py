"""The search space of a configuration, and a configuration with other values."""

import pytest

from recommenders.errors import ConfigurationError
from recommenders.models.search_space import Choice, Range
from recommenders.training.configuration import TrainingConfig
from recommenders.training.tuning.spaces import space_of, with_values


def test_the_configuration_replaces_the_space_of_a_model() -> None:
    given = {
        "tuning": {
            "spaces": {"ease": {"reg": {"low": 5, "high": 50, "log": True}, "values": {"choices": ["log", "binary"]}}}
        }
    }
    config = TrainingConfig.model_validate(given)
    assert space_of(config, "ease") == {
        "reg": Range(low=5, high=50, log=True),
        "values": Choice(choices=("log", "binary")),
    }
    assert space_of(config, "ials") == space_of(TrainingConfig(), "ials")
    assert config.recipe() == TrainingConfig().recipe()


@pytest.mark.parametrize(
    ("spaces", "message"),
    [
        ({"eas": {"reg": {"low": 1, "high": 2}}}, "did you mean ease"),
        ({"ease": {"regg": {"low": 1, "high": 2}}}, "did you mean reg"),
    ],
)
def test_an_unknown_name_in_the_configuration_names_the_nearest(spaces: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainingConfig.model_validate({"tuning": {"spaces": spaces}})


def test_a_space_with_a_value_that_the_model_does_not_allow_is_an_error() -> None:
    config = TrainingConfig.model_validate({"tuning": {"spaces": {"ease": {"reg": {"low": -1.0, "high": 2.0}}}}})
    with pytest.raises(ConfigurationError, match=r"models\.ease\.reg: got -1\.0; .*greater than 0"):
        space_of(config, "ease")


def test_values_keep_what_a_section_inherits() -> None:
    config = TrainingConfig.model_validate({"data": {"batch_size": 77, "seed": 5}})
    changed = with_values(config, "neural_collaborative", {"embedding_dim": 8})
    fit = changed.fit_config("neural_collaborative")
    assert (fit.embedding_dim, fit.batch_size, fit.seed) == (8, 77, 5)  # type: ignore[attr-defined]
    assert changed.recipe() != config.recipe()
    assert with_values(config, "ease", {}).recipe() == config.recipe()


def test_a_value_within_a_mapping_leaves_the_others() -> None:
    changed = with_values(TrainingConfig(), "hybrid", {"model_weights.content_based": 0.9})
    weights = changed.section("hybrid").model_weights  # type: ignore[attr-defined]
    assert weights == {"neural_collaborative": 0.4, "content_based": 0.9, "collaborative_filtering": 0.3}


def test_an_unknown_key_names_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match="did you mean reg"):
        with_values(TrainingConfig(), "ease", {"regs": 1.0})
