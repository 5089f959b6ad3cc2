"""The search space of a model under a configuration, and the configuration with values from it."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from recommenders.errors import ConfigurationError, choices
from recommenders.models.search_space import Choice, Dimension, SearchSpace
from recommenders.training.configuration import TrainingConfig


def space_of(config: TrainingConfig, model: str) -> SearchSpace:
    """The search space of the configuration's section `tuning`, else that of the model.

    Raises ConfigurationError if there is none, or if the model does not allow one of its values.
    """
    section = config.section(model)
    space: SearchSpace = config.tuning.spaces.get(model) or type(section).search_space
    if not space:
        raise ConfigurationError(f"{model} has no search space; set tuning.spaces.{model}")
    for key, dimension in space.items():
        for value in _ends(dimension):
            with_values(config, model, {key: value})
    return space


def _ends(dimension: Dimension) -> tuple[Any, ...]:
    return dimension.choices if isinstance(dimension, Choice) else (dimension.low, dimension.high)


def with_values(config: TrainingConfig, model: str, values: Mapping[str, Any]) -> TrainingConfig:
    """The configuration with other values in the section of a model.

    values: key, or key.name within a mapping -> value. Raises ConfigurationError if the section does not allow one.
    """
    section = config.section(model)
    content = section.model_dump(exclude_unset=True)
    for path, value in values.items():
        key, _, name = path.partition(".")
        if key not in type(section).model_fields:
            raise ConfigurationError(f"unknown key models.{model}.{key}; {choices(key, type(section).model_fields)}")
        content[key] = {**content.get(key, getattr(section, key)), name: value} if name else value
    try:
        changed = type(section).model_validate(content)
    except ValidationError as error:
        first: Any = error.errors()[0]
        key = ".".join(str(part) for part in ("models", model, *first["loc"]))
        message = first["msg"].removeprefix("Value error, ")
        raise ConfigurationError(f"{key}: got {first['input']!r}; {message}") from None
    return config.model_copy(update={"models": config.models.model_copy(update={model: changed})})
