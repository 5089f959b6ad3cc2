"""Custom data sets: one entry of a YAML file each, validated by a typed configuration (docs/custom-data.md)."""

import codecs
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import duckdb
import pyarrow as pa
from pydantic import BaseModel, BeforeValidator, Field, model_validator

from recommenders.datasets.custom.columns import RULES, STRICT, Column, Decimal, Nulls, Range, as_column
from recommenders.datasets.reading.feedback import check_weights
from recommenders.storage import schema

FORMATS = {
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
    ".xlsx": "xlsx",
}  # any other suffix: CSV
SCHEMES = ("s3", "gs", "file")  # of object stores
DATABASES = ("sqlite", "postgresql", "mysql", "mariadb", "duckdb")
TABLES: Mapping[str, pa.Schema] = {
    "interactions": schema.INTERACTIONS,
    "items": schema.ITEMS,
    "users": schema.USERS,
}
REQUIRED = {"interactions": ("user_id", "item_id", "timestamp"), "items": ("item_id",), "users": ("user_id",)}
NO_DELIMITER = '"\n\r\0'  # characters with another meaning in a CSV file
# keys that do not change the tables of the source
NOT_OF_THE_TABLES = {"title", "licence", "sql", "protocol", "max_quarantined", "feedback", "feedback_names"}
COMPUTED_COLUMNS = ("weight", "returned_quantity", "returned_at")  # columns that are never read from a source


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
        for role, column in self.columns.items():
            source = (column.column or "").casefold()
            if source and source in roles:
                raise ValueError(f"columns.{role}: got {column.column!r}, which is {roles[source]} already; choose one")
            roles[source] = role
        return self

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
        """The rules of the columns that the table has."""
        return {role: rule for role, rule in {**RULES, **self.rules}.items() if role in self.columns}

    def check(self, name: str) -> None:
        """Raises ValueError if a column or rule is not allowed in this table."""
        types = {field.name: field.type for field in TABLES[name] if field.name not in COMPUTED_COLUMNS}
        allowed = ", ".join(types)
        if missing := [role for role in REQUIRED[name] if role not in self.columns]:
            raise ValueError(f"{name}.columns: lacks {', '.join(missing)}; allowed: {allowed}")
        for role, column in self.columns.items():
            if role not in types:
                raise ValueError(f"{name}.columns: got {role!r}; allowed: {allowed}")
            if role in REQUIRED[name] and column.column is None:
                raise ValueError(f"{name}.columns.{role}: got one value for all rows; allowed: a source column")
            try:
                column.check(types[role])
            except ValueError as error:
                raise ValueError(f"{name}.columns.{role}: {error}") from None
            if column.total and (role != "unit_price" or "quantity" not in self.columns):
                raise ValueError(f"{name}.columns.{role}.total: allowed: for unit_price, if there is a quantity")
        for role, rule in self.rules.items():
            if role not in self.columns or types[role] != pa.float64() or not rule.bounds:
                numbers = ", ".join(r for r in self.columns if types[r] == pa.float64()) or "no column is a number"
                raise ValueError(f"{name}.rules.{role}: is not a bound of a number column; allowed: {numbers}")
            if rule.otherwise == "set_aside" and name != "interactions":
                raise ValueError(f"{name}.rules.{role}.otherwise: got set_aside; allowed: quarantine")


class Sql(BaseModel):
    """A database; ${NAME} in the URL is replaced by an environment variable."""

    model_config = STRICT

    url: str

    @model_validator(mode="after")
    def _known(self) -> Self:
        scheme = self.url.split("://")[0].split("+")[0]
        if scheme in DATABASES or ("://" not in self.url and self.url.startswith("${")):
            return self
        raise ValueError(
            f"url: got another scheme; allowed: {', '.join(f'{name}://' for name in DATABASES)}, ${{NAME}}"
        )


class ProtocolConfig(BaseModel):
    """How the data set is split and evaluated (docs/protocols.md)."""

    model_config = STRICT

    split: Literal["time_cut", "latest_out"] = "time_cut"
    test_days: int = Field(default=30, ge=1)
    repeat: bool = True
    relevant_events: tuple[str, ...] = ()  # default: purchase, or the only event
    candidates: Literal["on_sale", "seen_before_cut"] = "seen_before_cut"


