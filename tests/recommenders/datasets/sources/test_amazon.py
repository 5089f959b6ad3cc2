import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommenders.datasets.all_datasets import DATASETS
from recommenders.datasets.reading import literals
from recommenders.errors import DataError
from recommenders.splitting.temporal import split

SPEC = DATASETS["amazon"]
OLD = {"reviewerID": "A2SUAM1J3GNN3B", "asin": "0000013714", "overall": 4.0, "unixReviewTime": 1252800000}
NEW = {"user_id": "AEYORY2AVPMCPDV57CE337YU5LXA", "asin": "B08BBQ29N5", "parent_asin": "B07N1ZZN3X", "rating": 3.0}
NEW |= {"timestamp": 1588687728923, "title": "Nice", "verified_purchase": True, "images": []}


def write(path: Path, *rows: Any) -> Path:
    """Writes one row per line; text as it is, other rows as JSON."""
    text = "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.name.endswith(".gz") else text.encode())
    return path.parent


@pytest.mark.real_data
def test_the_real_reviews_are_whole(real_data: Path) -> None:
    folder = real_data / SPEC.real_data_folder
    rows = [
        (row["reviewerID"], row["asin"], row["unixReviewTime"], row["overall"])
        for path in folder.glob("*.json.gz")
        for row in map(json.loads, gzip.decompress(path.read_bytes()).splitlines())
    ]
    tables = SPEC.read(folder)
    assert (tables.counts.read, tables.counts.kept, tables.counts.quarantined) == (8445, len(set(rows)), 0)
    columns = (tables.interactions[name].to_pylist() for name in ("user_id", "item_id", "timestamp", "rating"))
    assert {(u, i, int(t.timestamp()), r) for u, i, t, r in zip(*columns, strict=True)} == set(rows)
    parts = split(tables.interactions, SPEC.protocol)["part"].to_pylist()
    assert parts.count("test") > 1000


def test_2018_values_arrive_as_they_were_written(tmp_path: Path) -> None:
    product = {"asin": "0000013714", "title": "Hymns", "price": "$1,299.00", "brand": "Elm", "also_buy": ["B000000002"]}
    product |= {"category": ["Books &amp; Co", "Music", "Choir"], "description": ["a <i>big</i>", "b"]}
    write(tmp_path / "Books_5.json.gz", OLD, OLD, OLD | {"overall": 5.0, "verified": True, "style": {"a": "b"}})
    tables = SPEC.read(write(tmp_path / "meta_Books.json.gz", product, {"asin": "B000000001"}))
    first, second = tables.interactions.to_pylist()
    assert (first["user_id"], first["item_id"], first["rating"]) == ("A2SUAM1J3GNN3B", "0000013714", 4.0)
    assert (first["event"], first["weight"], first["timestamp"]) == ("rating", 1.0, datetime(2009, 9, 13, tzinfo=UTC))
    assert second["rating"] == 5.0
    assert (tables.counts.read, tables.counts.kept, tables.counts.merged) == (3, 2, 1)
    book, other = tables.items.to_pylist()
    assert (book["title"], book["category"], book["subcategory"], book["brand"]) == (
        *("Hymns", "Books & Co"),
        *("Music", "Elm"),
    )
    assert (book["price"], book["rating"], book["text"]) == (1299.0, None, "Hymns a big b")
    assert {name for name, value in other.items() if value is not None} == {"item_id"}
    assert tables.users["user_id"].to_pylist() == ["A2SUAM1J3GNN3B"]


def test_2014_products_are_python_literals(tmp_path: Path) -> None:
    lines = (
        "{'asin': '0000013714', 'title': \"Ma's \\\"best\\\" hymns\", 'price': 12.99, 'brand': None,"
        " 'related': {'also_bought': ['B000000002']}, 'categories': [['Books', 'Music'], ['Gifts']]}",
        "{'asin': 'B000000002', 'description': 'caf\\u00e9 \"noir\"', 'price': 5}",
        "{'asin': 'B000000003', 'title': \"Ma's\"}",
        "{'asin': __import__('os').getcwd()}",
        "{'asin': 'B0', 'title': 'x'}",
    )
    write(tmp_path / "reviews_Books.json.gz", OLD)
    tables = SPEC.read(write(tmp_path / "meta_Books.json.gz", *lines))
    book, cafe, ma = tables.items.to_pylist()
    assert (book["title"], book["price"], book["brand"]) == ('Ma\'s "best" hymns', 12.99, None)
    assert (book["category"], book["subcategory"]) == ("Books", "Music")
    assert (cafe["text"], cafe["price"], ma["title"]) == ('café "noir"', 5.0, "Ma's")
    found = [(row["file"], row["line"], row["reason"]) for row in tables.quarantine.to_pylist()]
    assert found == [
        ("meta_Books.json.gz", 4, "not a JSON object"),
        ("meta_Books.json.gz", 5, "asin is not ten letters and digits"),
    ]
    assert tables.quarantine["raw"].to_pylist()[0] == lines[3]


