"""SQL of the values of a custom data set: texts, numbers, amounts of money and times in their accepted forms."""

from collections.abc import Mapping

import pyarrow as pa

from recommenders.datasets.custom.columns import EPOCHS, NULL_NUMBERS, NULLS, SCALES, Column
from recommenders.datasets.custom.table import ATTRIBUTE, Table
from recommenders.datasets.reading.lines import text_literal
from recommenders.storage import schema

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
TRUE, FALSE = ("true", "t", "yes", "y", "1", "1.0"), ("false", "f", "no", "n", "0", "0.0")  # in any case
MONEY = ("unit_price", "price", "annual_revenue", "credit_limit")


def select_values(table: Table, zone: str) -> str:
    """SQL of file, line, raw and broken, then of each column its text and its value."""
    # DuckDB would push the rules, which all use `broken`, below this select and compute each value once per rule.
    # It never pushes anything below a random number.
    parts = ["file", "line", "raw", "case when random() >= 0 then broken end as broken"]
    for role, column in table.sources.items():
        text, value = _text(role, table), _value(role, table, zone)
        parts.append(f'{text} as "{role} text"')
        if column.total:
            parts.append(f'{value} as "{role} total"')
            value = f"({value}) / nullif({_value('quantity', table, zone)}, 0)"
        parts.append(f'{value} as "{role}"')
    return ", ".join(parts)


def _text(role: str, table: Table) -> str:
    """SQL of the text of a value, null if it is a null marker; text files are trimmed already."""
    column = table.sources[role]
    if column.column is None:
        return text_literal(str(column.value))
    written = f'"{column.column}"'
    text = f"nullif(trim({written}), '')" if table.kind == "parquet" else written
    usual = NULLS if table.type_of(role) == pa.string() else NULL_NUMBERS
    nulls = next((given for given in (column.nulls, table.nulls) if given is not None), usual)
    listed = ", ".join(text_literal(null) for null in nulls)
    return f"case when {text} not in ({listed}) then {text} end" if listed else text


def _value(role: str, table: Table, zone: str) -> str:
    text, column, type_ = _text(role, table), table.sources[role], table.type_of(role)
    if type_ == schema.TIME:
        return _time(text, column, text_literal(zone))
    if type_ == pa.bool_():
        return f"case when lower({text}) in {TRUE} then true when lower({text}) in {FALSE} then false end"
    return _scaled(_number(text, role, column, table), column) if type_ == pa.float64() else text


def _number(text: str, role: str, column: Column, table: Table) -> str:
    """SQL of the number in a text: plain, with thousands separators, or an amount of money with its currency."""
    plain = f"try_cast({text} as double)"
    if column.column is None:
        return plain
    decimal = column.decimal or table.decimal
    currency = CURRENCY if role in MONEY or role.startswith(ATTRIBUTE) else ""
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
