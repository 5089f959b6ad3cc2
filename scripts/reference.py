"""Writes docs/configuration.md: all keys of the configuration files, from the classes that validate them.

    python scripts/reference.py           writes the page
    python scripts/reference.py --check   exits 1 if the page is not what would be written

A section of the page is a class, a row is a field: its type, its default, its constraints and its description.
"""

import argparse
import inspect
import json
import sys
import textwrap
import types
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from orchestration.retention.configuration import RetentionConfig
from recommenders.models.recommender import ModelConfig
from recommenders.models.search_space import Choice, Dimension, Range
from recommenders.training.configuration import ModelsConfig, TrainingConfig

PAGE = Path(__file__).resolve().parents[1] / "docs" / "configuration.md"
WIDTH = 120  # of a line of text
HEADER = """\
# Configuration reference

`scripts/reference.py` writes this page from the classes that validate the configuration files. Do not edit the page:
change the description of the field in its class, then run `.venv/bin/python scripts/reference.py`.

The sections up to `tuning` are those of a training configuration: [training.md](training.md). Every section and every
key is optional. An unknown key is an error. `null` is a value that can be written in the file. An empty cell below
"allowed" means that the type and the description hold all limits.
"""
SCALARS = {
    bool: ("boolean", "booleans"),
    int: ("integer", "integers"),
    float: ("number", "numbers"),
    Range: ("range", "ranges"),
    Choice: ("choice", "choices"),
}
PHRASES = {
    annotated_types.Ge: ("ge", "{} or more"),
    annotated_types.Gt: ("gt", "above {}"),
    annotated_types.Le: ("le", "{} or less"),
    annotated_types.Lt: ("lt", "below {}"),
    annotated_types.MinLen: ("min_length", "{} entry or more"),
}


def page() -> str:
    """The content of the page."""
    sections = TrainingConfig.model_fields
    parts = [HEADER, section("data", sections["data"].annotation), _common_keys()]
    for name, field in ModelsConfig.model_fields.items():
        link = f"What the model does: [{name}](models/{name}.md). {search_space(field.annotation)}"
        parts.append(section(f"models.{name}", field.annotation, link, leave_out=ModelConfig.model_fields))
    parts += [section(name, sections[name].annotation) for name in ("evaluation", "fit", "tuning")]
    retention = "What is never deleted: [operations](operations.md#what-is-kept)."
    return "\n".join([*parts, section("configs/retention.yaml", RetentionConfig, retention)])


def search_space(config: Any) -> str:
    """The values that a tuning of a model tries, as a sentence."""
    found = [f"`{key}` {_dimension(one)}" for key, one in config.search_space.items()]
    return f"A [tuning](tuning.md) tries {'; '.join(found)}."


def _dimension(one: Dimension) -> str:
    if isinstance(one, Choice):
        return "or ".join(f"`{yaml_value(value)}` " for value in one.choices).strip()
    return f"{one.low:g} to {one.high:g}{' by equal ratios' * one.log}"


def section(key: str, config: Any, link: str = "", leave_out: Iterable[str] = ()) -> str:
    """The heading, the class docstring and the table of one section of the file."""
    rows = "\n".join(_rows(config, set(leave_out)))
    table = f"{rows}\n" if rows else "The model has no other keys.\n"
    text = textwrap.fill(f"{inspect.getdoc(config)} {link}", WIDTH, break_long_words=False, break_on_hyphens=False)
    return f"## `{key}`\n\n{text}\n\n{table}"


def _common_keys() -> str:
    rows = "\n".join(_rows(ModelConfig, set()))
    return f"## `models`: keys of every model\n\nEvery section below `models` has these keys.\n\n{rows}\n"


def _rows(config: type[BaseModel], leave_out: set[str]) -> Iterator[str]:
    fields = {name: field for name, field in config.model_fields.items() if name not in leave_out}
    if fields:
        yield from ("| key | type | default | allowed | description |", "|---|---|---|---|---|")
    for name, field in fields.items():
        cells = (f"`{name}`", type_name(field.annotation), f"`{yaml_value(field.default)}`", allowed(field))
        yield f"| {' | '.join(cells)} | {field.description} |"


def type_name(annotation: Any, plural: bool = False) -> str:
    """A type in words, such as "list of integers"."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_name(arguments[0], plural)
    if origin in (Union, types.UnionType):
        return " or ".join("null" if one is types.NoneType else type_name(one, plural) for one in arguments)
    if origin is tuple:
        return f"list of {type_name(arguments[0], plural=True)}"
    if origin is dict:
        return f"map{'s' * plural} of names to {type_name(arguments[1], plural=True)}"
    return SCALARS.get(annotation, ("string", "strings"))[plural]


def yaml_value(value: Any) -> str:
    """A default as it is written in the file, on one line."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {yaml_value(one)}' for name, one in value.items())}}}"
    if isinstance(value, tuple):
        return f"[{', '.join(yaml_value(one) for one in value)}]"
    if isinstance(value, str):
        return value
    return f"{value:g}" if isinstance(value, float) else json.dumps(value)


def allowed(field: FieldInfo) -> str:
    """The constraints of a field in words."""
    if get_origin(field.annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(field.annotation))
    if field.annotation is bool:
        return "`true`, `false`"
    limits = [(PHRASES[type(limit)], limit) for limit in field.metadata if type(limit) in PHRASES]
    return ", ".join(phrase.format(yaml_value(getattr(limit, name))) for (name, phrase), limit in limits)


def main(arguments: list[str] | None = None) -> int:
    """Writes or checks the page; returns the exit code."""
    parser = argparse.ArgumentParser(description="Writes docs/configuration.md from the configuration classes.")
    parser.add_argument("--check", action="store_true", help="exit 1 if the page is not what would be written")
    wanted = page()
    if not parser.parse_args(arguments).check:
        PAGE.write_text(wanted)
    elif not PAGE.exists() or PAGE.read_text() != wanted:
        print(f"{PAGE.name} differs from the configuration classes; run scripts/reference.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
