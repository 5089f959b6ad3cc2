"""Makes data sets of the entries of the user's YAML file."""

import hashlib
import json
import re
from collections.abc import Container
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from itertools import takewhile
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from recommenders.datasets.custom.columns import Attribute, Column, Range
from recommenders.datasets.custom.entry import Entry, ProtocolConfig, Sql
from recommenders.datasets.custom.pull import pull
from recommenders.datasets.custom.rows import parse
from recommenders.datasets.custom.table import TABLES, Table
from recommenders.datasets.reading.text import is_blank
from recommenders.datasets.spec import DatasetSpec, Protocol, check_names, find_files, os_errors_as_data_errors
from recommenders.datasets.store import Fingerprint
from recommenders.errors import ConfigurationError, DataError, choices

NAME = re.compile(r"[a-z][a-z0-9_]*")  # also used in file names, Dagster partitions and MLflow models
WILD = set("*?[")  # characters that make a path part a glob
PULLER = "recommenders.datasets.custom.pull:pull"
SECTIONS: dict[str, type[BaseModel]] = {
    **dict.fromkeys(TABLES, Table),
    "sql": Sql,
    "protocol": ProtocolConfig,
    "columns": Column,
    "attributes": Attribute,
    "rules": Range,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class CustomDatasetSpec(DatasetSpec):
    """A data set of the user's file. Paths are relative to that file; remote data is pulled into the source."""

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
        """The files of one table, sorted; empty files are left out.

        Raises DataError if there are no files, if all are empty, or if the operating system refuses access.
        """
        table = self.entry.tables[name]
        base = self.config.parent if self._pulled and not table.pulled else source
        with os_errors_as_data_errors(self.name, base):
            found = _pulled_files(base / name) if table.pulled else _all_matches(base, table.files)
            check_names(self.name, found)
            full = [path for path in found if not is_blank(path)]
        if not found and table.pulled:
            raise DataError(f"{self.name}: {source / name} is empty; the files are pulled when a run starts")
        if not found:
            wanted = ", ".join(table.files)
            raise DataError(f"{self.name}: no file in {base} matches {wanted}; fix {name}.files in {self.config}")
        if not full:
            raise DataError(f"{self.name}: {found[0]} is empty; expected rows; fix or remove it")
        return full

    def locate(self, source: Path) -> list[Path]:
        """The files of all tables. Raises DataError like files_of."""
        return [path for name in self.entry.tables for path in self.files_of(source, name)]

    def make(self, folder: Path, scale: float, seed: int) -> None:
        """Pulls the remote data into the folder; scale and seed are for generated data sets and are ignored."""
        pull(self.name, self.entry, self.config.parent, folder)

    def fingerprint(self, source: Path) -> Fingerprint:
        """As for every data set; the version also changes with the entry's settings that affect the tables."""
        known = super().fingerprint(source)
        content = json.dumps([known.version, self.entry.table_settings()])
        return replace(known, version=hashlib.sha256(content.encode()).hexdigest()[:16])


def _pulled_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _all_matches(base: Path, patterns: tuple[str, ...]) -> list[Path]:
    return sorted({path for pattern in patterns for path in _matches(base, pattern)})


def _matches(base: Path, pattern: str) -> list[Path]:
    """The files that match a path or glob, without hidden files and folders."""
    path = Path(pattern).expanduser()
    parts = path.relative_to(path.anchor).parts
    fixed = list(takewhile(lambda part: not WILD & set(part), parts[:-1]))
    folder = (base / path.anchor).joinpath(*fixed)
    return find_files(folder, [str(Path(*parts[len(fixed) :]))]) if folder.is_dir() else []


def read_specs(path: Path, taken: Container[str] = ()) -> dict[str, DatasetSpec]:
    """The data sets of a file, by name; empty if the file is empty. Raises ConfigurationError in one line.

    taken: the names of the project's data sets. The file is read again only when it has changed.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be read: {error.strerror}; TRADEWIND_DATASETS names the file with your data sets"
        ) from None
    specs = _read_specs(path.resolve(), status.st_mtime_ns, status.st_size)
    for name in specs:
        if name in taken:
            raise ConfigurationError(f"{path}: got {name!r}, which is a data set of the project; choose another name")
    return dict(specs)


@lru_cache(maxsize=4)
def _read_specs(path: Path, changed: int, size: int) -> dict[str, DatasetSpec]:
    return {name: _spec(name, content, path) for name, content in _entries(path).items()}


BOOLEAN = "tag:yaml.org,2002:bool"


class _Loader(yaml.SafeLoader):
    """A YAML loader that rejects repeated keys and reads only true and false as booleans: a column may be named no."""

    yaml_implicit_resolvers = {
        first: [(tag, found) for tag, found in resolvers if tag != BOOLEAN]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.YAMLError(f"{key!r} occurs twice, line {node.start_mark.line + 1} and below")
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(BOOLEAN, re.compile("true|True|TRUE|false|False|FALSE"), list("tTfF"))


def _entries(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}; save it as UTF-8 text") from None
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path} is not YAML: {' '.join(str(error).split())}; fix it") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path}: got a {type(content).__name__}; allowed: NAME: and its settings; fix it")
    return content


def _spec(name: object, content: object, path: Path) -> CustomDatasetSpec:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ConfigurationError(f"{path}: got the name {name!r}; allowed: small letters, digits and _; rename it")
    try:
        entry = Entry.model_validate(content)
    except ValidationError as error:
        raise ConfigurationError(f"{path}: {_first_problem(name, error)}") from None
    protocol = entry.protocol
    return CustomDatasetSpec(
        name=name,
        title=entry.title or name,
        licence=entry.licence,
        layout=_layout(name, entry, path),
        files=tuple(pattern for table in entry.tables.values() for pattern in table.files),
        protocol=Protocol(
            protocol.split, protocol.test_days, protocol.repeat, entry.relevant_events, protocol.candidates
        ),
        folder=path.parent,
        max_quarantined=entry.max_quarantined,
        attributes={
            name: {attribute: source.type for attribute, source in table.attributes.items()}
            for name, table in entry.tables.items()
        },
        feedback=entry.feedback,
        feedback_names=entry.feedback_names,
        entry=entry,
        config=path,
    )


def _layout(name: str, entry: Entry, path: Path) -> str:
    """The files that --source expects, for error messages."""
    pulled = [name for name, table in entry.tables.items() if table.pulled]
    if pulled:
        return f"nothing: {', '.join(pulled)} {'is' if len(pulled) == 1 else 'are'} pulled as configured in {path.name}"
    wanted = ", ".join(pattern for table in entry.tables.values() for pattern in table.files)
    return f"nothing, or a folder with {wanted} that replaces the folder of {path.name}"


def _first_problem(name: str, error: ValidationError) -> str:
    """The first problem in one line: key, got, allowed. A URL may contain a secret, so its value is not shown."""
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
