"""Reads the tables of a custom data set: maps their columns to ours and applies the rules (docs/custom-data.md)."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from recommenders.datasets.custom.columns import EPOCHS, NULL_NUMBERS, NULLS, SCALES, Column, Range
from recommenders.datasets.custom.entry import REQUIRED, TABLES, Entry, Table
from recommenders.datasets.reading.ingest import Plan
from recommenders.datasets.reading.lines import check_parquet, text_literal
from recommenders.datasets.reading.reading import Reading
from recommenders.datasets.reading.workbook import to_csv
from recommenders.storage import schema

MAX_AHEAD = timedelta(days=1)  # clocks differ; later times are invalid
LAST = 253_402_300_799_000_000  # the end of the year 9999, in microseconds since 1970
ISO = r"\d{4}-\d{1,2}-\d{1,2}([T ]\d{1,2}:\d\d(:\d\d(\.\d+)?)?)?"
ZONED = r"\d{4}-\d{1,2}-\d{1,2}[T ]\d{1,2}:\d\d(:\d\d(\.\d+)?)? ?(Z|z|[+-]\d\d(:?\d\d)?)"
EPOCH = r"\d{9,16}(\.\d+)?"  # seconds, milliseconds or microseconds since 1970, rather than a date
# Accepted forms of a number, by its decimal sign: 1,249.50, 1.249,50 or 1'249.50. If no sign is declared, 1,249 is
# ambiguous and only forms such as 1,249.50 are accepted.
NUMBERS: Mapping[str | None, str] = {
    ".": r"\d+(\.\d+)?|\d{1,3}([,'\x{2019} \x{a0}\x{202f}]\d{3})+(\.\d+)?",
    ",": r"\d+(,\d+)?|\d{1,3}([.'\x{2019} \x{a0}\x{202f}]\d{3})+(,\d+)?",
    None: r"\d+(\.\d+)?|\d{1,3}(,\d{3})+\.\d+",
}
CURRENCY = r"[ \x{a0}]?([A-Z]{0,3}\p{Sc}|[A-Z]{3})?[ \x{a0}]?"  # $, US$, EUR
MONEY = ("unit_price", "price", "annual_revenue", "credit_limit")
MAX_ID = 200  # characters; ids become arrays as wide as the longest one
IDS = ("user_id", "item_id", "order_id")
OPTIONAL = ("items", "users")  # tables that may have no rows
PURCHASE = Column(value="purchase")


def parse(entry: Entry, files: Callable[[Path, str], Sequence[Path]], reading: Reading, source: Path) -> Plan:
    """An ingest.Parser once entry and files are bound. files: (source, table) -> the files of that table.

    Items and users of the log that their table lacks are added from the log, unless the entry quarantines such events.
    Raises DataError if a file cannot be read completely.
    """
    for name in entry.tables:
        _read(reading, name, entry.tables[name], files(source, name))
    for name in ("items", "users"):
        if name in entry.tables:
            reading.read_by_line(name)  # of two rows with the same key, the first one is kept
            table = entry.tables[name]
            select, rules = _select(table, entry.time_zone), _reject_rules(name, table, _keys(table))
            reading.apply_rules(name, rules, select=select, value_rules=_value_rules(table))
    log = _with_event(entry.interactions)
    reading.apply_rules(
        "interactions",
        {**_reject_rules("interactions", log), **_event_rules(entry, log, "quarantine"), **_time_rules(log)},
        {**_range_rules(log, "set_aside"), **_event_rules(entry, log, "set_aside")},
        select=_select(log, entry.time_zone),
        references=_references(entry, log),
    )
    attributes = tuple(name for name in entry.tables if name != "interactions")
    items, users = (_entity_table(entry, entity) for entity in ("item", "user"))
    return Plan(_interactions(entry, log), items, users, ("interactions",), attributes)


def _with_event(table: Table) -> Table:
    return table.model_copy(update={"columns": {"event": PURCHASE, **table.columns}})


def _read(reading: Reading, name: str, table: Table, paths: Sequence[Path]) -> None:
    columns = {column.column: "VARCHAR" for column in table.columns.values() if column.column is not None}
    needed = (*REQUIRED[name], "event")
    may_lack = [column.column for role, column in table.columns.items() if role not in needed and column.column]
    if table.kind == "parquet":
        _read_parquet(reading, name, paths, columns, may_lack)
    elif table.kind == "json":
        reading.json(name, paths, columns, may_lack=list(columns))
    else:
        texts = [_as_text(path, table, reading.work) for path in paths]
        reading.csv(
            name,
            texts,
            columns,
            delimiter=table.separator,
            encoding=table.codec,
            optional=name in OPTIONAL,
            may_lack=may_lack,
            origins=paths,
            unique=True,
        )


def _as_text(path: Path, table: Table, work: Path) -> Path:
    """The file, or a workbook's sheet as a text file of the same name."""
    if table.kind != "xlsx":
        return path
    folder = work / f"book-{len(list(work.iterdir()))}"
    folder.mkdir()
    return to_csv(path, folder / path.name, sheet=table.sheet)


