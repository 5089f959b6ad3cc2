"""One table of a custom data set: its files or query, and the mapping of its columns (docs/custom-data.md)."""

import codecs
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pyarrow as pa
from pydantic import BaseModel, BeforeValidator, Field, model_validator

from recommenders.datasets.custom.columns import (
    RULES,
    STRICT,
    TYPES,
    Attribute,
    Column,
    Decimal,
    Nulls,
    Range,
    as_column,
)
from recommenders.storage import schema

FORMATS = {
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
    ".xlsx": "xlsx",
}  # any other suffix: CSV
SCHEMES = ("s3", "gs", "file")  # of object stores
TABLES: Mapping[str, pa.Schema] = {  # what an entry may give
    "interactions": schema.INTERACTIONS,
    "items": schema.ITEMS.append(pa.field("successor", pa.string())),  # custom.successors
    "users": schema.USERS,
}
REQUIRED = {"interactions": ("user_id", "item_id", "timestamp"), "items": ("item_id",), "users": ("user_id",)}
NO_DELIMITER = '"\n\r\0'  # characters with another meaning in a CSV file
# never read from one source column
COMPUTED_COLUMNS = ("weight", "returned_quantity", "returned_at", "attributes", "predecessors")
ATTRIBUTE = "attributes."  # before the name of a free attribute, which may otherwise be that of any column
ATTRIBUTE_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


def _as_list(given: Any) -> Any:
    return (given,) if isinstance(given, str) else given


Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_as_list)]


def _check_path(pattern: str) -> None:
    """Raises ValueError if a path or glob can never match a file."""
    try:
        path = Path(pattern).expanduser()
    except RuntimeError:
        raise ValueError(f"files: got {pattern!r}, whose home folder is unknown; allowed: a path without ~") from None
    parts = path.relative_to(path.anchor).parts
    if not parts:
        raise ValueError(f"files: got {pattern!r}, which is a folder; allowed: its files, such as orders/*.csv")
    if any("**" in part and part != "**" for part in parts):
        raise ValueError(f"files: got {pattern!r}; allowed: ** as a whole part of the path, such as **/*.csv")


