"""Writes a real log day by day, like the nightly export of a shop: one CSV file a day, into a folder.

The folder is a source like any other, so its growing content is read, checked and used for training like live data.
"""

import gzip
import json
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from recommenders.datasets.all_datasets import dataset
from recommenders.datasets.reading.lines import csv_rows
from recommenders.datasets.reading.source_reading import Reading
from recommenders.datasets.reading.text import BLOCK, prepare
from recommenders.datasets.sources.online_retail import COLUMNS, MONTH_FIRST, VALUES
from recommenders.errors import DataError
from recommenders.storage.atomic_files import atomic_file

NAME = "online_retail"  # the only data set whose files are the log of one shop
NOTE = "replay.json"  # in the folder: which log its days are of
EPOCH = date(1970, 1, 1)

# A row without a readable date belongs to the day of the row before it; rows before the first date belong to that day.
DAYS = """
    select place, line, coalesce(
        last_value(day ignore nulls) over (order by place, line),
        first_value(day ignore nulls) over (order by place, line rows between current row and unbounded following)
    ) - date '1970-01-01' as day
    from (select place, line, case when broken is null then time::date end as day
          from (select place, {values} from lines))
    order by place, line
"""

Days = dict[Path, list[tuple[int, date]]]  # file -> (line, day) of each of its rows, in order


@dataclass(frozen=True)
class DailyFiles:
    """What a call has written. `first` and `last` are the first and last day of the log."""

    folder: Path
    until: date
    written: tuple[date, ...]  # new days
    n_present: int  # days that were already in the folder; they are not changed
    n_left: int  # days of the log that are not written yet
    first: date
    last: date

    def to_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return {
            "folder": str(self.folder),
            "until": self.until.isoformat(),
            "written": [day.isoformat() for day in self.written],
            "days_present": self.n_present,
            "days_left": self.n_left,
            "first_day": self.first.isoformat(),
            "last_day": self.last.isoformat(),
        }

    def summary(self) -> str:
        """One line for the terminal."""
        left = f"{self.n_left} days are left" if self.n_left else "no days are left"
        ends = f"; the log ends before {self.until}" if self.until > self.last else ""
        return (
            f"{len(self.written)} days written to {self.folder}, {self.n_present} were already there; "
            f"the log runs from {self.first} to {self.last}, {left}{ends}"
        )


def write_daily_files(source: Path, folder: Path, until: date | str) -> DailyFiles:
    """Writes a file for each day of the source up to `until` that `folder` lacks: 2010-12-01.csv and so on.

    A file has the source's header and the rows of the day, byte for byte. Every row is in exactly one file, so a
    folder with all days gives the same tables as the source. Existing days are not changed, and each file is written
    completely or not at all. Raises DataError if `until` is not a day or is before the first day, or if the folder
    contains anything but days of this source.
    """
    with tempfile.TemporaryDirectory() as work, Reading(NAME, Path(work) / "reading") as reading:
        rows = _days_of_rows(reading, source)
        days = sorted({day for found in rows.values() for _, day in found})
        last = _until(until, days)
        note = _note(source)
        present = _days_present(folder, note, days)
        new = [day for day in days if day <= last and day not in present]
        header = _header(list(rows))
        folder.mkdir(parents=True, exist_ok=True)
        _write_note(folder, note)
        if new:
            _write_days(folder, header, rows, frozenset(new))
    left = sum(day > last and day not in present for day in days)
    return DailyFiles(folder, last, tuple(new), len(present), left, days[0], days[-1])


def _days_of_rows(reading: Reading, source: Path) -> Days:
    """The day of each row of the source. Raises DataError if no row has a date."""
    paths = _text_files(dataset(NAME).locate(source), reading.work)
    files = [prepare(path, NAME, reading.work, COLUMNS) for path in paths]
    columns = dict.fromkeys(COLUMNS, "VARCHAR")
    parts = [f"select {place} as place, * from ({csv_rows(file, columns, ',')})" for place, file in enumerate(files)]
    reading.run(f"create table lines as {' union all by name '.join(parts)}")  # each line's number is needed
    month_first = str(bool(reading.one(MONTH_FIRST))).lower()
    rows: Days = defaultdict(list)
    for place, line, day in reading.run(DAYS.format(values=VALUES.format(month_first=month_first))):
        if day is None:
            raise DataError(f"{NAME}: no row of {source} has a readable date; check the column InvoiceDate")
        rows[paths[place]].append((line, EPOCH + timedelta(days=day)))
    return rows


