"""Reads the files of published benchmarks as tables: events, sampled candidates, items.

The layout is recognised from the content. Two layouts of events are read: that of the NCF paper (He et al. 2017), with
tabs between user, item, rating and time and no header; and text with a header that names the columns.
"""

import csv
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from recommenders.datasets.reading.lines import csv_rows
from recommenders.datasets.reading.text import TextFile, prepare
from recommenders.errors import DataError
from recommenders.storage import schema

Names = Mapping[str, Sequence[str]]  # our column -> accepted names; letter case, spaces, _ and - are ignored

EVENTS: Names = {
    "user_id": ("user_id", "user", "uid", "customer_id", "customer", "buyer_id", "visitor_id", "reviewer_id"),
    "item_id": ("item_id", "item", "iid", "movie_id", "product_id", "product", "asin", "sku", "stock_code"),
    "rating": ("rating", "score", "stars", "overall"),
    "time": ("timestamp", "time", "datetime", "date", "event_time", "unix_review_time", "ts"),
}
ITEMS: Names = {
    "item_id": EVENTS["item_id"],
    "title": ("title", "name", "item_name", "product_name"),
    "category": ("category", "category_name", "genre"),
    "subcategory": ("subcategory",),
    "brand": ("brand", "manufacturer"),
    "price": ("price", "unit_price"),
    "rating": ("rating", "average_rating"),
    "text": ("text", "description", "genres", "tags"),
}
PAIR = ("user_id", "item_id")
NUMBERS = ("price", "rating")
DELIMITERS = ("\t", ";", ",")
SHOWN = 60  # characters of a bad line in an error


@dataclass(frozen=True)
class OpenedFile:
    """A text file with a recognised layout. `named`: our column -> the file's column; empty without a known header."""

    path: Path
    what: str  # the option that gave the file
    text: TextFile
    first: str  # its first line
    delimiter: str
    named: dict[str, str]

    def error(self, problem: str, line: int | None = None) -> DataError:
        """An error about the file, or about one of its lines."""
        place = str(self.path) if line is None else f"{self.path}, line {line}"
        return DataError(f"{self.what}: {place}: {problem}")


def read_events(path: Path, what: str) -> pa.Table:
    """user_id, item_id (text), rating, time (doubles or null): all rows of the file, in its order.

    A time is the number in the file; dates become seconds since 1970. A column that the file lacks is null. `what`
    names the file in errors. Raises DataError with the first invalid line.
    """
    with tempfile.TemporaryDirectory() as work:
        return _events(_with_events(_open(path, what, Path(work), EVENTS)))


def read_negatives(path: Path, what: str = "--negatives") -> pa.Table:
    """user_id, item_id: one row for each sampled item, in the file's order.

    Reads the NCF paper's layout (`(user,item)`, then the sampled items, separated by tabs) or rows of a user and an
    item with a header. Raises DataError with the first line that has neither form.
    """
    with tempfile.TemporaryDirectory() as work:
        opened = _open(path, what, Path(work), EVENTS)
        return _events(_with_events(opened)).select(PAIR) if opened.named else _sampled(opened)


def read_items(path: Path, what: str = "--items") -> pa.Table:
    """One row per item, in schema.ITEMS, from a file with a header. Raises DataError for a bad row or a repeated id."""
    with tempfile.TemporaryDirectory() as work:
        opened = _open(path, what, Path(work), ITEMS)
        if "item_id" not in opened.named:
            raise _missing_columns(opened, ITEMS, ("item_id",))
        texts = _texts(opened, ("item_id",), [name for name in NUMBERS if name in opened.named])
    ids = texts["item_id"].to_numpy()
    _, first = np.unique(ids.astype(np.str_), return_index=True)
    if len(first) < len(ids):
        again = int(np.setdiff1d(np.arange(len(ids)), first)[0])
        problem = f"item_id: got {ids[again]!r} a second time; allowed: one row per item; remove one of them"
        raise opened.error(problem, texts["line"][again].as_py())
    return schema.conform(texts.drop_columns(["line"]), schema.ITEMS, what)


# -- layouts


def _open(path: Path, what: str, work: Path, names: Names) -> OpenedFile:
    """The file, checked to be complete text, with the columns that its first line names."""
    if not path.is_file():
        raise DataError(f"{what}: no such file: {path}; allowed: a text file, .gz too; see docs/evaluation.md")
    text = prepare(path, what, work, header=False)
    with text.path.open(encoding="utf-8") as file:
        first = file.readline().rstrip("\r\n")
    delimiter = next((mark for mark in DELIMITERS if mark in first), ",")
    fields = [field.strip() for field in next(csv.reader([first], delimiter=delimiter), [])]
    header = {_plain(field): field for field in reversed(fields)}
    named = {
        column: header[_plain(name)]
        for column, known in names.items()
        for name in reversed(known)
        if _plain(name) in header
    }
    if named:
        text.header = fields
    return OpenedFile(path, what, text, first, delimiter, named)


def _plain(name: str) -> str:
    """A column's name without case, spaces, _ and -, and without RecBole's type suffix such as `:token`."""
    return re.sub(r"[\s_-]", "", name.partition(":")[0]).casefold()


