"""The search spaces: values that each model allows, around its default, and the grid of a space."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from recommenders.models.all_models import MODELS, model_class
from recommenders.models.search_space import Choice, Dimension, Range, grid_of
from recommenders.training.configuration import TrainingConfig
from recommenders.training.tuning.spaces import space_of, with_values


@pytest.mark.parametrize("model", MODELS)
def test_a_model_allows_all_of_its_search_space_and_has_its_default_within(model: str) -> None:
    """space_of() raises for a value that the model does not allow."""
    space, config = space_of(TrainingConfig(), model), model_class(model).Config()
    assert space
    for key, dimension in space.items():
        name, _, part = key.partition(".")
        default = getattr(config, name)
        value = default[part] if part else default
        if isinstance(dimension, Choice):
            assert value in dimension.choices
        elif value is not None:
            assert dimension.low <= value <= dimension.high


def test_every_combination_of_a_grid_is_allowed_except_weights_of_zero() -> None:
    for model in MODELS:
        for values in grid_of(model_class(model).Config.search_space):
            if model != "hybrid" or any(values.values()):
                with_values(TrainingConfig(), model, values)


def test_a_grid_has_both_ends_and_the_middle_of_a_range() -> None:
    assert Range(low=1.0, high=100.0, log=True).grid() == pytest.approx([1.0, 10.0, 100.0])
    assert Range(low=0.0, high=1.0).grid() == pytest.approx([0.0, 0.5, 1.0])
    assert Range(low=1, high=2).grid() == [1, 2]
    space = {"a": Range(low=1, high=3), "b": Choice(choices=(None, "x"))}
    assert grid_of(space) == [{"a": a, "b": b} for a in (1, 2, 3) for b in (None, "x")]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"low": 2, "high": 1}, "allowed: a number below high"),
        ({"low": 0, "high": 1, "log": True}, "allowed: above 0"),
        ({"choices": [1]}, "at least 2 items"),
        ({"low": 1, "high": 2, "step": 1}, "Extra inputs"),
    ],
)
def test_a_wrong_dimension_is_an_error(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(Dimension).validate_python(given)