def test_2023_items_are_parents_and_ratings_of_the_crawl_stay_out(tmp_path: Path) -> None:
    product = {"parent_asin": "B07N1ZZN3X", "title": "Balm", "main_category": "All Beauty", "categories": []}
    product |= {"average_rating": 4.8, "rating_number": 10, "price": None, "store": "Elm", "features": ["soft", "blue"]}
    write(tmp_path / "All_Beauty.jsonl.gz", NEW)
    tables = SPEC.read(write(tmp_path / "meta_All_Beauty.jsonl.gz", product))
    [event], [item] = tables.interactions.to_pylist(), tables.items.to_pylist()
    assert (event["user_id"], event["item_id"], event["rating"]) == (NEW["user_id"], "B07N1ZZN3X", 3.0)
    assert event["timestamp"] == datetime(2020, 5, 5, 14, 8, 48, 923000, tzinfo=UTC)
    assert (item["category"], item["subcategory"], item["brand"]) == ("All Beauty", None, "Elm")
    assert (item["rating"], item["price"], item["text"]) == (None, None, "Balm soft blue")


PRICES = {
    "$12.99": 12.99,
    "$1,299.00": 1299.0,
    "$5.99 - $12.99": 5.99,
    "from 7.50": 7.5,
    "12": 12.0,
    12.5: 12.5,
    "": None,
    "—": None,
    "0": None,
    "$0.00": None,
    ".a-box-inner{background-color:#fff}": None,
    "$12.99$15": None,
}


def test_prices_are_sums_or_unknown(tmp_path: Path) -> None:
    asins = [f"B{n:09}" for n in range(len(PRICES))]
    write(tmp_path / "a.json", OLD)
    products = [{"asin": asin, "price": price} for asin, price in zip(asins, PRICES, strict=True)]
    items = SPEC.read(write(tmp_path / "meta_a.json", *products)).items.to_pylist()
    assert [item["price"] for item in items if item["item_id"] in asins] == list(PRICES.values())


def test_categories_are_read_together_and_a_product_has_one_row(tmp_path: Path) -> None:
    write(tmp_path / "A.json", OLD)
    write(tmp_path / "B.json.gz", OLD | {"asin": "B000000001"})
    write(tmp_path / "meta_A.json", {"asin": "0000013714", "title": "Hymns"}, {"asin": "0000013714", "title": "Songs"})
    tables = SPEC.read(write(tmp_path / "meta_B.json", {"asin": "0000013714", "title": "H", "description": "long one"}))
    assert tables.counts.kept == 2
    assert [(item["item_id"], item["title"]) for item in tables.items.to_pylist()] == [
        ("0000013714", "H"),
        ("B000000001", None),
    ]


def message(source: Path) -> str:
    with pytest.raises(DataError) as caught:
        SPEC.read(source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_source_that_is_not_one_edition_of_reviews_is_an_error(tmp_path: Path) -> None:
    assert "contains none of *.json" in message(tmp_path)
    write(tmp_path / "meta_A.json", {"asin": "0000013714"})
    assert "has products but no reviews" in message(tmp_path)
    write(tmp_path / "A.json", OLD)
    write(tmp_path / "B.jsonl", NEW)
    assert "mixes editions: 2014 and 2018 with 2023" in message(tmp_path)
    (tmp_path / "B.jsonl").unlink()
    write(tmp_path / "A.json", {key: value for key, value in OLD.items() if key != "unixReviewTime"})
    assert "lacks unixReviewTime; got reviewerID, asin, overall" in message(tmp_path)
    write(tmp_path / "A.json", {"name": "Elm"}, {"name": "Oak"})
    assert "has neither reviews nor products: got name; expected" in message(tmp_path)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(st.lists(st.dictionaries(st.text(max_size=6), VALUES, max_size=4), min_size=1, max_size=5))
def test_a_literal_becomes_the_json_of_the_same_value(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]
) -> None:
    folder = tmp_path_factory.mktemp("literals")
    (folder / "a").write_bytes("\n".join(repr(row) for row in rows).encode())
    literals.to_json(folder / "a", folder / "b")
    assert [json.loads(line) for line in (folder / "b").read_bytes().splitlines()] == rows
