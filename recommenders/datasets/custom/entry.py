"""Custom data sets: one entry of a YAML file each, validated by a typed configuration (docs/custom-data.md)."""

import json
from typing import Annotated, Literal, Self

import duckdb
from pydantic import BaseModel, Field, model_validator

from recommenders.datasets.custom.columns import STRICT, Column
from recommenders.datasets.custom.table import TABLES, Table
from recommenders.datasets.reading.counted_feedback import check_weights

DATABASES = ("sqlite", "postgresql", "mysql", "mariadb", "duckdb")
# keys that do not change the tables of the source
NOT_OF_THE_TABLES = {"title", "licence", "sql", "protocol", "max_quarantined", "feedback", "feedback_names"}


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
        settings = self.model_dump(exclude=NOT_OF_THE_TABLES)
        for name, table in self.tables.items():
            if not table.attributes:  # the data version of an entry without them is that of before there were any
                del settings[name]["attributes"]
        return json.dumps(settings)

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
