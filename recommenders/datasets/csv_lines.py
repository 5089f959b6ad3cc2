"""CSV files as tables of text in which every row still knows its line, so that a bad one can be told and
found.
 One line is one row: a quotation mark that is never closed spoils its own line and not the thousand after it
(which is why DuckDB's own reader, which also takes a truncated gzip for a whole one, is not used here).
"""

import csv
import gzip
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from recommenders.errors import DataError

BLOCK = 1 << 24  # bytes of text in hand at once, beside the Arrow table it goes into

# Fields of a line: a leading comma is put in front, so that every match is one comma and one field.
FIELD = r""",("([^"]|"")*"|[^,]*)"""
WHOLE = r"""(,("([^"]|"")*"|[^,"][^,]*)?)*"""
FIELDS = f"""
    case when contains(raw, '"')
         then [case when f[2] = '"' then replace(f[3:-2], '""', '"') else f[2:] end
               for f in regexp_extract_all(',' || raw, '{FIELD}')]
         else string_split(raw, ',') end
"""


def load(
    connection: duckdb.DuckDBPyConnection,
    dataset: str,
    table: str,
    paths: Sequence[Path],
    columns: Sequence[str],
) -> int:
    """Makes `table` in the connection from files that have these columns among others; returns its rows.

    Columns: file, line (from 1, the header included), raw, broken (why the line has no fields, else null),
    then `columns` as trimmed text, null where empty. Blank lines are no rows. Raises DataError, in one line,
    if a file is empty, damaged, no CSV, not UTF-8 or lacks a column.
    """
    texts = ", ".join(f'"{name}" varchar' for name in columns)
    connection.execute(f"create table {table} (file varchar, line bigint, raw varchar, broken varchar, {texts})")
    for path in paths:
        lines, header = _read(path, dataset, columns)
        places = ", ".join(f"nullif(trim(fields[{header.index(name) + 1}]), '')" for name in columns)
        connection.register("lines_of_a_file", lines)
        connection.execute(
            f"""
            insert into {table} by position
            select $file, line, raw,
                case when contains(raw, '"') and not regexp_full_match(',' || raw, '{WHOLE}')
                         then 'broken quotes'
                     when len(fields) <> $width then 'wrong number of fields' end as broken,
                {places}
            from (select line, raw, {FIELDS} as fields from lines_of_a_file where trim(raw) <> '')
            order by line
            """,
            {"file": path.name, "width": len(header)},
        )
        connection.unregister("lines_of_a_file")
    return int(connection.execute(f"select count(*) from {table}").fetchall()[0][0])


def _read(path: Path, dataset: str, columns: Sequence[str]) -> tuple[pa.Table, list[str]]:
    """The lines after the header with their numbers, and the header's names."""
    blocks = [pa.array(block, pa.string()) for block in _blocks(path, dataset)]
    raw = pa.chunked_array(blocks, pa.string())
    first = raw[0].as_py().removeprefix("\ufeff") if len(raw) else ""
    header = _header(first, path, dataset, columns)
    numbers = pa.array(range(2, len(raw) + 1), pa.int64())
    return pa.table({"line": numbers, "raw": raw.slice(1)}), header


def _header(first: str, path: Path, dataset: str, columns: Sequence[str]) -> list[str]:
    wanted = ", ".join(columns)
    if not first.strip():
        raise DataError(f"{dataset}: {path} is empty; expected a first line with {wanted}; fetch it again")
    if first.lstrip().startswith("<"):
        raise DataError(f"{dataset}: {path} is a web page, not a CSV; expected {wanted}; fetch the file itself")
    header = [name.strip() for name in next(csv.reader([first]))]
    missing = [name for name in columns if name not in header]
    if missing:
        got = ", ".join(header)[:200]
        raise DataError(f"{dataset}: {path} lacks {', '.join(missing)}; got {got}; expected {wanted}; mend its header")
    return header


def _blocks(path: Path, dataset: str) -> Iterator[list[str]]:
    """The file's lines without their ends, a block at a time."""
    n_lines, rest = 0, b""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            while block := file.read(BLOCK):
                whole, newline, rest = (rest + block).rpartition(b"\n")
                if newline:
                    yield (lines := _decode(whole, n_lines, path, dataset))
                    n_lines += len(lines)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{dataset}: {path} is a damaged gzip file: {error}; fetch it again") from error
    if rest:
        yield _decode(rest, n_lines, path, dataset)


def _decode(text: bytes, n_before: int, path: Path, dataset: str) -> list[str]:
    try:
        if b"\0" in text:
            raise DataError(f"{dataset}: {path} holds zero bytes, so it is not UTF-8 text; save it as UTF-8")
        return [line.removesuffix("\r") for line in text.decode().split("\n")]
    except UnicodeDecodeError as error:
        line = n_before + text.count(b"\n", 0, error.start) + 1
        got = f"byte 0x{text[error.start]:02x} in line {line}"
        raise DataError(f"{dataset}: {path} is not UTF-8 text: {got}; save it as UTF-8") from error
