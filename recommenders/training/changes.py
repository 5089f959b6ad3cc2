"""Changes of single settings, as the option --set gives them: section.key=value."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import yaml
from pydantic import BaseModel

from recommenders.errors import ConfigurationError


def apply_change(content: dict[str, Any], change: str, config: type[BaseModel]) -> None:
    """Puts one value into the content of a configuration file. config: the class of the whole file.

    A key within a mapping, such as models.hybrid.model_weights.content_based, leaves the other keys of the mapping as
    in the file, or as in the defaults. Raises ConfigurationError if the change cannot be read; the value is not checked
    here.
    """
    path, value = parse_change(change)
    node = content
    for depth, part in enumerate(path[:-1], 1):
        if node.get(part) is None:
            node[part] = default_mapping(config, path[:depth])
        if not isinstance(node[part], dict):
            raise ConfigurationError(
                f"--set {change}: {'.'.join(path[:depth])} is no section; got {node[part]!r} there; "
                f"write {'.'.join(path[:depth])}=VALUE"
            )
        node = node[part]
    node[path[-1]] = value


def parse_change(change: str) -> tuple[list[str], Any]:
    """The parts of the key, and the value as YAML reads it. Raises ConfigurationError."""
    key, sign, text = change.partition("=")
    path = [part.strip() for part in key.split(".")]
    if not sign or len(path) < 2 or not all(path):
        raise ConfigurationError(
            f"--set: got {change!r}; allowed: section.key=value; write for example --set models.ease.reg=300"
        )
    try:
        return path, yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigurationError(f"--set {change}: the value is not YAML; put it into quotes") from None


def default_mapping(config: type[BaseModel], path: Sequence[str]) -> dict[str, Any]:
    """What a mapping starts from: the default of a setting whose value is a mapping; {} for a section."""
    owner: Any = config
    for part in path:
        field = owner.model_fields.get(part) if hasattr(owner, "model_fields") else None
        if field is None:
            return {}
        owner, default = field.annotation, field.default
    return deepcopy(default) if isinstance(default, dict) else {}
