"""The users of batch lists: those of the log, and those of a file with its errors."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recommenders.errors import ConfigurationError, DataError
from serving.batch.options import BatchOptions
from serving.batch.users import known_users, open_users

OPTIONS, BASKET = BatchOptions("discover", 5, ("price",), {"brand": "A"}), BatchOptions("basket")


def read(path: Path, options: BatchOptions = OPTIONS) -> list[tuple[Any, tuple[Any, ...]]]:
    file = open_users(path)
    n_users, requests = file.check(options), list(file.requests(options))
    assert n_users == len(requests)
    assert all(one.scene == options.scene and one.n_recommendations == options.n for one in requests)
    assert all(one.filters == options.filters and one.fields == tuple(options.fields) for one in requests)
    return [(one.user_id, one.history) for one in requests]


def test_each_line_of_a_text_is_a_user(tmp_path: Path) -> None:
    path = tmp_path / "users.txt"
    path.write_bytes("\ufeff17\n 000055 \r\n\n\nMüller, GmbH\n17".encode())
    assert read(path) == [("17", ()), ("000055", ()), ("Müller, GmbH", ()), ("17", ())]


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_a_csv_file_has_users_and_histories(tmp_path: Path, mark: str) -> None:
    path = tmp_path / "users.csv"
    rows = [
        mark.join(("name", "history", " user_id ")),
        mark.join(("A", '"[101, ""x,; y""]"', "17")),
        mark.join(('"two\nlines"', "", "000055")),
        "",
        mark.join(("C", "[]", '" a"')),
    ]
    path.write_text("\n".join(rows), newline="")
    assert read(path) == [("17", (101, "x,; y")), ("000055", ()), ("a", ())]
    assert [one[0] for one in read(path, BASKET)] == ["17", "000055", "a"]


def test_a_parquet_file_has_users_and_histories(tmp_path: Path) -> None:
    path = tmp_path / "users.parquet"
    pq.write_table(pa.table({"x": [1, 2], "user_id": [17, 18], "history": [["101", "102"], None]}), path)
    assert read(path) == [(17, ("101", "102")), (18, ())]
    of_text = pa.array(["a", "b", "a"]).dictionary_encode()
    pq.write_table(pa.table({"user_id": of_text, "history": pa.array([[1], [], [2]], pa.large_list(pa.int32()))}), path)
    assert read(path) == [("a", (1,)), ("b", ()), ("a", (2,))]
    pq.write_table(pa.table({"user_id": ["a"], "history": pa.array([[]], pa.list_(pa.null()))}), path)
    assert read(path) == [("a", ())]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("u.csv", "id,name\n1,2\n", r"columns: got 'id,name'; allowed: the column user_id, and history if you like"),
        ("u.csv", "", r"columns: got ''; allowed: the column user_id"),
        ("u.csv", "user_id,user_id\n1,2\n", "once each"),
        ("u.csv", "user_id,history\n17,[101]\n18,101 2048\n", r"line 3: history: got '101 2048'; allowed: a JSON list"),
        ("u.csv", 'user_id,history\n17,"[101, -1]"\n', r"line 2: history\[1\]: got -1; allowed: a string of 1 to 1024"),
        ("u.csv", 'user_id,history\n17,"{}"\n', r"line 2: history: got an object; allowed: a list of up to 1000"),
        ("u.csv", "user_id,history\n17\n", r"line 2: got 1 fields; allowed: 2, as in the header"),
        ("u.csv", "user_id,history\n,\n", r"line 2: user_id: got ''; allowed: a string of 1 to 1024 characters"),
        ("u.csv", 'user_id\n"17\n18\n', r"line 3: .*; allowed: CSV \(RFC 4180\)"),
        ("u.csv", b"user_id\n17\n\xff\n", r"not UTF-8 text; save it as UTF-8"),
        ("u.csv", b"\xffuser_id\n17\n", r"line 1 or later: not UTF-8 text"),
        ("u.csv", "user_id\n", "no users; allowed: at least one"),
        ("u.txt", "\n \n", "no users; allowed: at least one"),
        ("u.txt", b"17\n\xff\n", r"not UTF-8 text"),
        ("u.txt", "17\n" + "x" * 1025 + "\n", r"line 2: user_id: got 'xxx.*; allowed: a string of 1 to 1024"),
        ("u.parquet", "user_id\n17\n", "not a whole Parquet file"),
        ("u.parquet", {"user": ["1"]}, r"columns: got user; allowed: the column user_id"),
        ("u.parquet", {"user_id": [1.0, None]}, r"user_id: got double; allowed: text or whole numbers; convert"),
        ("u.parquet", {"user_id": ["1"], "history": ["101"]}, r"history: got string; allowed: lists of text or of"),
        ("u.parquet", {"user_id": ["1", None]}, r"row 2: user_id: got null; allowed: a string"),
        ("u.parquet", {"user_id": [-1]}, r"row 1: user_id: got -1; allowed: "),
    ],
)
def test_the_first_row_that_is_not_valid_is_an_error(tmp_path: Path, name: str, content: Any, message: str) -> None:
    path = tmp_path / name
    if isinstance(content, dict):
        pq.write_table(pa.table(content), path)
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=rf"^--users: .*{name}.*{message}"):
        open_users(path).check(OPTIONS)


def test_a_parquet_file_that_was_cut_or_changed_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "users.parquet"
    pq.write_table(pa.table({"user_id": [f"user {n}" for n in range(2000)]}), path, compression="none")
    content = bytearray(path.read_bytes())
    content[4:60] = b"\xff" * 56  # the header of the first page
    path.write_bytes(content)
    with pytest.raises(DataError, match="not a whole Parquet file"):
        open_users(path).check(OPTIONS)


def test_a_file_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--users: no such file: .*none\.csv; allowed: \.csv, \.parquet, or text"):
        open_users(tmp_path / "none.csv")


def test_a_basket_needs_a_history(tmp_path: Path) -> None:
    path = tmp_path / "users.csv"
    path.write_text("user_id\n17\n")
    with pytest.raises(ConfigurationError, match=r"basket, which needs the column history, and .*users\.csv has none"):
        open_users(path).check(BASKET)
    with pytest.raises(ConfigurationError, match="give --users FILE with the column history"):
        known_users(SimpleNamespace(), BASKET)  # type: ignore[arg-type]


def test_all_users_of_the_log_get_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those whose ids are too long for POST /predict: a file has no such limit."""
    monkeypatch.setattr("serving.batch.users.CHUNK", 2)
    ids = ["1", "2", "x" * 2000]
    model = SimpleNamespace(users_=SimpleNamespace(ids=np.array(ids)))
    found = list(known_users(model, OPTIONS))  # type: ignore[arg-type]
    assert [one.user_id for one in found] == ids
    assert {(one.scene, one.n_recommendations, one.history) for one in found} == {("discover", 5, ())}
