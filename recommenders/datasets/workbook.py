"""A spreadsheet as CSV: Online Retail is published as an .xlsx, and its reader takes lines of text."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from recommenders.datasets.online_retail import COLUMNS
from recommenders.errors import DataError


def to_csv(path: Path, out: Path) -> Path:
    """Writes the first sheet of an .xlsx as UTF-8 CSV with the columns of Online Retail, in their order; returns `out`.

    Times become `YYYY-MM-DD HH:MM:SS`, rounded to the second; whole numbers lose their ".0"; a line break inside a
    cell becomes a space, since one line is one row; empty rows and other columns are left out. `out` appears whole or
    not at all. The sheet is held in memory once, in the reader's compact form; rows come from it one by one.
    Raises DataError if the file is no workbook, wants a password, or its first sheet is empty or lacks a column.
    """
    staging = out.with_name(f"{out.name}.new")
    try:
        with staging.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(_lines(path))
        staging.replace(out)
    finally:
        staging.unlink(missing_ok=True)
    return out


def _lines(path: Path) -> Iterator[Sequence[str]]:
    rows = (row for row in _rows(path) if any(cell != "" for cell in row))
    header = [str(cell).strip() for cell in next(rows, [])]
    places = _places(header, path)
    yield COLUMNS
    first = next(rows, None)
    if first is None:
        raise DataError(f"{path}: the first sheet has a header but no rows; expected invoice lines; fetch it again")
    yield _texts(first, places)
    for row in rows:
        yield _texts(row, places)


def _rows(path: Path) -> Iterator[Sequence[Any]]:
    """The cells of the first sheet; an empty cell is ""."""
    from python_calamine import CalamineError, PasswordError, load_workbook

    try:
        with load_workbook(path) as book:
            yield from book.get_sheet_by_index(0).iter_rows()
    except PasswordError as error:
        fix = "open it in a spreadsheet program and save it without one"
        raise DataError(f"{path} is protected by a password; expected a plain .xlsx; {fix}") from error
    except CalamineError as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path} is not a workbook: {reason}; expected an .xlsx; fetch it again") from error


def _places(header: Sequence[str], path: Path) -> list[int]:
    if not header:
        raise DataError(f"{path}: the first sheet is empty; expected {', '.join(COLUMNS)}; fetch it again")
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        got = ", ".join(header)[:200]
        wanted = ", ".join(COLUMNS)
        raise DataError(f"{path} lacks {', '.join(missing)}; got {got}; expected {wanted}; put them in the first sheet")
    return [header.index(name) for name in COLUMNS]


def _texts(row: Sequence[Any], places: Iterable[int]) -> list[str]:
    return [_text(row[place]) for place in places]


def _text(cell: Any) -> str:
    """What a person sees in the cell. A float that is whole is an integer that Excel stored its own way."""
    if isinstance(cell, str):
        return " ".join(cell.splitlines()) if "\n" in cell or "\r" in cell else cell
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() else repr(cell)
    if isinstance(cell, datetime):
        # A serial number of days holds a second only to some microseconds.
        return (cell + timedelta(microseconds=500_000)).strftime("%Y-%m-%d %H:%M:%S")
    return f"{cell.isoformat()} 00:00:00" if isinstance(cell, date) else str(cell)
