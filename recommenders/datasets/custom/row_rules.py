"""Rules for the rows of a custom data set, as SQL: reason -> condition. They reject or exclude rows, or drop values."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from recommenders.datasets.custom.columns import Column
from recommenders.datasets.custom.entry import Entry
from recommenders.datasets.custom.table import ATTRIBUTE, REQUIRED, Table
from recommenders.datasets.custom.values import EPOCH
from recommenders.datasets.reading.lines import text_literal
from recommenders.storage import schema

MAX_AHEAD = timedelta(days=1)  # clocks differ; later times are invalid
MAX_ID = 200  # characters; ids become arrays as wide as the longest one
IDS = ("user_id", "item_id", "order_id")


def _label(table: Table, role: str) -> str:
    """The name of the column in the user's table."""
    return table.sources[role].column or role.removeprefix(ATTRIBUTE)


def reject_rules(name: str, table: Table, keys: Sequence[str] = ()) -> dict[str, str]:
    """Reject rules: empty ids and times, values of a wrong type, numbers out of range, and repeated keys.

    keys: the key columns of a table of items or users. Its other values never reject a row; see value_rules().
    """
    rules = {f"{_label(table, role)} is empty": f'"{role} text" is null' for role in REQUIRED[name]}
    rules |= {
        f"{_label(table, role)} is longer than {MAX_ID} characters": f'length("{role}") > {MAX_ID}'
        for role in IDS
        if role in table.columns
    }
    rules |= _schema_violations(table, keys or table.sources)
    if keys:
        among = ", ".join(f'"{key}"' for key in keys)
        order = f"broken is not null or {_any(rules)}, {_any(value_rules(table))}, file, line"
        place = f"row_number() over (partition by {among} order by {order})"
        return rules | {f"{' and '.join(_label(table, key) for key in keys)} occurs twice": f"{place} > 1"}
    return rules | range_rules(table, "quarantine")


def value_rules(table: Table) -> dict[str, str]:
    """Rules for values of items or users with a wrong type or out of range: the value is dropped, the row is kept."""
    roles = [role for role in table.sources if role not in key_columns(table)]
    found = _schema_violations(table, roles) | range_rules(table, "quarantine")
    return {f"{reason}; the value is left out": condition for reason, condition in found.items()}


def _schema_violations(table: Table, roles: Iterable[str]) -> dict[str, str]:
    found = {}
    for role in roles:
        column, label, text = table.sources[role], _label(table, role), f'"{role} text"'
        if (kind := _kind(column, role, table)) is None:
            continue
        if table.type_of(role) == schema.TIME and column.unit is None and column.format is None:
            found[f"{label} is a number, not a time: set unit to what it counts since 1970"] = (
                f"regexp_full_match({text}, '{EPOCH}')"
            )
        value = f'"{role} total"' if column.total else f'"{role}"'
        invalid = f"{value} is null" if table.type_of(role) == pa.bool_() else f"coalesce(not isfinite({value}), true)"
        found[f"{label} is not {kind}"] = f"{text} is not null and {invalid}"
    return found


def _any(conditions: Mapping[str, str]) -> str:
    return " or ".join(f"coalesce({condition}, false)" for condition in conditions.values()) or "false"


def key_columns(table: Table) -> list[str]:
    """The columns that identify a row of items or users."""
    return [role for role in ("item_id", "user_id", "valid_from") if role in table.columns]


def _kind(column: Column, role: str, table: Table) -> str | None:
    """The expected type of a column, for messages; None for text."""
    type_ = table.type_of(role)
    if type_ == pa.float64():
        return (
            "a number with a decimal comma" if "," in (column.decimal, table.decimal) and column.column else "a number"
        )
    if type_ != schema.TIME:
        return "true or false" if type_ == pa.bool_() else None
    if column.unit is not None:
        return f"a time in {column.unit} since 1970"
    return f"a time like {column.format}" if column.format else "a time like 2024-05-31 14:05:00"


def range_rules(table: Table, otherwise: str) -> dict[str, str]:
    """Rules for numbers out of their range, of the ranges with this consequence: quarantine or set_aside."""
    return {
        f"{_label(table, role)} is not {words} {bound:g}": f'not "{role}" {operator} {bound!r}::double'
        for role, rule in table.ranges().items()
        if rule.otherwise == otherwise
        for words, (operator, bound) in rule.bounds.items()
    }


def time_rules(table: Table) -> dict[str, str]:
    """Reject rules for times before 1970 and in the future."""
    latest = (datetime.now(UTC) + MAX_AHEAD).isoformat()
    label = _label(table, "timestamp")
    return {
        f"{label} is before 1970": "timestamp < '1970-01-01 00:00:00+00'::timestamptz",
        f"{label} is in the future": f"timestamp > '{latest}'::timestamptz",
    }


def event_rules(entry: Entry, table: Table, otherwise: str) -> dict[str, str]:
    """Rules for empty and other events, of those with this consequence: quarantine or set_aside."""
    label = _label(table, "event")
    listed = ", ".join(text_literal(event) for event in entry.events)
    empty = {f"{label} is empty": "event is null"} if otherwise == "quarantine" else {}
    other = {f"{label} is none of {', '.join(entry.events)}": f"event not in ({listed})"}
    return {**empty, **(other if entry.other_events == otherwise else {})}


def reference_rules(entry: Entry, table: Table) -> dict[str, str]:
    """Rules for events of items or users that their table lacks, if the entry quarantines such events."""
    kinds = [kind for kind in ("item", "user") if getattr(entry, f"unknown_{kind}s") == "quarantine"]
    return {
        f"{_label(table, f'{kind}_id')} is unknown in {kind}s": f"{kind}_id not in (select {kind}_id from good_{kind}s)"
        for kind in kinds
    }
