"""Workbooks that openpyxl writes and python-calamine reads."""

import csv
import struct
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from recommenders.datasets.all_datasets import DATASETS
from recommenders.datasets.reading.workbook import to_csv
from recommenders.datasets.sources.online_retail import COLUMNS
from recommenders.errors import DataError

openpyxl = pytest.importorskip("openpyxl", reason="openpyxl makes the workbooks of these tests")

LINE = (536365, "85123A", "HEART, HOLDER", 6, datetime(2010, 12, 1, 8, 26), 2.55, 17850.0, "United Kingdom")


def book_of(folder: Path, *rows: tuple[Any, ...], header: tuple[str, ...] = COLUMNS) -> Path:
    book = openpyxl.Workbook()
    for row in (header, *rows) if header else rows:
        book.active.append(row)
    book.create_sheet("Second").append(("not", "read"))
    path = folder / "Online Retail.xlsx"
    book.save(path)
    return path


def lines(folder: Path, *rows: tuple[Any, ...], header: tuple[str, ...] = COLUMNS) -> list[list[str]]:
    out = to_csv(book_of(folder, *rows, header=header), folder / "out.csv", COLUMNS)
    with out.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def message(path: Path, out: Path) -> str:
    """The error of a workbook that cannot be read; one line, and no output is left."""
    with pytest.raises(DataError) as caught:
        to_csv(path, out, COLUMNS)
    assert "\n" not in str(caught.value)
    assert not list(out.parent.glob("out.csv*"))
    return str(caught.value)


def test_the_csv_is_what_the_data_set_is_read_from(tmp_path: Path) -> None:
    held, good = lines(tmp_path, LINE)
    assert tuple(held) == COLUMNS
    assert good == ["536365", "85123A", "HEART, HOLDER", "6", "2010-12-01 08:26:00", "2.55", "17850", "United Kingdom"]
    tables = DATASETS["online_retail"].read(tmp_path / "out.csv")
    assert tables.counts.kept == 1
    assert tables.interactions["timestamp"][0].as_py().replace(tzinfo=None) == datetime(2010, 12, 1, 8, 26)


@pytest.mark.parametrize(
    ("place", "cell", "text"),
    [
        ("InvoiceNo", "C536379", "C536379"),
        ("InvoiceNo", 536379.0, "536379"),
        ("StockCode", 71053, "71053"),
        ("StockCode", "00123", "00123"),
        ("Description", None, ""),
        ("Description", "two\nlines\r\nof it", "two lines of it"),
        ("Description", ' 12" RULER £ ', ' 12" RULER £ '),
        ("Quantity", -24, "-24"),
        ("UnitPrice", 0.001, "0.001"),
        ("UnitPrice", 11062.06, "11062.06"),
        ("UnitPrice", 4.0, "4"),
        ("CustomerID", None, ""),
        ("InvoiceDate", datetime(2011, 12, 9, 12, 49, 59), "2011-12-09 12:49:59"),
        ("InvoiceDate", datetime(2011, 12, 9), "2011-12-09 00:00:00"),
        ("InvoiceDate", date(2011, 12, 9), "2011-12-09 00:00:00"),
        ("InvoiceDate", "12/9/2011 12:49", "12/9/2011 12:49"),
    ],
)
def test_a_cell_is_written_as_a_person_sees_it(tmp_path: Path, place: str, cell: Any, text: str) -> None:
    at = COLUMNS.index(place)
    row = (*LINE[:at], cell, *LINE[at + 1 :])
    assert lines(tmp_path, row)[1][at] == text