class Table(BaseModel):
    """One table of the user: its files or query, and the mapping of its columns."""

    model_config = STRICT

    files: Names = ()  # paths, globs, or URLs of an object store
    query: str | None = None  # SQL query on the entry's database
    format: Literal["csv", "json", "parquet", "xlsx"] | None = None  # default: from the file name's suffix
    sheet: str | None = Field(default=None, min_length=1)  # sheet of a workbook; default: the first
    delimiter: str | None = Field(default=None, min_length=1)
    encoding: str | None = None
    decimal: Decimal | None = None  # None: a point; thousands separators are read only if the number is unambiguous
    nulls: Nulls | None = None  # texts that mean a missing value; default: columns.NULLS
    columns: dict[str, Annotated[Column, BeforeValidator(as_column)]]
    attributes: dict[str, Annotated[Attribute, BeforeValidator(as_column)]] = {}  # free ones, of items and users
    rules: dict[str, Range] = {}

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if bool(self.files) == (self.query is not None):
            raise ValueError("needs either files (a path, glob or URL) or query (of the entry's sql)")
        urls = [file for file in self.files if "://" in file]
        if any(url.split("://")[0] not in SCHEMES for url in urls):
            raise ValueError(f"files: got another scheme; allowed: a path, or {', '.join(f'{s}://' for s in SCHEMES)}")
        if urls and len(urls) < len(self.files):
            raise ValueError("files: got paths and URLs; allowed: only one kind; split them into two data sets")
        for pattern in self.files if not urls else ():
            _check_path(pattern)
        return self

    @model_validator(mode="after")
    def _text_as_csv_only(self) -> Self:
        if self.kind != "csv" and (self.delimiter or self.encoding or self.decimal):
            raise ValueError(f"delimiter, encoding and decimal are for CSV files; this is {self.kind}; leave them out")
        if self.kind != "xlsx" and self.sheet:
            raise ValueError(f"sheet is for .xlsx files; this is {self.kind}; leave it out")
        if self.delimiter is not None and (len(self.delimiter) > 1 or self.delimiter in NO_DELIMITER):
            raise ValueError(f"delimiter: got {self.delimiter!r}; allowed: one character, no quote or line end")
        try:
            plain = "\n".encode(self.encoding or "utf-8") == b"\n"
        except LookupError:
            plain = False
        if not plain:
            raise ValueError(f"encoding: got {self.encoding!r}; allowed: utf-8, latin-1, cp1252 and such; not UTF-16")
        return self

    @model_validator(mode="after")
    def _one_role_a_column(self) -> Self:
        roles: dict[str, str] = {}
        for role, column in self.sources.items():
            source = (column.column or "").casefold()
            if source and source in roles:
                raise ValueError(f"{_key(role)}: got {column.column!r}, which is {roles[source]} already; choose one")
            roles[source] = role
        return self

    @property
    def sources(self) -> dict[str, Column]:
        """Our column, or ATTRIBUTE and the name of a free attribute -> its source."""
        return {**self.columns, **{f"{ATTRIBUTE}{name}": source for name, source in self.attributes.items()}}

    def type_of(self, role: str) -> pa.DataType:
        """The type of one of the sources."""
        if role.startswith(ATTRIBUTE):
            return TYPES[self.attributes[role.removeprefix(ATTRIBUTE)].type]
        return next(fields.field(role).type for fields in TABLES.values() if role in fields.names)

    @property
    def pulled(self) -> bool:
        """Whether the table is remote and is copied before it is read."""
        return self.query is not None or "://" in self.files[0]

    @property
    def kind(self) -> str:
        """csv, json, parquet or xlsx."""
        if self.query is not None:
            return "parquet"
        return self.format or FORMATS.get(self._end, "csv")

    @property
    def _end(self) -> str:
        """The suffix of the first file's name, without .gz or a final wildcard, as in *.jsonl*."""
        name = self.files[0].partition("?")[0] if self.pulled else self.files[0]
        return Path(name.removesuffix(".gz").rstrip("*?.")).suffix

    @property
    def separator(self) -> str:
        """The delimiter between two fields of a CSV file."""
        return self.delimiter or ("\t" if self._end == ".tsv" else ",")

    @property
    def codec(self) -> str:
        """The encoding's Python name."""
        return codecs.lookup(self.encoding or "utf-8").name

    def ranges(self) -> dict[str, Range]:
        """The rules of the columns and attributes that the table has."""
        usual = {role: rule for role, rule in RULES.items() if role in self.columns}
        return usual | {self._role(name): rule for name, rule in self.rules.items()}

    def _role(self, name: str) -> str:
        """The source that a rule is for."""
        return f"{ATTRIBUTE}{name}" if name in self.attributes else name

    def check(self, name: str) -> None:
        """Raises ValueError if a column, attribute or rule is not allowed in this table."""
        types = {field.name: field.type for field in TABLES[name] if field.name not in COMPUTED_COLUMNS}
        allowed = ", ".join(types)
        if missing := [role for role in REQUIRED[name] if role not in self.columns]:
            raise ValueError(f"{name}.columns: lacks {', '.join(missing)}; allowed: {allowed}")
        if unknown := [role for role in self.columns if role not in types]:
            raise ValueError(f"{name}.columns: got {unknown[0]!r}; allowed: {allowed}")
        self._check_attributes(name, allowed)
        for role, column in self.sources.items():
            if role in REQUIRED[name] and column.column is None:
                raise ValueError(f"{name}.columns.{role}: got one value for all rows; allowed: a source column")
            try:
                column.check(self.type_of(role))
            except ValueError as error:
                raise ValueError(f"{name}.{_key(role)}: {error}") from None
            if column.total and (role != "unit_price" or "quantity" not in self.columns):
                raise ValueError(f"{name}.{_key(role)}.total: allowed: for unit_price, if there is a quantity")
        numbers = [role for role in self.sources if self.type_of(role) == pa.float64()]
        for role, rule in self.rules.items():
            if self._role(role) not in numbers or not rule.bounds:
                listed = ", ".join(r.removeprefix(ATTRIBUTE) for r in numbers) or "no column is a number"
                raise ValueError(f"{name}.rules.{role}: is not a bound of a number column; allowed: {listed}")
            if rule.otherwise == "set_aside" and name != "interactions":
                raise ValueError(f"{name}.rules.{role}.otherwise: got set_aside; allowed: quarantine")

    def _check_attributes(self, name: str, columns: str) -> None:
        if self.attributes and name == "interactions":
            raise ValueError(f"{name}.attributes: got {', '.join(self.attributes)}; allowed: in items and users")
        for attribute in self.attributes:
            if attribute in columns.split(", ") or not ATTRIBUTE_NAME.fullmatch(attribute):
                rule = "small letters, digits and _, and none of the columns"
                raise ValueError(f"{name}.attributes: got {attribute!r}; allowed: {rule} {columns}")


def _key(role: str) -> str:
    """The place of a source in a table's entry."""
    return role if role.startswith(ATTRIBUTE) else f"columns.{role}"
