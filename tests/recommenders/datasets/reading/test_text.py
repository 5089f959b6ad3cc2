"""Compares the readers with Python's csv and json modules, which are independent of them."""

import codecs
import csv
import gzip
import io
import json
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommenders.datasets.reading import lines, text
from recommenders.datasets.reading.lines import text_literal
from recommenders.datasets.reading.source_reading import Reading
from recommenders.errors import DataError

FIELD = st.text(st.characters(exclude_characters="\0\r\n", exclude_categories=["Cs"]), max_size=8)
ROWS = st.lists(st.tuples(FIELD, FIELD, FIELD), min_size=1, max_size=8)


def trimmed(value: str) -> str | None:
    """The value without surrounding spaces, like DuckDB's trim; None if nothing is left."""
    spaces = "".join({char for char in value if unicodedata.category(char) == "Zs"})
    return (value.strip(spaces) if spaces else value) or None


def rows_of(folder: Path, path: Path, columns: dict[str, str], how: str = "csv") -> list[tuple[Any, ...]]:
    """(line, broken, *columns) as read line by line; also asserts that the fast reader returns no other good rows."""
    with Reading("test", folder / "work") as reading:
        getattr(reading, how)("rows", [path], columns)
        names = ", ".join(f'"{name}"' for name in columns)
        good = Counter(reading.run(f"select {names} from rows where broken is null"))
        wanted = list(columns) if how == "csv" else ()
        file = text.prepare(path, "test", folder / "work", wanted, header=how == "csv")
        exact = lines.csv_rows(file, columns, ",") if how == "csv" else lines.json_rows(file, columns)
        found = reading.run(f"select line, broken, {names} from ({exact}) order by line")
        assert good <= Counter(row[2:] for row in found if row[1] is None)
        return found


@settings(max_examples=25)
@given(ROWS)
def test_fields_are_those_of_pythons_reader(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, ...]]
) -> None:
    folder = tmp_path_factory.mktemp("csv")
    made = io.StringIO()
    csv.writer(made, lineterminator="\n", quoting=csv.QUOTE_MINIMAL).writerows([("a", "b", "c"), *rows])
    (folder / "a.csv").write_bytes(made.getvalue().encode())
    found = rows_of(folder, folder / "a.csv", {"c": "VARCHAR", "a": "VARCHAR"})
    assert found == [(n, None, trimmed(c), trimmed(a)) for n, (a, _, c) in enumerate(rows, start=2)]


LONG = st.text(st.sampled_from('ab",\n é'), max_size=8)


@settings(max_examples=50)
@given(st.lists(st.tuples(LONG, LONG, LONG), min_size=1, max_size=8), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_records_of_several_lines_are_those_of_pythons_reader(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, ...]], end: str, zipped: bool
) -> None:
    folder = tmp_path_factory.mktemp("csv")
    made = io.StringIO()
    csv.writer(made, lineterminator=end, quoting=csv.QUOTE_ALL).writerows([("a\nb", "b", "c"), *rows])
    path = folder / ("a.csv.gz" if zipped else "a.csv")
    path.write_bytes(gzip.compress(made.getvalue().encode()) if zipped else made.getvalue().encode())
    with Reading("test", folder / "work") as reading:
        reading.csv("rows", [path], {"c": "VARCHAR", "a b": "VARCHAR"})
        found = reading.run('select line, broken, c, "a b" from rows order by line')
    starts = [2 + sum("".join(row).count("\n") + 1 for row in rows[:n]) + 1 for n in range(len(rows))]
    texts = [tuple((value.strip(" \n") or None) for value in (c, a)) for a, _, c in rows]
    assert found == [(line, None, *text) for line, text in zip(starts, texts, strict=True)]


OPEN = ['1,"Desk,3', '2,Chair,"4', '3,"Sofa"x,5', '"']


@given(st.lists(st.sampled_from([*OPEN, '7,"two\nlines",8', '7,"Bed, wide",8', "7,Bed,8"]), min_size=1, max_size=12))
@settings(max_examples=50)
def test_an_open_quote_affects_no_other_row(tmp_path_factory: pytest.TempPathFactory, rows: list[str]) -> None:
    folder = tmp_path_factory.mktemp("csv")
    (folder / "a.csv").write_text("\n".join(["a,b,c", *(line for row in rows for line in (row, *["7,Row,8"] * 9))]))
    with Reading("test", folder / "work") as reading:
        reading.csv("rows", [folder / "a.csv"], {"a": "VARCHAR", "b": "VARCHAR", "c": "VARCHAR"})
        n_good = reading.one("select count(*) from rows where broken is null and a = '7'")
        assert n_good == 9 * len(rows) + sum(row not in OPEN for row in rows)


def test_a_line_that_is_not_text_breaks_its_record(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b'a,b\n1,"one\n\xff\ntwo"\n' + b"2,x\n" * 20)
    found = rows_of(tmp_path, tmp_path / "a.csv", {"a": "VARCHAR", "b": "VARCHAR"})
    assert (found[0][:2], found[1][:2], len(found)) == ((2, "not UTF-8 text"), (5, None), 21)


KEYS = st.sampled_from(["a", "b", "c"])
SCALARS = st.none() | FIELD | st.integers(-(2**60), 2**60)
LINES = st.lists(st.dictionaries(KEYS, SCALARS, max_size=3), min_size=1, max_size=8)


