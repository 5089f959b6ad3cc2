"""One column of a custom data set: the source of its values, their units, and the rules for them."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import duckdb
import pyarrow as pa
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from recommenders.datasets.reading.lines import text_literal
from recommenders.storage import schema

STRICT = ConfigDict(frozen=True, extra="forbid")
EPOCHS = {
    "seconds": 1_000_000,
    "milliseconds": 1_000,
    "microseconds": 1,
}  # unit of time since 1970 -> microseconds per unit
SCALES = {"cents": 0.01, "dozens": 12.0, "thousands": 1000.0}
RESERVED = ("file", "line", "raw", "broken")  # columns that Reading adds

# Default texts that mean a missing value; an entry can set others. An empty text always means a missing value.
NULLS = (
    "-",
    "--",
    "\u2013",
    "\u2014",
    "NULL",
    "Null",
    "null",
    "\\N",
    "N/A",
    "n/a",
    "#N/A",
    "NaN",
    "nan",
    "NAN",
    "<NA>",
    "None",
)
NULL_NUMBERS = (
    *NULLS,
    "NA",
    "na",
    "N.A.",
    "n.a.",
    "none",
)  # for numbers and times; in text NA can also be North America


def _as_texts(given: Any) -> Any:
    """Null markers as texts; a number is used as written. YAML reads a bare NULL as no value, which is an error."""
    many = given if isinstance(given, list | tuple) else (given,)
    if any(one is None or isinstance(one, bool) for one in many):
        raise ValueError("got a value without quotes that is not a text in YAML; allowed: texts, such as ['NULL', '-']")
    return tuple(str(one) if isinstance(one, int | float) else one for one in many)


Decimal = Literal[".", ","]
Nulls = Annotated[tuple[str, ...], BeforeValidator(_as_texts)]


def as_column(given: Any) -> Any:
    """A column's settings; a name alone is short for {column: name}."""
    if not isinstance(given, str | dict):
        raise ValueError(f"got {given!r}; allowed: a source column, in quotes if it is a number, or {{column: ...}}")
    return {"column": given} if isinstance(given, str) else given


class Column(BaseModel):
    """The source of one of our columns: a column of the user's table, or the same value for all rows."""

    model_config = STRICT

    column: str | None = None
    value: str | int | float | None = None
    scale: float | None = Field(default=None, gt=0, allow_inf_nan=False)  # our value = source value x scale
    unit: Literal["seconds", "milliseconds", "microseconds", "cents", "dozens", "thousands"] | None = None
    format: str | None = None  # strptime format of a time; default: ISO 8601
    decimal: Decimal | None = None  # decimal sign of a number written as text; default: the table's
    nulls: Nulls | None = None  # texts that mean a missing value; default: the table's
    total: bool = False  # the unit price is given as the line total, which is divided by the quantity

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        if (self.column is None) == (self.value is None):
            raise ValueError("needs either column (a source column) or value (the same for all rows)")
        if sum(given is not None for given in (self.scale, self.unit, self.format)) > 1:
            raise ValueError("takes only one of scale, unit and format")
        if self.column is None and (self.decimal or self.nulls is not None or self.total):
            raise ValueError("decimal, nulls and total need a source column; leave them out")
        if self.column is not None and ('"' in self.column or self.column.casefold() in RESERVED):
            taken = ", ".join(RESERVED)
            raise ValueError(
                f"column: got {self.column!r}; allowed: a name without '\"' and none of {taken}; rename it"
            )
        return self

    def check(self, type_: pa.DataType) -> None:
        """Raises ValueError if scale, unit, format or decimal do not apply to a column of this type."""
        if (self.scale is not None or self.unit in SCALES) and type_ != pa.float64():
            raise ValueError("scale and unit are for numbers; leave them out")
        if (self.format is not None or self.unit in EPOCHS) and type_ != schema.TIME:
            raise ValueError("format and unit are for times; leave them out")
        if self.decimal is not None and type_ != pa.float64():
            raise ValueError("decimal is for numbers; leave it out")
        if self.format is not None:
            _check_format(self.format)


TYPES = {"text": pa.string(), "number": pa.float64(), "boolean": pa.bool_()}  # of free attributes


class Attribute(Column):
    """The source of a free attribute: one that the table has no column for."""

    type: Literal["text", "number", "boolean"] = "text"


def _check_format(format_: str) -> None:
    with duckdb.connect() as engine:
        try:
            engine.execute(f"select try_strptime('', {text_literal(format_)})")
        except duckdb.InvalidInputException:
            raise ValueError(f"format: got {format_!r}; allowed: strptime's, such as '%d.%m.%Y %H:%M'") from None


class Range(BaseModel):
    """The allowed range of a number; rows outside it are quarantined or, if `otherwise` is set_aside, excluded."""

    model_config = STRICT

    above: float | None = None
    at_least: float | None = None
    below: float | None = None
    at_most: float | None = None
    otherwise: Literal["quarantine", "set_aside"] = "quarantine"

    @property
    def bounds(self) -> dict[str, tuple[str, float]]:
        """Bound in words -> (SQL operator of an allowed value, bound)."""
        operators = {"above": ">", "at_least": ">=", "below": "<", "at_most": "<="}
        given = {name: getattr(self, name) for name in operators}
        return {n.replace("_", " "): (operators[n], bound) for n, bound in given.items() if bound is not None}


RULES: Mapping[str, Range] = {  # defaults; an entry can set others
    "quantity": Range(above=0),
    **dict.fromkeys(("unit_price", "price", "annual_revenue", "credit_limit"), Range(at_least=0)),
}