def _read_parquet(
    reading: Reading, name: str, paths: Sequence[Path], columns: dict[str, str], may_lack: Collection[str]
) -> None:
    """Reads the files that have rows; if no file has, an optional table is empty."""
    needed = [column for column in columns if column not in may_lack]
    checked = [check_parquet(path, reading.dataset, needed, may_be_empty=True) for path in paths]
    full = [path for path in checked if pq.read_metadata(path).num_rows]
    if full or name not in OPTIONAL:
        reading.parquet(name, full or paths, columns, may_lack)
    else:
        reading.csv(name, [], columns, optional=True)  # no files: an empty table of these columns


# -- values


def _select(table: Table, zone: str) -> str:
    """SQL of file, line, raw and broken, then of each column its text and its value."""
    # DuckDB would push the rules, which all use `broken`, below this select and compute each value once per rule.
    # It never pushes anything below a random number.
    parts = ["file", "line", "raw", "case when random() >= 0 then broken end as broken"]
    for role, column in table.columns.items():
        text, value = _text(role, table), _value(role, table, zone)
        parts.append(f'{text} as "{role} text"')
        if column.total:
            parts.append(f'{value} as "{role} total"')
            value = f"({value}) / nullif({_value('quantity', table, zone)}, 0)"
        parts.append(f'{value} as "{role}"')
    return ", ".join(parts)


def _type(role: str) -> pa.DataType:
    return next(fields.field(role).type for fields in TABLES.values() if role in fields.names)


def _text(role: str, table: Table) -> str:
    """SQL of the text of a value, null if it is a null marker; text files are trimmed already."""
    column = table.columns[role]
    if column.column is None:
        return text_literal(str(column.value))
    written = f'"{column.column}"'
    text = f"nullif(trim({written}), '')" if table.kind == "parquet" else written
    usual = NULLS if _type(role) == pa.string() else NULL_NUMBERS
    nulls = next((given for given in (column.nulls, table.nulls) if given is not None), usual)
    listed = ", ".join(text_literal(null) for null in nulls)
    return f"case when {text} not in ({listed}) then {text} end" if listed else text


def _value(role: str, table: Table, zone: str) -> str:
    text, column, type_ = _text(role, table), table.columns[role], _type(role)
    if type_ == schema.TIME:
        return _time(text, column, text_literal(zone))
    return _scaled(_number(text, role, column, table), column) if type_ == pa.float64() else text


