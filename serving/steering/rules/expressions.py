"""Conditions in CEL, the Common Expression Language: types are checked when a file is read, not when a list is made.

Each attribute is a variable of its own, `item.price` or `user.segment`, so a wrong name or type is an error of the
expression. A missing value is a variable without a value: an expression that needs it is neither true nor false.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any

from serving.steering.catalogue.attributes import AttributeTable, Kind, Value
from serving.steering.rules.rule_types import RulesError

# kind of an attribute, or of another variable -> its type in CEL
TYPES: Mapping[str, str] = {
    "text": "STRING",
    "number": "DOUBLE",
    "boolean": "BOOL",
    "whole number": "INT",
    "time": "TIMESTAMP",
}
TEXTS = "texts"  # a list of them
VALUES = "values"  # name -> a value of any type
REQUEST: Mapping[str, str] = {
    "request.scene": "text",
    "request.n": "whole number",
    "now": "time",
    "context": VALUES,
}
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
UNDECLARED = re.compile(r"undeclared reference to '([^']*)'")


class Condition:
    """A compiled expression that is true or false."""

    def __init__(self, expression: Any, boolean: Any) -> None:
        """boolean: the type of true and false."""
        self._expression, self._boolean = expression, boolean

    def holds(self, values: Mapping[str, Any]) -> bool | None:
        """Whether it is true for these values; None if it needs one that is missing, fails, or takes too many steps."""
        try:
            found = self._expression.eval(data=dict(values))
        except RuntimeError:  # more steps of loops than the binding allows for one evaluation
            return None
        return bool(found.value()) if found.type() == self._boolean else None


def variables(part: str, kinds: Mapping[str, Kind]) -> dict[str, str]:
    """The variables of `item` or `user`: attributes, `id`, and `known`, the names of the attributes with a value."""
    found: dict[str, str] = {f"{part}.{name}": kind for name, kind in kinds.items() if NAME.fullmatch(name)}
    return found | {f"{part}.id": "text", f"{part}.known": TEXTS}


def compiler(known: Mapping[str, str]) -> Callable[[str], Condition]:
    """A function that compiles a text with these variables. It raises RulesError, without the place in the file.

    known: variable -> kind.
    """
    from cel_expr_python import cel  # memory that a service without rules does not need

    types = {kind: getattr(cel.Type, name) for kind, name in TYPES.items()}
    types |= {TEXTS: cel.Type.List(cel.Type.STRING), VALUES: cel.Type.Map(cel.Type.STRING, cel.Type.DYN)}
    environment = cel.NewEnv(variables={name: types[kind] for name, kind in known.items()})

    def compile_(text: str) -> Condition:
        try:
            compiled = environment.compile(text)
        except RuntimeError as error:  # the one class that the binding raises
            raise RulesError(f"got {text!r}; {_cause(str(error), known)}") from error
        if compiled.return_type() not in (cel.Type.BOOL, cel.Type.DYN):  # DYN: a value of the context, known later
            kind = compiled.return_type().name().lower()
            raise RulesError(f"got {text!r}, which is a {kind}; allowed: an expression that is true or false")
        return Condition(compiled, cel.Type.BOOL)

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


def mentioned(text: str, names: Mapping[str, Any]) -> tuple[str, ...]:
    """The attributes that an expression may use, and "id": those whose name is a word of it."""
    words = set(NAME.findall(text))
    return tuple(sorted(name for name in {*names, "id"} if name in words))


def uses_user(text: str) -> bool:
    """Whether an expression may use attributes of the user."""
    return "user" in NAME.findall(text)


def request_values(scene: str, n: int, clock: int, context: Mapping[str, Value]) -> dict[str, Any]:
    """The variables of a request. clock: in microseconds since 1970, UTC. context: that of the request."""
    now = datetime.fromtimestamp(clock / 1e6, UTC)
    return {"request.scene": scene, "request.n": n, "now": now, "context": dict(context)}


def row_values(part: str, table: AttributeTable, row: int, id_: str, names: tuple[str, ...]) -> dict[str, Any]:
    """The values of one row; row -1 has none but its id. names: of attributes, and "id" for the id."""
    found: dict[str, Value | None] = {name: table.columns[name].value(row) for name in names if name != "id"}
    return named_values(part, found) | ({f"{part}.id": id_} if "id" in names else {})


def named_values(part: str, values: Mapping[str, Value | None]) -> dict[str, Any]:
    """The variables of `item` or `user` for these attributes; None: no value."""
    present = {name: value for name, value in values.items() if value is not None}
    return {**{f"{part}.{name}": value for name, value in present.items()}, f"{part}.known": list(present)}
