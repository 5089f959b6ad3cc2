"""Conditions on attributes, as JSON: the filters of a request. All of them must hold.

    {"category": "Tools", "brand": ["A", "B"], "price": {"min": 5, "max": 20}, "colour": {"not": ["red"]}}

A missing value meets no condition, not even `not`: who asks for items that are not red gets none of unknown colour.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.steering.catalogue.attributes import AttributeTable, Column, Kind, Value
from serving.web.validation import MAX_FAULTS, InvalidRequestError, display_value, invalid

MAX_VALUES = 1000  # of one condition
KEYS = {"text": ("not",), "boolean": ("not",), "number": ("min", "max", "not")}  # of an object, by kind
ONE = {"text": "a text", "number": "a number", "boolean": "true or false"}
A = {"text": "a text", "number": "a number", "boolean": "a boolean"}
ALLOWED = {
    "text": f'a text, a list of 1 to {MAX_VALUES} texts, or {{"not": ...}} with either',
    "number": f'a number, a list of 1 to {MAX_VALUES} numbers, or an object of "min", "max" and "not"',
    "boolean": 'true, false, or {"not": ...} with either',
}


@dataclass(frozen=True)
class Condition:
    """What the value of one attribute must be. It can be the key of a cache."""

    attribute: str
    values: tuple[Value, ...] | None  # one of these; None: any
    excluded: tuple[Value, ...]  # and none of these
    low: float  # and, of a number, in this range, both ends included
    high: float

    def met(self, column: Column, rows: NDArray[np.int32]) -> NDArray[np.bool_]:
        """(n,) which rows of the column meet the condition; none where the row is -1 or the value is missing."""
        found = column.take(rows)
        met = ~np.isnan(found) if column.kind == "number" else found >= 0
        if self.values is not None:
            met &= _is_one_of(found, column, self.values)
        if self.excluded:
            met &= ~_is_one_of(found, column, self.excluded)
        if column.kind == "number":
            met &= (found >= self.low) & (found <= self.high)
        return np.asarray(met)


def _is_one_of(found: NDArray[Any], column: Column, values: Sequence[Value]) -> NDArray[np.bool_]:
    """Values of a column, as stored, that are one of the values; a text that no row has is no place."""
    stored = [column.texts.place(str(value)) for value in values] if column.kind == "text" else list(values)
    return np.isin(found, np.array([value for value in stored if value != -1 or column.kind == "number"], found.dtype))


def meet(conditions: Sequence[Condition], table: AttributeTable, rows: NDArray[np.int32]) -> NDArray[np.bool_]:
    """(n,) which rows of a table of items or users meet all conditions; rows of -1 do not."""
    met = rows >= 0
    for condition in conditions:
        met &= condition.met(table.columns[condition.attribute], rows)
    return np.asarray(met)


def read_conditions(given: Mapping[str, object], kinds: Mapping[str, Kind], place: str) -> tuple[Condition, ...]:
    """The conditions of a JSON object: attribute -> value, list of values, or object. They are sorted by attribute.

    kinds: of the attributes that there are. place: of the object, for errors. Raises InvalidRequestError.
    """
    found: list[Condition] = []
    faults: list[dict[str, str]] = []
    for name, content in sorted(given.items()):
        if len(faults) >= MAX_FAULTS:
            break
        where = f"{place}.{name[:64]}"
        if name not in kinds:
            faults.append(fault(where, content, only(name, kinds)))
            continue
        try:
            found.append(_read(name, content, kinds[name], where))
        except InvalidRequestError as error:
            faults += error.details
    if faults:
        raise invalid(faults)
    return tuple(found)


def fault(where: str, got: object, allowed: str) -> dict[str, str]:
    """One entry of the details of an error."""
    return {"field": where, "got": display_value(got), "allowed": allowed}


def only(got: str, names: Mapping[str, Kind]) -> str:
    """What is allowed in place of a wrong name: all names, and the most similar one."""
    nearest = get_close_matches(got, names, n=1)
    return f"only {', '.join(sorted(names))}" + (f"; did you mean {nearest[0]}?" if nearest else "")


def _read(name: str, content: object, kind: Kind, where: str) -> Condition:
    if not isinstance(content, dict):
        return Condition(name, _values(content, kind, where, ALLOWED[kind]), (), -math.inf, math.inf)
    if not content:
        raise invalid([fault(where, content, ALLOWED[kind])])
    if unknown := [key for key in content if key not in KEYS[kind]]:
        keys = f"only {', '.join(KEYS[kind])}, because {name} is {A[kind]}"
        raise invalid([fault(f"{where}.{unknown[0][:64]}", content[unknown[0]], keys)])
    ends = {end: _number(content[end], f"{where}.{end}") for end in ("min", "max") if end in content}
    low, high = ends.get("min", -math.inf), ends.get("max", math.inf)
    if low > high:
        raise invalid([fault(where, f"min {low:g}, max {high:g}", "a min that is not above max")])
    either = f"{ONE[kind]}, or a list of 1 to {MAX_VALUES} of them"
    excluded = _values(content["not"], kind, f"{where}.not", either) if "not" in content else ()
    return Condition(name, None, excluded, low, high)


def _values(content: object, kind: Kind, where: str, allowed: str) -> tuple[Value, ...]:
    """One value or a list of them, distinct and sorted. allowed: for the error if it is neither."""
    if not isinstance(content, list):
        if not CHECKS[kind](content):
            raise invalid([fault(where, content, allowed)])
        return (content,)  # type: ignore[return-value]
    if not 1 <= len(content) <= MAX_VALUES:
        raise invalid([fault(where, content, allowed)])
    if wrong := [n for n, value in enumerate(content) if not CHECKS[kind](value)]:
        raise invalid([fault(f"{where}[{wrong[0]}]", content[wrong[0]], ONE[kind])])
    return tuple(sorted(set(content)))


def _number(content: object, where: str) -> float:
    if not _is_number(content):
        raise invalid([fault(where, content, ONE["number"])])
    return float(content)  # type: ignore[arg-type]


def _is_number(value: object) -> bool:
    """Whether it is a number that a float can be; nan and infinity are none in JSON."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


CHECKS: Mapping[Kind, Callable[[object], bool]] = {
    "text": lambda value: isinstance(value, str),
    "number": _is_number,
    "boolean": lambda value: isinstance(value, bool),
}