def _text_files(paths: Sequence[Path], work: Path) -> list[Path]:
    """The paths; a workbook is written as CSV first."""
    from recommenders.datasets.reading.workbook import to_csv

    return [to_csv(p, work / f"{p.stem}.csv", COLUMNS) if p.suffix == ".xlsx" else p for p in paths]


def _until(until: date | str, days: Sequence[date]) -> date:
    """`until` as a date. Raises DataError with the range of the log if it is not a date or is before the first day."""
    allowed = f"the log runs from {days[0]} to {days[-1]}"
    try:
        day = date.fromisoformat(until) if isinstance(until, str) else until
    except ValueError:
        raise DataError(f"{NAME}: --until: got {until!r}; {allowed}; give a day such as {days[0]}") from None
    if day < days[0]:
        raise DataError(f"{NAME}: --until: got {day}; {allowed}; give one of these days, or a later one for all")
    return day


def log_of(source: Path) -> Path:
    """The log whose days a folder holds; the source itself if it holds no daily files."""
    note = _read_note(source)
    return Path(note["log"]) if "log" in note else source


def _note(source: Path) -> dict[str, Any]:
    """The note of a folder: the path of its log and the hashes of the log's files."""
    files = dataset(NAME).fingerprint(source).files
    return {"dataset": NAME, "log": str(source.resolve()), "sha256": [file.sha256 for file in files]}


def _read_note(folder: Path) -> dict[str, Any]:
    """The note of a folder; empty if there is no readable one."""
    try:
        note = json.loads((folder / NOTE).read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def _days_present(folder: Path, note: dict[str, Any], days: Sequence[date]) -> set[date]:
    """The days in the folder. Raises DataError if it has other files or days of another source."""
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{NAME}: {folder} is a file; daily files need a separate folder; choose another with --to")
    names = {p.name for p in folder.glob("*") if not p.name.startswith(".")}
    known = {f"{day}.csv": day for day in days}
    foreign = names - known.keys() - {NOTE}
    if names and (foreign or _read_note(folder).get("sha256") != note["sha256"]):
        example = sorted(foreign or names)[0]
        raise DataError(
            f"{NAME}: {folder} has {example}, which is no day of {note['log']}; choose an empty folder with --to"
        )
    return {known[name] for name in names - {NOTE}}


def _write_note(folder: Path, note: dict[str, Any]) -> None:
    with atomic_file(folder / NOTE) as staging:
        staging.write_text(json.dumps(note, indent=2))


def _write_days(folder: Path, header: bytes, rows: Days, days: frozenset[date]) -> None:
    """Writes these days. At most one block of rows is in memory at a time; the log may be in any order."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".writing-") as staging:
        for day in days:
            _path(Path(staging), day).write_bytes(header)
        waiting, n_bytes = defaultdict[date, bytearray](bytearray), 0
        for day, raw in _raw_rows(rows):
            if day in days:
                waiting[day] += raw
                n_bytes += len(raw)
            if n_bytes > BLOCK:
                _append(Path(staging), waiting)
                n_bytes = 0
        _append(Path(staging), waiting)
        for day in sorted(days):
            _path(Path(staging), day).replace(_path(folder, day))


def _path(folder: Path, day: date) -> Path:
    return folder / f"{day}.csv"


def _append(folder: Path, waiting: dict[date, bytearray]) -> None:
    for day, text in waiting.items():
        with _path(folder, day).open("ab") as file:
            file.write(text)
    waiting.clear()


def _header(paths: Sequence[Path]) -> bytes:
    """The header line of all files. Raises DataError if headers differ, as a day may have rows of several files."""
    found = {next(_lines(path)): path.name for path in paths}
    if len(found) > 1:
        names = " and ".join(list(found.values())[:2])
        raise DataError(f"{NAME}: {names} have different headers; give all files the same columns in one order")
    return next(iter(found))


def _raw_rows(rows: Days) -> Iterator[tuple[date, bytes]]:
    """(day, bytes) of each row in the source's order; a row may have several lines. Blank lines between are dropped."""
    for path, found in rows.items():
        wanted = iter(found)
        line, next_day = next(wanted)
        day, blank = None, b""
        for number, raw in enumerate(_lines(path), 1):
            if number == line:
                day, blank = next_day, b""
                line, next_day = next(wanted, (0, day))
            if not raw.strip():
                blank += raw
            elif day is not None:
                yield day, blank + raw
                blank = b""


def _lines(path: Path) -> Iterator[bytes]:
    """The lines of a file, each with a line end, without a byte order mark."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        for number, raw in enumerate(file):
            line = raw.removeprefix(b"\xef\xbb\xbf") if number == 0 else raw
            yield line if line.endswith(b"\n") else line + b"\n"
