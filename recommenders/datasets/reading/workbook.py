"""Writes a sheet of a workbook as CSV, since the readers need lines of text."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from recommenders.errors import DataError, choices
from recommenders.storage.atomic_files import atomic_file


def to_csv(path: Path, out: Path, columns: Sequence[str] = (), sheet: str | None = None) -> Path:
    """Writes a sheet of an .xlsx as UTF-8 CSV with these columns in their order, or with all; returns `out`.

    sheet: its name; by default the first. Times become `YYYY-MM-DD HH:MM:SS`, rounded to the second; whole numbers
    are written without ".0"; a line break inside a cell becomes a space; an empty row is an empty line. `out` is
    written completely or not at all. The sheet is in memory once, in the reader's compact form; rows are read from it
    one by one. Raises DataError if the file is not a workbook, has a password, lacks the sheet, or if the sheet is
    empty or lacks a column; with `columns`, also if it has no rows.
    """
    with atomic_file(out) as staging, staging.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(_lines(path, columns, sheet))
    return out


def _lines(path: Path, columns: Sequence[str], sheet: str | None) -> Iterator[Sequence[str]]:
    rows = _rows(path, sheet)
    first = next((row for row in rows if _is_full(row)), [])
    header = [_text(cell).strip() for cell in first]
    what = f"the sheet {sheet}" if sheet else "the first sheet"
    if not header:
        wanted = ", ".join(columns) or "a header and rows"
        raise DataError(f"{path}: {what} is empty; expected {wanted}; download it again")
    if missing := [name for name in columns if name not in header]:
        got, wanted = ", ".join(header)[:200], ", ".join(columns)
        raise DataError(f"{path} lacks {', '.join(missing)}; got {got}; expected {wanted}; put them in {what}")
    places = [header.index(name) for name in columns] if columns else range(len(header))
    yield [header[place] for place in places]
    n_rows = 0
    for row in rows:
        n_rows += _is_full(row)
        yield _texts(row, places) if _is_full(row) else []
    if columns and not n_rows:
        raise DataError(f"{path}: {what} has a header but no rows; expected some; download it again")


def _is_full(row: Sequence[Any]) -> bool:
    return any(cell != "" for cell in row)


def _rows(path: Path, sheet: str | None) -> Iterator[Sequence[Any]]:
    """The cells of a sheet; an empty cell is ""."""
    from python_calamine import CalamineError, PasswordError, load_workbook

    try:
        with load_workbook(path) as book:
            if sheet and sheet not in book.sheet_names:
                raise DataError(f"{path} has no sheet {sheet!r}; {choices(sheet, book.sheet_names)}")
            found = book.get_sheet_by_name(sheet) if sheet else book.get_sheet_by_index(0)
            yield from found.iter_rows()
    except PasswordError as error:
        fix = "open it in a spreadsheet program and save it without one"
        raise DataError(f"{path} is protected by a password; expected a plain .xlsx; {fix}") from error
    except CalamineError as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path} is not a workbook: {reason}; expected an .xlsx; download it again") from error


def _texts(row: Sequence[Any], places: Iterable[int]) -> list[str]:
    return [_text(row[place]) for place in places]


def _text(cell: Any) -> str:
    """The text that a person sees in the cell. Excel stores integers as floats, so a whole float is an integer."""
    if isinstance(cell, str):
        return " ".join(cell.splitlines()) if "\n" in cell or "\r" in cell else cell
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() else repr(cell)
    if isinstance(cell, datetime):
        # Excel stores a time as a number of days, which represents a second only to some microseconds.
        return (cell + timedelta(microseconds=500_000)).strftime("%Y-%m-%d %H:%M:%S")
    return f"{cell.isoformat()} 00:00:00" if isinstance(cell, date) else str(cell)
