"""Files of published benchmarks: both layouts, and every error with its file and line."""

import gzip
from pathlib import Path

import pytest

from recommenders.datasets.benchmark_files import read_events, read_items, read_negatives
from recommenders.errors import DataError

ROWS = [
    {"user_id": "0", "item_id": "25", "rating": 5.0, "time": 978824351.0},
    {"user_id": "1", "item_id": "x 7", "rating": 3.0, "time": 978824352.0},
]
SAME = {
    "ncf": "0\t25\t5\t978824351\n1\tx 7\t3\t978824352\n",
    "blank lines and CRLF": "0\t25\t5\t978824351\r\n\r\n1\tx 7\t3\t978824352\r\n",
    "movielens": "userId,movieId,rating,timestamp\n0,25,5.0,978824351\n1,x 7,3.0,978824352\n",
    "other names and order": "Time;Item;USER;Score\n978824351;25;0;5\n978824352;x 7;1;3\n",
    "types in the header": "user_id:token\titem_id:token\trating:float\ttime:float\n"
    "0\t25\t5\t978824351\n1\tx 7\t3\t978824352\n",
    "quotes and an unknown column": 'user,item,note,rating,time\n0,25,"a, b",5,978824351\n1,"x 7",,3,978824352\n',
    "dates": "user,item,rating,time\n0,25,5,2001-01-06 23:39:11\n1,x 7,3,2001-01-06T23:39:12Z\n",
}


@pytest.mark.parametrize("layout", SAME)
@pytest.mark.parametrize("name", ["events.csv", "events.rating", "events.gz"])
def test_the_layout_is_recognised_from_the_content_not_the_name(tmp_path: Path, layout: str, name: str) -> None:
    text = SAME[layout].encode()
    (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    assert read_events(tmp_path / name, "--train").to_pylist() == ROWS


def test_rating_and_time_may_be_missing(tmp_path: Path) -> None:
    (tmp_path / "pairs").write_text("a\tb\nc\td\n")
    (tmp_path / "empty.csv").write_text("user,item,rating,time\na,b,,\nc,d,4,\n")
    nothing = {"rating": None, "time": None}
    assert read_events(tmp_path / "pairs", "--train").to_pylist() == [
        {"user_id": "a", "item_id": "b", **nothing},
        {"user_id": "c", "item_id": "d", **nothing},
    ]
    assert read_events(tmp_path / "empty.csv", "--train")["rating"].to_pylist() == [None, 4.0]


@pytest.mark.parametrize("time", ["-3", "0.25", "1e18", "7"])
def test_a_time_may_be_any_number(tmp_path: Path, time: str) -> None:
    (tmp_path / "t").write_text(f"a\tb\t1\t{time}\n")
    assert read_events(tmp_path / "t", "--test")["time"].to_pylist() == [float(time)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0\t1\t5\t9\n0\t2\t5\n", "line 2: wrong number of fields; got '0\\t2\\t5'; allowed: 4 fields; fix or remove"),
        ("0\t1\t5\t9\n0\t2\tbad\t9\n", "line 2: rating: got 'bad'; allowed: a number"),
        ("0\t1\t5\t9\n\n0\t2\t5\tnan\n", "line 3: time: got 'nan'; allowed: a number"),
        ("0\t1\t5\t9\n0\t2\t5\t\n", "line 2: time: got nothing; allowed: a number"),
        ("user,item,time\na,b,2020-01-01\na,c,soon\n", "line 3: time: got 'soon'; allowed: a date"),
        ("user,item\na,b\n,c\n", "line 3: user_id is empty; got ',c'"),
        ("user,item\na,b\nc\n", "line 3: wrong number of fields; got 'c'; allowed: 2 fields"),
        ("who,what\na,b\n", "names no user_id and item_id; got 'who,what'; allowed: a header (user_id: user_id, user"),
        ("user,what\na,b\n", "names no item_id; got 'user,what'"),
        ("user,item\n", "no rows"),
        ("", "is empty"),
        ("<html>", "is a web page"),
    ],
)
def test_an_invalid_row_is_an_error_with_file_and_line(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "events.csv"
    path.write_text(text)
    with pytest.raises(DataError) as error:
        read_events(path, "--train")
    assert expected in str(error.value)
    assert str(error.value).startswith("--train: ")
    assert "events.csv" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_damaged_gzip_file_and_a_missing_file_are_errors(tmp_path: Path) -> None:
    whole = gzip.compress(b"0\t1\t5\t9\n" * 10_000)
    (tmp_path / "half.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="damaged gzip"):
        read_events(tmp_path / "half.gz", "--train")
    with pytest.raises(DataError, match="--test: no such file"):
        read_events(tmp_path / "nothing", "--test")


def test_negatives_in_both_layouts(tmp_path: Path) -> None:
    (tmp_path / "a.negative").write_text("(0,25)\t1\t2\n\n( u 1 , 7 )\t3\t4\t5\t\n")
    (tmp_path / "b.csv").write_text("user,item\n0,1\n0,2\nu 1,3\nu 1,4\nu 1,5\n")
    expected = [("0", "1"), ("0", "2"), ("u 1", "3"), ("u 1", "4"), ("u 1", "5")]
    for name in ("a.negative", "b.csv"):
        found = read_negatives(tmp_path / name)
        assert list(zip(*found.to_pydict().values(), strict=True)) == expected


@pytest.mark.parametrize("line", ["(0,25)", "0\t25\t1", "(0,25\t1\t2", "(0,1,2)\t3", "(0,25)\t1\t\t2"])
def test_a_bad_line_of_negatives_is_an_error(tmp_path: Path, line: str) -> None:
    (tmp_path / "n").write_text(f"(0,25)\t1\t2\n{line}\n")
    with pytest.raises(DataError, match=r"--negatives: .*n, line 2: got .* allowed: \(user,item\)"):
        read_negatives(tmp_path / "n")


def test_items_by_their_common_names(tmp_path: Path) -> None:
    (tmp_path / "movies.csv").write_text('movieId,title,genres,price\n1,"Heat, 1995",Action|Crime,2.5\n2,Up,,\n')
    found = read_items(tmp_path / "movies.csv").select(["item_id", "title", "text", "price", "brand"]).to_pylist()
    assert found == [
        {"item_id": "1", "title": "Heat, 1995", "text": "Action|Crime", "price": 2.5, "brand": None},
        {"item_id": "2", "title": "Up", "text": None, "price": None, "brand": None},
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("item,price\n1,2\n2,dear\n", "line 3: price: got 'dear'; allowed: a number"),
        ("item,price\n1,2\n2,2\n1,3\n", "line 4: item_id: got '1' a second time"),
        ("title,price\nx,1\n", "names no item_id"),
    ],
)
def test_bad_items_are_errors(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "items.csv").write_text(text)
    with pytest.raises(DataError) as error:
        read_items(tmp_path / "items.csv")
    assert expected in str(error.value)
