import csv
import gzip
from collections import Counter
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommenders.datasets.all_datasets import DATASETS
from recommenders.datasets.daily_files import DailyFiles, log_of, write_daily_files
from recommenders.datasets.sources.online_retail import COLUMNS
from recommenders.datasets.spec import Tables
from recommenders.errors import DataError

read = DATASETS["online_retail"].read
HEADER = ",".join(COLUMNS)


def line(invoice: str, time: str, customer: str = "17850.0", quantity: int = 6, title: str = "HEART HOLDER") -> str:
    return f"{invoice},85123A,{title},{quantity},{time},2.55,{customer},United Kingdom"


LINES = [
    line("1", "2010-12-01 08:26:00"),
    line("2", "2010-12-01 09:00:00", customer=""),
    line("3", "no time at all"),
    line("4", "2010-12-03 10:00:00", title='"HOLDER, RED ""XL"""'),
    "",
    line("5", "2010-12-02 23:59:59"),  # out of order
    line("6", "2010-12-05 00:00:00", title="two,many"),  # one field too many: its date is not used
    line("7", "2010-12-05 00:00:00"),
    line("C8", "2010-12-06 12:00:00", quantity=-2),
    line("7", "2010-12-05 00:00:00"),
]
DAYS = {
    "2010-12-01": LINES[:3],
    "2010-12-03": LINES[3:4],
    "2010-12-02": LINES[5:7],
    "2010-12-05": [LINES[7], LINES[9]],
    "2010-12-06": [LINES[8]],
}
END = date(2010, 12, 6)


def write(path: Path, *lines: str, header: str = HEADER) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("\n".join([header, *lines, ""]).encode())
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write(tmp_path / "source" / "log.csv", *LINES)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def same(one: Tables, other: Tables) -> bool:
    tables = ((one.interactions, other.interactions), (one.items, other.items), (one.users, other.users))
    return one.counts == other.counts and all(a.equals(b) for a, b in tables)


def refusal(source: Path, folder: Path, until: date | str = END) -> str:
    """The error of a call that is refused; always one line."""
    with pytest.raises(DataError) as caught:
        write_daily_files(source, folder, until)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_each_row_is_in_the_file_of_its_day(source: Path, tmp_path: Path) -> None:
    result = write_daily_files(source, tmp_path / "result", END)
    found = {p.stem: p.read_text().splitlines() for p in (tmp_path / "result").glob("*.csv")}
    assert found == {day: [HEADER, *lines] for day, lines in DAYS.items()}
    assert result == DailyFiles(
        tmp_path / "result", END, tuple(date.fromisoformat(d) for d in sorted(DAYS)), 0, 0, date(2010, 12, 1), END
    )
    assert result.to_json()["written"] == sorted(DAYS)
    assert result.summary().startswith("5 days written to ")
    assert result.summary().endswith("from 2010-12-01 to 2010-12-06, no days are left")


def test_the_files_of_all_days_give_the_same_tables_as_the_source(source: Path, tmp_path: Path) -> None:
    write_daily_files(source, tmp_path / "result", END)
    whole = read(source)
    assert (whole.counts.kept, whole.counts.quarantined, whole.counts.netted) == (4, 2, 1)
    assert same(read(tmp_path / "result"), whole)


def test_several_calls_give_the_same_bytes_as_one(source: Path, tmp_path: Path) -> None:
    ends = ("2010-12-02", "2010-12-02", "2010-12-04", "2010-12-06")
    steps = [write_daily_files(source, tmp_path / "steps", day) for day in ends]
    assert [len(result.written) for result in steps] == [2, 0, 1, 2]
    assert [result.n_present for result in steps] == [0, 2, 2, 3]
    assert [result.n_left for result in steps] == [3, 3, 2, 0]
    write_daily_files(source, tmp_path / "leap", END)
    assert contents(tmp_path / "steps") == contents(tmp_path / "leap")