def test_every_minute_of_a_day_survives_the_serial_number(tmp_path: Path) -> None:
    times = [datetime(2011, 3, 5, minute // 60, minute % 60) for minute in range(1440)]
    read = lines(tmp_path, *((*LINE[:4], time, *LINE[5:]) for time in times))[1:]
    assert [row[4] for row in read] == [f"{time:%Y-%m-%d %H:%M:%S}" for time in times]


def test_other_columns_are_left_out_and_an_empty_row_is_an_empty_line(tmp_path: Path) -> None:
    header = ("Note", *reversed(COLUMNS))
    read = lines(tmp_path, ("x", *reversed(LINE)), (None,) * 9, ("y", *reversed(LINE)), header=header)
    assert tuple(read[0]) == COLUMNS
    assert [row[:1] for row in read[1:]] == [["536365"], [], ["536365"]]
    assert {row[7] for row in read[1:] if row} == {"United Kingdom"}


def test_all_columns_of_a_sheet_by_its_name(tmp_path: Path) -> None:
    path = book_of(tmp_path, LINE)
    assert to_csv(path, tmp_path / "out.csv").read_text().splitlines()[0] == ",".join(COLUMNS)
    assert to_csv(path, tmp_path / "out.csv", sheet="Second").read_text() == "not,read\n"
    with pytest.raises(DataError, match="has no sheet 'Secnd'; choose from Second, Sheet; did you mean Second"):
        to_csv(path, tmp_path / "out.csv", sheet="Secnd")


def test_missing_columns_are_an_error_with_their_names(tmp_path: Path) -> None:
    path = book_of(tmp_path, ("1", "2"), header=("Invoice", "StockCode"))
    reported = message(path, tmp_path / "out.csv")
    assert "lacks InvoiceNo, Description, Quantity" in reported
    assert "got Invoice, StockCode; expected InvoiceNo, StockCode" in reported


def test_an_empty_sheet_and_a_sheet_with_only_a_header_are_errors(tmp_path: Path) -> None:
    assert "the first sheet is empty" in message(book_of(tmp_path, header=()), tmp_path / "out.csv")
    assert "has a header but no rows" in message(book_of(tmp_path), tmp_path / "out.csv")


@pytest.mark.parametrize(
    "body", [b"", b"InvoiceNo,StockCode\n1,2\n", b"<html>sign in</html>", b"PK\x03\x04 and no more"]
)
def test_a_file_that_is_not_a_workbook_is_an_error(tmp_path: Path, body: bytes) -> None:
    path = tmp_path / "Online Retail.xlsx"
    path.write_bytes(body)
    assert "is not a workbook" in message(path, tmp_path / "out.csv")


def test_a_truncated_workbook_is_an_error(tmp_path: Path) -> None:
    path = book_of(tmp_path, *[LINE] * 500)
    path.write_bytes(path.read_bytes()[:-200])
    assert "is not a workbook" in message(path, tmp_path / "out.csv")


def test_a_workbook_with_a_password_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "Online Retail.xlsx"
    path.write_bytes(compound_file("EncryptedPackage"))
    assert "is protected by a password; expected a plain .xlsx" in message(path, tmp_path / "out.csv")


def test_an_old_csv_stays_where_the_new_one_fails(tmp_path: Path) -> None:
    (tmp_path / "Online Retail.xlsx").write_bytes(b"no")
    (tmp_path / "out.csv").write_text("old")
    with pytest.raises(DataError):
        to_csv(tmp_path / "Online Retail.xlsx", tmp_path / "out.csv", COLUMNS)
    assert (tmp_path / "out.csv").read_text() == "old"


def compound_file(stream: str) -> bytes:
    """The smallest OLE container with one stream, which is how Excel wraps an encrypted workbook ([MS-CFB])."""
    free, end, fat = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16)
    header += struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6) + bytes(6)
    header += struct.pack("<IIIIIIIII", 0, 1, 1, 0, 4096, end, 0, end, 0)
    header += struct.pack("<I", 0) + struct.pack("<I", free) * 108
    table = struct.pack("<II", fat, end) + struct.pack("<I", free) * 126
    return header + table + _entry("Root Entry", 5, 1) + _entry(stream, 2, free) + bytes(256)


def _entry(name: str, kind: int, child: int) -> bytes:
    text, none = (name + "\0").encode("utf-16-le"), 0xFFFFFFFF
    head = text.ljust(64, b"\0") + struct.pack("<HBBIII", len(text), kind, 1, none, none, child)
    return head + bytes(36) + struct.pack("<IQ", 0xFFFFFFFE, 0)
