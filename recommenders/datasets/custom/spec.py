"""Entries of the user's YAML file as data sets of the catalogue."""

import hashlib
import json
import re
from collections.abc import Container
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import takewhile
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from recommenders.datasets.custom.columns import Column, Range
from recommenders.datasets.custom.entry import TABLES, Entry, ProtocolConfig, Sql, Table
from recommenders.datasets.custom.pull import pull
from recommenders.datasets.custom.rows import parse
from recommenders.datasets.reading.text import is_blank
from recommenders.datasets.spec import DatasetSpec, Protocol, check_names, on_disk, real_files
from recommenders.errors import ConfigurationError, DataError, choices

NAME = re.compile(r"[a-z][a-z0-9_]*")  # also part of file names, of Dagster's partitions and of MLflow's models
WILD = set("*?[")  # what makes part of a path a glob
PULLER = "recommenders.datasets.custom.pull:pull"
SECTIONS: dict[str, type[BaseModel]] = {
    **dict.fromkeys(TABLES, Table),
    "sql": Sql,
    "protocol": ProtocolConfig,
    "columns": Column,
    "rules": Range,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class OwnSpec(DatasetSpec):
    """A data set of the user's file. Paths are relative to that file; what lies afar is pulled into the source."""

    entry: Entry
    config: Path
    parser: Any = field(init=False)
    generator: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parser", partial(parse, self.entry, self.files_of))
        object.__setattr__(self, "generator", PULLER if self._pulled else "")

    @property
    def _pulled(self) -> list[str]:
        return [name for name, table in self.entry.tables.items() if table.pulled]

    def files_of(self, source: Path, name: str) -> list[Path]:
        """The files of one table, sorted, without those among others that hold nothing.

        Raises DataError if there are none, all are empty, or they cannot be looked at.
        """
        table = self.entry.tables[name]
        base = self.config.parent if self._pulled and not table.pulled else source
        with on_disk(self.name, base):
            found = _pulled_files(base / name) if table.pulled else _all_matches(base, table.files)
            check_names(self.name, found)
            full = [path for path in found if not is_blank(path)]
        if not found and table.pulled:
            raise DataError(f"{self.name}: {source / name} holds nothing yet; it is pulled when a run starts")
        if not found:
            wanted = ", ".join(table.files)
            raise DataError(f"{self.name}: no file in {base} is called {wanted}; mend {name}.files in {self.config}")
        if not full:
            raise DataError(f"{self.name}: {found[0]} is empty; expected rows; mend it or take it away")
        return full

    def locate(self, source: Path) -> list[Path]:
        """The files of all tables. Raises DataError as files_of does."""
        return [path for name in self.entry.tables for path in self.files_of(source, name)]

    def make(self, folder: Path, scale: float, seed: int) -> None:
        """Pulls what lies afar into the folder; scale and seed are of data sets that the project makes."""
        pull(self.name, self.entry, self.config.parent, folder)

    def fingerprint(self, source: Path) -> dict[str, Any]:
        """As of every data set; the version also changes when the entry would make other tables of the files."""
        facts = super().fingerprint(source)
        told = json.dumps([facts["version"], self.entry.meaning()])
        return facts | {"version": hashlib.sha256(told.encode()).hexdigest()[:16]}


def _pulled_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _all_matches(base: Path, patterns: tuple[str, ...]) -> list[Path]:
    return sorted({path for pattern in patterns for path in _matches(base, pattern)})


def _matches(base: Path, pattern: str) -> list[Path]:
    """The files that a path or glob means; hidden ones and folders are none."""
    path = Path(pattern).expanduser()
    parts = path.relative_to(path.anchor).parts
    fixed = list(takewhile(lambda part: not WILD & set(part), parts[:-1]))
    folder = (base / path.anchor).joinpath(*fixed)
    return real_files(folder, [str(Path(*parts[len(fixed) :]))]) if folder.is_dir() else []


def read_specs(path: Path, taken: Container[str] = ()) -> dict[str, DatasetSpec]:
    """The data sets of a file, by name; none if it holds nothing. Raises ConfigurationError in one line.

    taken: names that the project's own data sets have. The file is read again only when it has changed.
    """
    try:
        facts = path.stat()
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be read: {error.strerror}; TRADEWIND_DATASETS names the file with your data sets"
        ) from None
    specs = _read_specs(path.resolve(), facts.st_mtime_ns, facts.st_size)
    for name in specs:
        if name in taken:
            raise ConfigurationError(f"{path}: got {name!r}, which is a data set of the project; choose another name")
    return dict(specs)


@lru_cache(maxsize=4)
def _read_specs(path: Path, changed: int, size: int) -> dict[str, DatasetSpec]:
    return {name: _spec(name, content, path) for name, content in _entries(path).items()}


BOOLEAN = "tag:yaml.org,2002:bool"


class _Loader(yaml.SafeLoader):
    """YAML in which a key stands once, and only true and false are no text: a column may be called no."""

    yaml_implicit_resolvers = {
        first: [(tag, found) for tag, found in resolvers if tag != BOOLEAN]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.YAMLError(f"{key!r} stands twice, line {node.start_mark.line + 1} and below")
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(BOOLEAN, re.compile("true|True|TRUE|false|False|FALSE"), list("tTfF"))


def _entries(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}; save it as UTF-8 text") from None
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path} is not YAML: {' '.join(str(error).split())}; mend it") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path}: got a {type(content).__name__}; allowed: NAME: and its settings; mend it")
    return content


def _spec(name: object, content: object, path: Path) -> OwnSpec:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ConfigurationError(f"{path}: got the name {name!r}; allowed: small letters, digits and _; rename it")
    try:
        entry = Entry.model_validate(content)
    except ValidationError as error:
        raise ConfigurationError(f"{path}: {_told(name, error)}") from None
    told = entry.protocol
    return OwnSpec(
        name=name,
        title=entry.title or name,
        licence=entry.licence,
        layout=_layout(name, entry, path),
        files=tuple(pattern for table in entry.tables.values() for pattern in table.files),
        protocol=Protocol(told.split, told.test_days, told.repeat, entry.relevant_events, told.candidates),
        folder=path.parent,
        max_quarantined=entry.max_quarantined,
        entry=entry,
        config=path,
    )


def _layout(name: str, entry: Entry, path: Path) -> str:
    """What --source expects, in words."""
    pulled = [table for table, told in entry.tables.items() if told.pulled]
    if pulled:
        return f"nothing: {', '.join(pulled)} {'is' if len(pulled) == 1 else 'are'} pulled, as {path.name} says"
    wanted = ", ".join(pattern for table in entry.tables.values() for pattern in table.files)
    return f"nothing, or a folder with {wanted} in place of that of {path.name}"


def _told(name: str, error: ValidationError) -> str:
    """The first problem in one line: key, got, allowed. What stands in a URL may be secret and is not repeated."""
    first: Any = error.errors()[0]
    place = [str(part) for part in first["loc"]]
    key = ".".join([name, *place])
    if first["type"] == "extra_forbidden":
        owner = next((SECTIONS[part] for part in reversed(place[:-1]) if part in SECTIONS), Entry)
        return f"unknown key {key!r}; {choices(place[-1], owner.model_fields)}"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return f"{key}{'.' if not place or ':' in message.split(' ')[0] else ': '}{message}"
    if first["type"] == "missing":
        return f"{key} is missing; add it"
    got = "a value" if place[-1:] == ["url"] else repr(first["input"])[:80]
    return f"{key}: got {got}; {message}"