def test_existing_days_are_not_changed_and_missing_days_are_written(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "result"
    write_daily_files(source, folder, END)
    (folder / "2010-12-02.csv").write_text("mine now")
    (folder / "2010-12-03.csv").unlink()
    assert write_daily_files(source, folder, "2010-12-03").written == (date(2010, 12, 3),)
    assert (folder / "2010-12-02.csv").read_text() == "mine now"
    assert (folder / "2010-12-06.csv").exists()


def test_an_end_after_the_last_day_writes_all_days(source: Path, tmp_path: Path) -> None:
    result = write_daily_files(source, tmp_path / "result", "2012-01-01")
    assert (len(result.written), result.n_left) == (5, 0)
    assert result.summary().endswith("no days are left; the log ends before 2012-01-01")


def test_an_invalid_end_is_an_error_with_the_range_of_days(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "result"
    allowed = "the log runs from 2010-12-01 to 2010-12-06"
    assert f"--until: got 2010-11-30; {allowed};" in refusal(source, folder, "2010-11-30")
    assert f"--until: got '31.12.2010'; {allowed}; give a day such as 2010-12-01" in refusal(
        source, folder, "31.12.2010"
    )
    assert not folder.exists()


def test_a_folder_without_daily_files_of_this_source_is_not_changed(source: Path, tmp_path: Path) -> None:
    assert "log.csv, which is no day of" in refusal(source, source.parent)
    assert "is a file" in refusal(source, source)
    folder = tmp_path / "result"
    write_daily_files(source, folder, END)
    (folder / "notes.txt").write_text("")
    assert "has notes.txt" in refusal(source, folder)
    (folder / "notes.txt").unlink()
    before = contents(folder)
    write(source, *LINES, line("9", "2010-12-07 08:00:00"))
    assert "has 2010-12-01.csv, which is no day of" in refusal(source, folder)
    (folder / "replay.json").write_text("{")
    assert "choose an empty folder with --to" in refusal(source, folder)
    assert contents(folder) == before | {"replay.json": b"{"}


def test_the_log_of_daily_files_is_found_after_it_was_moved(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "result"
    write_daily_files(source, folder, "2010-12-02")
    assert log_of(folder) == source
    assert log_of(source) == source
    assert log_of(source.parent) == source.parent
    moved = source.rename(tmp_path / "moved.csv")
    assert write_daily_files(moved, folder, END).n_present == 2
    assert log_of(folder) == moved
    (folder / "replay.json").write_text("[]")
    assert log_of(folder) == folder


def test_files_of_an_interrupted_call_are_ignored(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "result"
    write(folder / ".writing-x" / "2010-12-01.csv")
    (folder / ".replay.json.new").write_text("{")
    write_daily_files(source, folder, END)
    assert same(read(folder), read(source))


def test_unusual_files_are_written_byte_for_byte(tmp_path: Path) -> None:
    lines = [line(str(n), f"2010-12-0{1 + n // 200} 08:00:00") for n in range(400)]
    text = "\r\n".join(
        [HEADER, *lines]
    ).encode()  # a byte order mark, Windows line ends, no final line end, one line in Latin-1
    odd = b"\xef\xbb\xbf" + text.replace(b"\n7,85123A,HEART", b"\n7,85123A,H\xe9ART")
    (tmp_path / "log.csv.gz").write_bytes(gzip.compress(odd))
    write_daily_files(tmp_path / "log.csv.gz", tmp_path / "result", END)
    first, second = ((tmp_path / "result" / f"2010-12-0{n}.csv").read_bytes() for n in (1, 2))
    head = HEADER.encode() + b"\r\n"
    assert first.startswith(head)
    assert second.startswith(head)
    assert (head + first.removeprefix(head) + second.removeprefix(head)).strip() == odd[3:]
    whole = read(tmp_path / "log.csv.gz")
    assert (whole.counts.kept, whole.counts.quarantined) == (399, 1)
    assert same(read(tmp_path / "result"), whole)


def test_several_files_are_one_log(tmp_path: Path) -> None:
    write(tmp_path / "parts" / "a.csv", *LINES[:4])
    write(tmp_path / "parts" / "b.csv", *LINES[2:])
    write_daily_files(tmp_path / "parts", tmp_path / "result", END)
    assert same(read(tmp_path / "result"), read(tmp_path / "parts"))
    write(tmp_path / "parts" / "b.csv", LINES[0], header=HEADER + ",More")
    assert "a.csv and b.csv have different headers" in refusal(tmp_path / "parts", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_workbook_is_written_as_text(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in csv.reader([HEADER, LINES[0], LINES[3], LINES[5]]):
        book.active.append(row)
    (tmp_path / "parts").mkdir()
    book.save(tmp_path / "parts" / "log.xlsx")
    write(tmp_path / "parts" / "log.csv", LINES[8])
    assert len(write_daily_files(tmp_path / "parts", tmp_path / "result", END).written) == 4
    assert same(read(tmp_path / "result"), read(tmp_path / "parts"))


def test_a_log_without_any_date_has_no_daily_files(tmp_path: Path) -> None:
    reported = refusal(write(tmp_path / "log.csv", LINES[2]), tmp_path / "result")
    assert "no row of" in reported
    assert "check the column InvoiceDate" in reported


@settings(max_examples=10)
@given(st.lists(st.sampled_from(LINES), max_size=12))
def test_no_row_is_lost_or_doubled(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    folder = tmp_path_factory.mktemp("daily")
    source = write(folder / "log.csv", *lines, LINES[0])
    write_daily_files(source, folder / "result", END)
    found = [row for path in (folder / "result").glob("*.csv") for row in path.read_text().splitlines()[1:]]
    assert Counter(found) == Counter(row for row in [*lines, LINES[0]] if row)
    assert same(read(folder / "result"), read(source))


@pytest.mark.real_data
def test_days_of_the_real_log(real_data: Path, tmp_path: Path) -> None:
    source = real_data / "online_retail"
    result = write_daily_files(source, tmp_path / "result", "2010-12-05")
    assert [day.isoformat() for day in result.written] == ["2010-12-01", "2010-12-02", "2010-12-03", "2010-12-05"]
    assert (result.n_left, result.last) == (301, date(2011, 12, 9))
    with gzip.open(source / "online_retail.csv.gz") as file:
        whole = file.read().splitlines()
    days = [(tmp_path / "result" / f"{day}.csv").read_bytes().splitlines() for day in result.written]
    joined = [row for rows in days for row in rows[1:]]
    assert all(rows[0] == whole[0] for rows in days)
    assert joined == whole[1 : len(joined) + 1]
    assert read(tmp_path / "result").counts.read == len(joined)


def test_a_row_of_several_lines_stays_complete(tmp_path: Path) -> None:
    row = '9,85123A,"HEART\n\nHOLDER",6,2010-12-02 08:26:00,2.55,17850.0,United Kingdom'
    source = write(tmp_path / "log.csv", LINES[0], row, "", LINES[0])
    write_daily_files(source, tmp_path / "result", END)
    assert (tmp_path / "result" / "2010-12-02.csv").read_text() == f"{HEADER}\n{row}\n"
