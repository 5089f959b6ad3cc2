"""The configuration in force, with the origin of each value."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from recommenders.training.changes import parse_change
from recommenders.training.configuration import ModelsConfig, TrainingConfig, read_file

SET, DEFAULT = "--set", "default"


def with_origins(path: Path | None, changes: Sequence[str] = ()) -> Iterator[tuple[tuple[str, ...], Any, str]]:
    """Key, value and origin of each setting: "--set", the name of the file, "data.KEY" if it is inherited, "default".

    Raises ConfigurationError.
    """
    config = TrainingConfig.load(path, changes)
    content: dict[str, Any] = read_file(path) if path else {}
    given = [tuple(parse_change(change)[0]) for change in changes]
    for key, value in _settings(config):
        if any(key == one[: len(key)] for one in given):
            yield key, value, SET
        elif _is_in(content, key):
            yield key, value, path.name if path else DEFAULT
        elif key[0] == "models" and key[2] in config.inherited(key[1]):
            yield key, value, f"data.{key[2]}"
        else:
            yield key, value, DEFAULT


def _settings(config: TrainingConfig) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each key with its value in force."""
    for section in TrainingConfig.model_fields:
        if section != "models":
            for key, value in getattr(config, section).model_dump(mode="json").items():
                yield (section, key), value
            continue
        for model in ModelsConfig.model_fields:
            for key, value in config.fit_config(model).model_dump(mode="json").items():
                yield (section, model, key), value


def _is_in(content: Any, key: Sequence[str]) -> bool:
    for part in key:
        if not isinstance(content, Mapping) or part not in content:
            return False
        content = content[part]
    return True


def to_yaml(settings: Iterator[tuple[tuple[str, ...], Any, str]]) -> str:
    """A configuration file with all settings; a comment behind each value names its origin."""
    lines: list[str] = []
    open_sections: tuple[str, ...] = ()
    for (*sections, key), value, origin in settings:
        for depth, section in enumerate(sections):
            if open_sections[: depth + 1] != tuple(sections[: depth + 1]):
                lines.append(f"{'  ' * depth}{section}:")
        open_sections = tuple(sections)
        text = yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False)
        indent = "  " * len(sections)
        lines.append(f"{indent}{key}: {text.removesuffix(chr(10)).removesuffix('...').strip()}  # {origin}")
    return "\n".join(lines) + "\n"
