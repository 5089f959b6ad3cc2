"""Fields against Python's csv module, an independent reader."""

import csv
import io
import unicodedata
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommenders.datasets import csv_lines

FIELD = st.text(st.characters(exclude_characters="\0\r\n", exclude_categories=["Cs"]), max_size=8)
ROWS = st.lists(st.tuples(FIELD, FIELD, FIELD), min_size=1, max_size=8)


def trimmed(text: str) -> str | None:
    """Without the spaces around it, as DuckDB's trim sees them; None where nothing is left."""
    spaces = "".join({char for char in text if unicodedata.category(char) == "Zs"})
    return (text.strip(spaces) if spaces else text) or None


@settings(max_examples=25, deadline=None)
@given(ROWS)
def test_fields_are_those_of_pythons_reader(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, ...]]
) -> None:
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    text = io.StringIO()
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_MINIMAL).writerows([("a", "b", "c"), *rows])
    path.write_bytes(text.getvalue().encode())
    with duckdb.connect() as connection:
        assert csv_lines.load(connection, "test", "rows", [path], ("c", "a")) == len(rows)
        found = connection.execute("select broken, a, c, line from rows").fetchall()
    expected = [(None, trimmed(a), trimmed(c), n) for n, (a, _, c) in enumerate(rows, start=2)]
    assert found == expected


def test_a_file_longer_than_a_block_keeps_its_line_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_lines, "BLOCK", 7)
    path = tmp_path / "a.csv"
    path.write_text("a,b\n" + "".join(f"{n},é{n}\r\n" for n in range(2, 40)) + "40,last")
    with duckdb.connect() as connection:
        csv_lines.load(connection, "test", "rows", [path], ("a", "b"))
        found = connection.execute("select line, a, b from rows").fetchall()
    assert found == [(n, str(n), f"é{n}") for n in range(2, 40)] + [(40, "40", "last")]