def _number(text: str, role: str, column: Column, table: Table) -> str:
    """SQL of the number in a text: plain, with thousands separators, or an amount of money with its currency."""
    plain = f"try_cast({text} as double)"
    if column.column is None:
        return plain
    decimal = column.decimal or table.decimal
    currency = CURRENCY if role in MONEY else ""
    pattern = f"[+-]?{currency}[+-]?({NUMBERS[decimal]}){currency}"
    sign = decimal or "."
    digits = rf"regexp_replace({text}, '[^0-9{sign}+-]', '', 'g')"
    meant = f"try_cast(replace({digits}, ',', '.') as double)"
    written = f"case when regexp_full_match({text}, {text_literal(pattern)}) then {meant} end"
    return written if decimal == "," else f"coalesce({plain}, {written})"


def _scaled(number: str, column: Column) -> str:
    scale = column.scale or SCALES.get(column.unit or "", 1.0)
    parts = round(1 / scale)
    if scale < 1 and abs(1 / scale - parts) < 1e-9:
        return f"({number}) / {parts}"  # 1999 cents are 19.99; 1999 x 0.01 is a little more
    return number if scale == 1 else f"({number}) * {scale!r}::double"


def _time(text: str, column: Column, zone: str) -> str:
    if column.unit is not None:
        micros = f"try_cast(try_cast({text} as decimal(24, 6)) * {EPOCHS[column.unit]} as bigint)"
        return f"make_timestamptz(case when {micros} between {-LAST} and {LAST} then {micros} end)"
    if column.format is not None:
        read = f"try_strptime({text}, {text_literal(column.format)})"
        return read if "%z" in column.format.lower() else f"timezone({zone}, {read})"
    # DuckDB requires seconds before an offset, and ignores the offset in a timestamp without a zone.
    whole = rf"regexp_replace({text}, '([T ]\d+:\d\d) ?([Zz+-])', '\1:00\2')"
    return (
        f"case when regexp_full_match({text}, '{ZONED}') then try_cast({whole} as timestamptz)"
        f" when regexp_full_match({text}, '{ISO}') then timezone({zone}, try_cast({text} as timestamp)) end"
    )


# -- rules


def _label(table: Table, role: str) -> str:
    """The name of the column in the user's table."""
    return table.columns[role].column or role


def _reject_rules(name: str, table: Table, keys: Sequence[str] = ()) -> dict[str, str]:
    """Reject rules: empty ids and times, values of a wrong type, numbers out of range, and repeated keys.

    keys: the key columns of a table of items or users. Its other values never reject a row; see _value_rules.
    """
    rules = {f"{_label(table, role)} is empty": f'"{role} text" is null' for role in REQUIRED[name]}
    rules |= {
        f"{_label(table, role)} is longer than {MAX_ID} characters": f'length("{role}") > {MAX_ID}'
        for role in IDS
        if role in table.columns
    }
    rules |= _schema_violations(table, keys or table.columns)
    if keys:
        among = ", ".join(f'"{key}"' for key in keys)
        order = f"broken is not null or {_any(rules)}, {_any(_value_rules(table))}, file, line"
        place = f"row_number() over (partition by {among} order by {order})"
        return rules | {f"{' and '.join(_label(table, key) for key in keys)} occurs twice": f"{place} > 1"}
    return rules | _range_rules(table, "quarantine")


def _value_rules(table: Table) -> dict[str, str]:
    """Rules for values of items or users with a wrong type or out of range: the value is dropped, the row is kept."""
    roles = [role for role in table.columns if role not in _keys(table)]
    found = _schema_violations(table, roles) | _range_rules(table, "quarantine")
    return {f"{reason}; the value is left out": condition for reason, condition in found.items()}


def _schema_violations(table: Table, roles: Iterable[str]) -> dict[str, str]:
    found = {}
    for role in roles:
        column, label, text = table.columns[role], _label(table, role), f'"{role} text"'
        if (kind := _kind(column, role, table)) is None:
            continue
        if _type(role) == schema.TIME and column.unit is None and column.format is None:
            found[f"{label} is a number, not a time: set unit to what it counts since 1970"] = (
                f"regexp_full_match({text}, '{EPOCH}')"
            )
        value = f'"{role} total"' if column.total else f'"{role}"'
        found[f"{label} is not {kind}"] = f"{text} is not null and coalesce(not isfinite({value}), true)"
    return found


