"""The resource `training`: the training configuration, of which a person may change values in Dagster's launchpad."""

import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import dagster as dg

from recommenders.training.configuration import TrainingConfig

LEFT_OUT = {("tuning",)}  # sections that no asset reads from a run
SCALARS = {bool: bool, int: int, float: float, str: str}
Key = tuple[str, ...]


def training_resource(config: TrainingConfig) -> dg.ResourceDefinition:
    """The configuration of a run: `config`, with the values that the run changes. Its form shows those in force.

    Which models are enabled cannot be changed: the assets are made from the file. A run with a wrong value fails with
    ConfigurationError.
    """

    def configured(context: dg.InitResourceContext) -> TrainingConfig:
        return config.changed(changed_values(config, context.resource_config))

    description = "The training configuration. A value that is changed here counts for this run alone."
    return dg.ResourceDefinition(configured, form(config), description)


def changed_values(config: TrainingConfig, given: Mapping[str, Any]) -> dict[Key, Any]:
    """Key -> value of the settings whose value in the form differs from the one in force."""
    found = {}
    for key, value, _ in settings(config):
        node: Any = given
        for part in key:
            node = node[part]
        if node != value:
            found[key] = node
    return found


def form(config: TrainingConfig) -> dict[str, Any]:
    """The fields of the launchpad: section -> (model ->) key -> its type, value in force and description."""
    fields: dict[str, Any] = {}
    for key, value, field in settings(config):
        node = fields
        for part in key[:-1]:
            node = node.setdefault(part, {})
        kind = field_type(field.annotation)
        node[key[-1]] = dg.Field(kind, default_value=value, is_required=False, description=field.description)
    return fields


def settings(config: TrainingConfig) -> Iterator[tuple[Key, Any, Any]]:
    """Key, value in force and field of each setting that a run may change."""
    for section in type(config).model_fields:
        if (section,) in LEFT_OUT:
            continue
        values = getattr(config, section)
        models = type(values).model_fields if section == "models" else [""]
        for model in models:
            owner = config.fit_config(model) if model else values
            place = (section, model) if model else (section,)
            for name, value in owner.model_dump(mode="json", exclude={"enabled"}).items():
                yield (*place, name), value, type(owner).model_fields[name]


def field_type(annotation: Any) -> Any:
    """Dagster's type for a field of the configuration. Raises TypeError if there is none."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return field_type(arguments[0])
    if origin is Literal:
        return str
    if origin in (Union, types.UnionType):
        (kind,) = [one for one in arguments if one is not types.NoneType]
        return dg.Noneable(field_type(kind))
    if origin is tuple:
        return dg.Array(field_type(arguments[0]))
    if origin is dict:
        return dg.Map(str, field_type(arguments[1]))  # type: ignore[no-untyped-call]
    if annotation in SCALARS:
        return SCALARS[annotation]
    raise TypeError(f"no type of Dagster for {annotation}; add it to field_type()")