class Entry(BaseModel):
    """One data set of the file."""

    model_config = STRICT

    title: str | None = Field(default=None, min_length=1)  # default: the entry's name
    licence: str = "the owner's"
    time_zone: str = "UTC"  # time zone of times without one
    sql: Sql | None = None
    interactions: Table
    items: Table | None = None
    users: Table | None = None
    events: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = {"purchase": 1.0}  # event -> weight
    feedback: dict[
        str, float
    ] = {}  # kind of feedback event -> weight; empty: the data set does not learn from feedback
    feedback_names: dict[str, str] = {}  # kind of feedback event -> one of `events`, if its name differs
    other_events: Literal["quarantine", "set_aside"] = "quarantine"
    unknown_items: Literal["keep", "quarantine"] = "keep"
    unknown_users: Literal["keep", "quarantine"] = "keep"
    protocol: ProtocolConfig = ProtocolConfig()
    max_quarantined: float = Field(default=0.05, ge=0, le=1)  # largest allowed share of quarantined rows

    @property
    def tables(self) -> dict[str, Table]:
        """The tables of the entry, by name."""
        return {name: getattr(self, name) for name in TABLES if getattr(self, name) is not None}

    @property
    def relevant_events(self) -> tuple[str, ...]:
        """The events that count as relevant."""
        return self.protocol.relevant_events or (("purchase",) if "purchase" in self.events else tuple(self.events))

    def table_settings(self) -> str:
        """The settings that affect the tables, as JSON: with other settings, the same files give other tables."""
        return json.dumps(self.model_dump(exclude=NOT_OF_THE_TABLES))

    @model_validator(mode="after")
    def _tables_fit(self) -> Self:
        for name, table in self.tables.items():
            table.check(name)
            if table.query is not None and self.sql is None:
                raise ValueError(f"{name}.query: needs a database; add sql: {{url: ...}} to the entry")
        for name in ("items", "users"):
            if getattr(self, f"unknown_{name}") == "quarantine" and name not in self.tables:
                raise ValueError(f"unknown_{name}: got quarantine; allowed without the table {name}: keep")
        dates = set(self.items.columns) & {"available_from", "available_until"} if self.items else set()
        if self.protocol.candidates == "on_sale" and not dates:
            raise ValueError("protocol.candidates: got on_sale; needs items.columns.available_from or available_until")
        return self

    @model_validator(mode="after")
    def _events_fit(self) -> Self:
        listed = ", ".join(self.events)
        constant = self.interactions.columns.get("event", Column(value="purchase")).value
        if constant is not None and str(constant) not in self.events:
            raise ValueError(f"events: lacks {str(constant)!r}, the event of all rows; got {listed or 'none'}; add it")
        if unknown := [event for event in self.protocol.relevant_events if event not in self.events]:
            raise ValueError(f"protocol.relevant_events: got {', '.join(unknown)}; allowed: {listed}")
        if not self.protocol.relevant_events and "purchase" not in self.events and len(self.events) > 1:
            raise ValueError(f"protocol.relevant_events: is required for several events; allowed: {listed}")
        return self

    @model_validator(mode="after")
    def _feedback_fits(self) -> Self:
        listed = ", ".join(self.events)
        try:
            check_weights(self.feedback)
        except ValueError as error:
            raise ValueError(f"feedback: {error}") from None
        for kind, event in self.feedback_names.items():
            if kind not in self.feedback:
                raise ValueError(f"feedback_names: got {kind!r}; allowed: {', '.join(self.feedback) or 'none'}; fix it")
            if event not in self.events:
                raise ValueError(f"feedback_names.{kind}: got {event!r}; allowed: {listed}; fix it")
        if "purchase" in self.feedback and self.feedback_names.get("purchase", "purchase") not in self.events:
            example = next(iter(self.events), "order")
            raise ValueError(
                f"feedback.purchase: would not count in the evaluation, as events has no purchase; allowed: {listed}; "
                f"add feedback_names: {{purchase: {example}}}, or purchase to events"
            )
        return self

    @model_validator(mode="after")
    def _zone_is_known(self) -> Self:
        with duckdb.connect() as engine:
            if engine.execute("select 1 from pg_timezone_names() where name = ?", [self.time_zone]).fetchone():
                return self
        raise ValueError(f"time_zone: got {self.time_zone!r}; allowed: an IANA name such as Europe/Berlin")