def _any(conditions: Mapping[str, str]) -> str:
    return " or ".join(f"coalesce({condition}, false)" for condition in conditions.values()) or "false"


def _keys(table: Table) -> list[str]:
    return [role for role in ("item_id", "user_id", "valid_from") if role in table.columns]


def _kind(column: Column, role: str, table: Table) -> str | None:
    """The expected type of a column, for messages; None for text."""
    type_ = _type(role)
    if type_ == pa.float64():
        return (
            "a number with a decimal comma" if "," in (column.decimal, table.decimal) and column.column else "a number"
        )
    if type_ != schema.TIME:
        return None
    if column.unit is not None:
        return f"a time in {column.unit} since 1970"
    return f"a time like {column.format}" if column.format else "a time like 2024-05-31 14:05:00"


def _range_rules(table: Table, otherwise: str) -> dict[str, str]:
    return {
        f"{_label(table, role)} is not {words} {bound:g}": f'not "{role}" {operator} {bound!r}::double'
        for role, rule in table.ranges().items()
        if rule.otherwise == otherwise
        for words, (operator, bound) in rule.bounds.items()
    }


def _time_rules(table: Table) -> dict[str, str]:
    latest = (datetime.now(UTC) + MAX_AHEAD).isoformat()
    label = _label(table, "timestamp")
    return {
        f"{label} is before 1970": "timestamp < '1970-01-01 00:00:00+00'::timestamptz",
        f"{label} is in the future": f"timestamp > '{latest}'::timestamptz",
    }


def _event_rules(entry: Entry, table: Table, otherwise: str) -> dict[str, str]:
    label = _label(table, "event")
    listed = ", ".join(text_literal(event) for event in entry.events)
    empty = {f"{label} is empty": "event is null"} if otherwise == "quarantine" else {}
    other = {f"{label} is none of {', '.join(entry.events)}": f"event not in ({listed})"}
    return {**empty, **(other if entry.other_events == otherwise else {})}


def _references(entry: Entry, table: Table) -> dict[str, str]:
    kinds = [kind for kind in ("item", "user") if getattr(entry, f"unknown_{kind}s") == "quarantine"]
    return {
        f"{_label(table, f'{kind}_id')} is unknown in {kind}s": f"{kind}_id not in (select {kind}_id from good_{kind}s)"
        for kind in kinds
    }


# -- the clean tables


def _interactions(entry: Entry, table: Table) -> str:
    weights = " ".join(f"when {text_literal(event)} then {weight!r}" for event, weight in entry.events.items())
    columns = ", ".join(f'"{role}"' for role in table.columns)
    return f"select {columns}, case event {weights} end as weight from good_interactions"


def _entity_table(entry: Entry, kind: str) -> str:
    """SQL of the items or users: those of their table, and those that only the log has."""
    key, table = f"{kind}_id", entry.tables.get(f"{kind}s")
    if table is None:
        return f"select distinct {key} from kept order by {key}"
    columns = ", ".join(_valid_value(role, table) for role in table.columns)
    order = f"{key}, valid_from nulls first" if "valid_from" in table.columns else key
    listed = f"select {columns} from good_{kind}s"
    if getattr(entry, f"unknown_{kind}s") == "quarantine":
        return f"{listed} order by {order}"
    others = f"select {key} from (select distinct {key} from kept) anti join good_{kind}s using ({key})"
    return f"select * from ({listed} union all by name {others}) order by {order}"


def _valid_value(role: str, table: Table) -> str:
    """SQL of a value of items or users, null if it is left out."""
    if _type(role) == pa.string() or role in _keys(table):
        return f'"{role}"'
    bounds = table.ranges().get(role, Range()).bounds.values()
    conditions = [f'isfinite("{role}")', *(f'"{role}" {operator} {bound!r}::double' for operator, bound in bounds)]
    return f'case when {" and ".join(conditions)} then "{role}" end as "{role}"'