def _with_events(opened: OpenedFile) -> OpenedFile:
    """The file with named columns: from its header, else those of the NCF paper. Raises DataError if neither fits."""
    if opened.named:
        if any(name not in opened.named for name in PAIR):
            raise _missing_columns(opened, EVENTS, PAIR)
        return opened
    width = opened.first.count("\t") + 1
    if not 2 <= width <= len(EVENTS):
        raise _missing_columns(opened, EVENTS, PAIR)
    return replace(opened, named={name: name for name in list(EVENTS)[:width]})


def _missing_columns(opened: OpenedFile, names: Names, required: Sequence[str]) -> DataError:
    allowed = "; ".join(f"{column}: {', '.join(known)}" for column, known in names.items())
    ncf = ", or no header and user, item, rating, time between tabs" if names is EVENTS else ""
    return opened.error(
        f"the first line names no {' and '.join(name for name in required if name not in opened.named)}; got "
        f"{opened.first[:SHOWN]!r}; allowed: a header ({allowed}){ncf}; name the columns"
    )


# -- rows


def _events(opened: OpenedFile) -> pa.Table:
    numbers = [name for name in ("rating", "time") if name in opened.named]
    return _texts(opened, PAIR, numbers).select([*PAIR, "rating", "time"])


def _texts(opened: OpenedFile, required: Sequence[str], numbers: Sequence[str]) -> pa.Table:
    """line and every named column, in the file's order; numbers are doubles, null where the field is empty."""
    header = opened.text.header or list(opened.named)
    rows = csv_rows(opened.text, dict.fromkeys(opened.named.values(), "VARCHAR"), opened.delimiter)
    chosen = ", ".join(f'"{name}" as {column}' for column, name in opened.named.items())
    with duckdb.connect() as engine:
        engine.execute("set TimeZone = 'UTC'")
        engine.execute(f"create table texts as select line, raw, broken, {chosen} from ({rows}) order by line")
        _check(engine, opened, len(header), required)
        typed = [*required, *(name for name in opened.named if name not in (*required, *numbers))]
        values = {name: _number(engine, opened, name) for name in numbers}
        columns = [*typed, *(f"{sql} as {name}" for name, sql in values.items())]
        absent = [f"null::double as {name}" for name in ("rating", "time") if name not in opened.named]
        return engine.execute(f"select line, {', '.join(columns + absent)} from texts order by line").to_arrow_table()


def _check(engine: duckdb.DuckDBPyConnection, opened: OpenedFile, width: int, required: Sequence[str]) -> None:
    """Raises DataError at the first line that is not a row or lacks a required value, or if there are no rows."""
    empty = " ".join(f"when {name} is null then '{name} is empty'" for name in required)
    problem = f"case when broken is not null then broken {empty} end"
    found = engine.execute(
        f"select line, {problem}, raw from texts where {problem} is not null order by line limit 1"
    ).fetchone()
    if found is not None:
        line, reason, raw = found
        raise opened.error(f"{reason}; got {raw[:SHOWN]!r}; allowed: {width} fields; fix or remove the line", line)
    if engine.execute("select count(*) from texts").fetchone() == (0,):
        raise opened.error("no rows; allowed: at least one row; export the file again")


def _number(engine: duckdb.DuckDBPyConnection, opened: OpenedFile, name: str) -> str:
    """SQL of a column as doubles; dates become seconds since 1970. Raises DataError at the first other text."""
    number, date = f"try_cast({name} as double)", f"epoch(try_cast({name} as timestamptz))"
    filled = f"select {{}} from texts where {name} is not null order by line limit 1"
    first = engine.execute(filled.format(f"{number} is null and {date} is not null")).fetchone()
    value, kind = (date, "a date") if name == "time" and first == (True,) else (number, "a number")
    missing = "true" if name == "time" and first is not None else f"{name} is not null"
    invalid = f"{missing} and not coalesce(isfinite({value}), false)"
    bad = engine.execute(f"select line, {name} from texts where {invalid} order by line limit 1").fetchone()
    if bad is None:
        return value
    got = "nothing" if bad[1] is None else repr(bad[1][:SHOWN])
    raise opened.error(f"{name}: got {got}; allowed: {kind}, as in the rows above; fix or remove the line", bad[0])


def _sampled(opened: OpenedFile) -> pa.Table:
    users: list[str] = []
    counts: list[int] = []
    items: list[str] = []
    for number, reason in opened.text.bad_lines.items():
        raise opened.error(f"{reason}; allowed: UTF-8 text; fix or remove the line", number)
    with opened.text.path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            pair, *sampled = line.rstrip("\r\n").rstrip("\t").split("\t")
            named = re.fullmatch(r"\s*\(\s*([^,]+?)\s*,\s*([^,]+?)\s*\)\s*", pair)
            if named is None or not sampled or not all(map(str.strip, sampled)):
                problem = "allowed: (user,item) and the sampled items, between tabs; fix or remove the line"
                raise opened.error(f"got {line[:SHOWN].rstrip()!r}; {problem}", number)
            users.append(named[1].strip("'\""))
            counts.append(len(sampled))
            items += map(str.strip, sampled)
    rows = np.repeat(np.arange(len(users)), counts)
    return pa.table(
        {"user_id": pa.array(users, pa.string()).take(pa.array(rows)), "item_id": pa.array(items, pa.string())}
    )