@settings(max_examples=25)
@given(LINES)
def test_objects_are_those_of_pythons_reader(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]
) -> None:
    folder = tmp_path_factory.mktemp("json")
    (folder / "a.json").write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    found = rows_of(folder, folder / "a.json", {"a": "VARCHAR", "c": "VARCHAR"}, "json")
    texts = [{key: trimmed(str(value)) for key, value in row.items() if value is not None} for row in rows]
    assert found == [(n, None, row.get("a"), row.get("c")) for n, row in enumerate(texts, 1)]


NUMBERS = {
    **{word: int(word) for word in ("7", "+7", "007", "4294967295", " 7 ")},
    "7.0": 7,
    "7e2": 700,
    **dict.fromkeys(("7.5", "6.5", "-7", "4294967296", "99999999999999999999", "seven", "7,1", "nan", "inf", "7 7")),
}


@pytest.mark.parametrize("how", ["csv", "json"])
def test_a_number_that_is_not_whole_is_not_rounded(how: str, tmp_path: Path) -> None:
    shown = [number for number in NUMBERS if how == "json" or "," not in number]
    rows = [json.dumps({"a": number, "b": "x"}) if how == "json" else f"{number},x" for number in shown]
    (tmp_path / "rows").write_text("\n".join(rows if how == "json" else ["a,b", *rows]))
    found = rows_of(tmp_path, tmp_path / "rows", {"a": "UINTEGER", "b": "VARCHAR"}, how)
    for number, (_, broken, value, _) in zip(shown, found, strict=True):
        expected = NUMBERS[number]
        assert (broken, value if broken is None else None) == (
            None if expected is not None else "a is not a whole number",
            expected,
        ), number


def test_whole_numbers_beyond_those_of_a_double_stay_exact(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"a,b\n{2**53 + 1},x\n{2**53 - 1},x\n")
    with Reading("test", tmp_path / "work") as reading:
        reading.csv("rows", [tmp_path / "a.csv"], {"a": "BIGINT", "b": "VARCHAR"})
        reading.apply_rules("rows", {"no a": "a is null"})
        assert not reading.collect_dropped_rows(
            "rows", int(reading.one("select count(*) from good_rows"))
        )  # read again, by line
        assert reading.run("select a from good_rows order by a") == [(2**53 - 1,), (2**53 + 1,)]


def test_a_file_longer_than_a_block_keeps_its_line_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "BLOCK", 7)
    path = tmp_path / "a.csv"
    path.write_bytes(("a,b\n" + "".join(f"{n},é{n}\r\n" for n in range(2, 40)) + "40,last").encode())
    found = rows_of(tmp_path, path, {"a": "VARCHAR", "b": "VARCHAR"})
    assert found == [(n, None, str(n), f"é{n}") for n in range(2, 40)] + [(40, None, "40", "last")]


@pytest.mark.parametrize("name", ["a.json", "a.json.gz"])
def test_each_line_that_is_not_text_is_reported(name: str, tmp_path: Path) -> None:
    good = b'{"a": "x"}\n'
    made = (good * 300 + b'{"a": "\xff"}\n{"a": "\0"}\n') * 3
    (tmp_path / name).write_bytes(gzip.compress(made) if name.endswith(".gz") else made)
    found = rows_of(tmp_path, tmp_path / name, {"a": "VARCHAR"}, "json")
    reported = {line: broken for line, broken, _ in found if broken}
    assert reported == {
        n * 302 + m: reason for n in range(3) for m, reason in ((301, "not UTF-8 text"), (302, "has a zero byte"))
    }
    assert len(found) == 906


@pytest.mark.parametrize("last", [b'{"a": "caf\xc3', b"\xe2\x82"])
def test_a_file_that_ends_inside_a_character_loses_no_line(last: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'{"a": "x"}\n' * 300 + last)
    found = rows_of(tmp_path, tmp_path / "a.json", {"a": "VARCHAR"}, "json")
    assert (len(found), found[-1][:2]) == (301, (301, "not UTF-8 text"))


ROW = "1,é\n".encode() * 40
DAMAGE = {
    "is empty; expected rows of text": b"",
    "is a web page, not the data": b"\n <!doctype html><html></html>",
    "it begins like UTF-16; convert it to UTF-8": codecs.BOM_UTF16_LE + "a,b\n1,2\n".encode("utf-16-le"),
    "is not UTF-8 text: 40 of 41 lines, the first is line 2": b"a,b\n" + ROW.decode().encode("latin-1"),
    "lacks b; got a, c; expected a, b; correct its header": b"a,c\n" + ROW,
    "not text but a zip, workbook or Parquet file": b"PAR1" + ROW,
}


@pytest.mark.parametrize("why", DAMAGE)
@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_whole_file_damage_is_one_line(name: str, why: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(DAMAGE[why]) if name.endswith(".gz") else DAMAGE[why])
    (tmp_path / "work").mkdir()
    with pytest.raises(DataError) as caught:
        text.prepare(path, "test", tmp_path / "work", ("a", "b"))
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("zipped", [False, True])
def test_a_truncated_gzip_file_is_an_error(zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n" + ROW * 99)[:-9])
    (tmp_path / "work").mkdir()
    with pytest.raises(DataError, match=r"a\.csv\.gz is a damaged gzip file"):
        text.prepare(path, "test", tmp_path / "work", ("a",), zipped=zipped)


@given(st.text())
def test_a_quotation_mark_does_not_end_a_literal(value: str) -> None:
    assert text_literal(value).replace("''", "")[1:-1].count("'") == 0
