"""Conditions in CEL, the Common Expression Language: types are checked when a file is read, not when a list is made.

Each attribute is a variable of its own, `item.price` or `user.segment`, so a wrong name or type is an error of the
expression. A missing value is a variable without a value: an expression that needs it is neither true nor false.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any

import numpy as np
from cel_expr_python import cel
from numpy.typing import NDArray

from serving.steering.catalogue.attributes import AttributeTable, Column, Kind, Value
from serving.steering.rules.model import RulesError

TYPES: Mapping[Kind, Any] = {"text": cel.Type.STRING, "number": cel.Type.DOUBLE, "boolean": cel.Type.BOOL}
REQUEST = {"request.scene": cel.Type.STRING, "request.n": cel.Type.INT, "now": cel.Type.TIMESTAMP}
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
UNDECLARED = re.compile(r"undeclared reference to '([^']*)'")


def variables(part: str, kinds: Mapping[str, Kind]) -> dict[str, Any]:
    """The variables of `item` or `user`: attributes, `id`, and `known`, the names of the attributes with a value."""
    found = {f"{part}.{name}": TYPES[kind] for name, kind in kinds.items() if NAME.fullmatch(name)}
    return found | {f"{part}.id": cel.Type.STRING, f"{part}.known": cel.Type.List(cel.Type.STRING)}


def compiler(known: Mapping[str, Any]) -> Callable[[str], Any]:
    """A function that compiles a text with these variables. It raises RulesError, without the place in the file."""
    environment = cel.NewEnv(variables=dict(known))

    def compile_(text: str) -> Any:
        try:
            compiled = environment.compile(text)
        except RuntimeError as error:  # the one class that the binding raises
            raise RulesError(f"got {text!r}; {_cause(str(error), known)}") from error
        if compiled.return_type() != cel.Type.BOOL:
            kind = compiled.return_type().name().lower()
            raise RulesError(f"got {text!r}, which is a {kind}; allowed: an expression that is true or false")
        return compiled

    return compile_


def _cause(message: str, known: Mapping[str, Any]) -> str:
    """The binding's message in one line, with what is allowed."""
    first = re.sub(r"^\w+: ERROR: <input>:", "at ", message.split("\n", 1)[0])
    if found := UNDECLARED.search(message):
        nearest = get_close_matches(found[1], known, n=1)
        guess = f"; did you mean {nearest[0]}?" if nearest else ""
        return f"{found[1]} is not known; allowed: {', '.join(sorted(known))}{guess}"
    if "double, int" in message or "int, double" in message:
        return f"{first}; allowed: numbers with a decimal point, as 20.0"
    return f"{first}; allowed: an expression of CEL (docs/steer.md)"


def holds(compiled: Any, values: Mapping[str, Any]) -> bool | None:
    """Whether an expression is true for these values; None if it needs one that is missing, or fails."""
    found = compiled.eval(data=dict(values))
    return bool(found.value()) if found.type() == cel.Type.BOOL else None


def mentioned(text: str, names: Mapping[str, Any]) -> tuple[str, ...]:
    """The attributes that an expression may use, and "id": those whose name is a word of it."""
    words = set(NAME.findall(text))
    return tuple(sorted(name for name in {*names, "id"} if name in words))


def uses_user(text: str) -> bool:
    """Whether an expression may use attributes of the user."""
    return "user" in NAME.findall(text)


def request_values(scene: str, n: int, clock: int) -> dict[str, Any]:
    """The variables of a request. clock: in microseconds since 1970, UTC."""
    return {"request.scene": scene, "request.n": n, "now": datetime.fromtimestamp(clock / 1e6, UTC)}


def row_values(part: str, table: AttributeTable, row: int, id_: str, names: tuple[str, ...]) -> dict[str, Any]:
    """The values of one row; row -1 has none but its id. names: of attributes, and "id" for the id."""
    found: dict[str, Value | None] = {name: table.columns[name].value(row) for name in names if name != "id"}
    return _named(part, found) | ({f"{part}.id": id_} if "id" in names else {})


@dataclass(frozen=True, eq=False)
class ItemTable:
    """The items of a model with their attributes.

    rows: item column -> row of the catalogue, -1 if it lacks the item. ids: by item column.
    """

    table: AttributeTable
    rows: NDArray[np.int32]
    ids: NDArray[Any]

    def matching(self, compiled: Any, text: str, given: Mapping[str, Any]) -> tuple[NDArray[np.bool_], int]:
        """(n_items,) the items for which an expression is true, and for how many it is neither true nor false.

        given: the variables of the user. It is evaluated once for each combination of values that the items have.
        """
        names = mentioned(text, self.table.columns)
        if "id" in names:
            groups, first = np.arange(len(self.ids)), np.arange(len(self.ids))
        else:
            groups, first = self._groups(names)
        found = np.zeros(len(first), np.int8)
        columns = {name: self.table.columns[name] for name in names if name != "id"}
        for place, item in enumerate(first.tolist()):
            values = {name: column.value(int(self.rows[item])) for name, column in columns.items()}
            true = holds(compiled, {**given, **_named("item", values), "item.id": str(self.ids[item])})
            found[place] = -1 if true is None else true
        each = found[groups]
        return np.asarray(each == 1), int((each == -1).sum())

    def _groups(self, names: tuple[str, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(n_items,) the number of each item's combination of values, and one item of each combination."""
        groups = np.zeros(len(self.rows), np.int64)
        for name in names:
            codes = codes_of(self.table.columns[name], self.rows) + 1
            groups = np.unique(groups * (int(codes.max(initial=0)) + 1) + codes, return_inverse=True)[1]
        first = np.unique(groups, return_index=True)[1]
        return groups, first


def codes_of(column: Column, rows: NDArray[np.int32]) -> NDArray[np.int64]:
    """(n,) whole numbers, equal where the values are; -1 where there is none."""
    values = column.take(rows)
    if column.kind != "number":
        return values.astype(np.int64)
    codes = np.unique(values, return_inverse=True)[1].astype(np.int64)
    codes[np.isnan(values)] = -1
    return codes


def _named(part: str, values: Mapping[str, Value | None]) -> dict[str, Any]:
    present = {name: value for name, value in values.items() if value is not None}
    return {**{f"{part}.{name}": value for name, value in present.items()}, f"{part}.known": list(present)}
