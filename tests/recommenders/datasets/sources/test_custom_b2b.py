from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recommenders.datasets.all_datasets import DATASETS
from recommenders.errors import DataError

read = DATASETS["custom_b2b"].read

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
LINE = {
    "order_id": "o1",
    "buyer_id": "b1",
    "product_id": "p1",
    "ordered_at": NOON,
    "quantity": 2,
    "unit_price": 1.5,
}


def tiny(folder: Path, lines: list[dict[str, Any]], buyers: tuple[Any, ...] = ("b1",)) -> Path:
    product = {
        "product_id": "p1",
        "name": "Tape",
        "description": "sticky",
        "category": "packaging",
        "subcategory": "tape",
    }
    product |= {"brand": "Elm", "price": 1.5, "rating": 4.0, "launched_at": NOON, "ended_at": None}
    firm = {
        "business_type": "retailer",
        "industry": "retail",
        "region": "north",
        "annual_revenue": 1.0,
        "credit_limit": 1.0,
    }
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist([firm | {"buyer_id": b} for b in buyers]), folder / "buyers.parquet")
    pq.write_table(pa.Table.from_pylist([product]), folder / "products.parquet")
    pq.write_table(pa.Table.from_pylist(lines), folder / "order_lines.parquet")
    return folder


def test_the_small_world_is_clean(small_world: Path) -> None:
    tables = DATASETS["custom_b2b"].read(small_world)
    n_lines = pq.read_metadata(small_world / "order_lines.parquet").num_rows
    assert tables.counts.read == tables.counts.kept == tables.interactions.num_rows == n_lines
    assert tables.quarantine.num_rows == 0
    assert (tables.users.num_rows, tables.items.num_rows) == (100, 1118)
    times = tables.interactions["timestamp"].to_pylist()
    assert times == sorted(times)


def test_values_arrive_as_they_were_written(tmp_path: Path) -> None:
    tables = read(tiny(tmp_path, [LINE]))
    [event], [item], [user] = (t.to_pylist() for t in (tables.interactions, tables.items, tables.users))
    assert (event["user_id"], event["item_id"], event["order_id"]) == ("b1", "p1", "o1")
    assert (event["timestamp"], event["event"], event["weight"]) == (NOON, "purchase", 1.0)
    assert (event["quantity"], event["unit_price"], event["rating"]) == (2.0, 1.5, None)
    assert (item["title"], item["available_from"], item["available_until"]) == ("Tape", NOON, None)
    assert user["segment"] == "retailer"


BAD = {
    "no order_id": {"order_id": None},
    "no buyer_id": {"buyer_id": None},
    "no product_id": {"product_id": None},
    "no ordered_at": {"ordered_at": None},
    "unknown buyer_id": {"buyer_id": "b9"},
    "unknown product_id": {"product_id": "p9"},
    "quantity is not above 0": {"quantity": 0},
    "unit_price is not above 0": {"unit_price": float("nan")},
}


def test_invalid_lines_are_quarantined_and_counted(tmp_path: Path) -> None:
    tables = read(tiny(tmp_path, [LINE, LINE, *(LINE | change for change in BAD.values())]))
    counts = tables.counts
    assert (counts.read, counts.kept, counts.merged, counts.quarantined) == (10, 1, 1, 8)
    found = tables.quarantine.to_pylist()
    assert [row["reason"] for row in found] == list(BAD)
    assert [row["line"] for row in found] == list(range(3, 11))
    assert {row["file"] for row in found} == {"order_lines.parquet"}
    assert '"buyer_id":"b9"' in found[4]["raw"]


def test_a_repeated_buyer_is_quarantined_once(tmp_path: Path) -> None:
    tables = read(tiny(tmp_path, [LINE], buyers=("b1", "b1", None)))
    assert sorted(tables.quarantine["reason"].to_pylist()) == ["buyer_id occurs twice", "no buyer_id"]
    assert tables.users.num_rows == 1
    assert (tables.counts.read, tables.counts.kept, tables.counts.quarantined) == (3, 1, 2)


def test_a_damaged_file_is_an_error_of_one_line(tmp_path: Path) -> None:
    folder = tiny(tmp_path / "a", [LINE])
    lines = folder / "order_lines.parquet"
    whole = lines.read_bytes()

    def message() -> str:
        with pytest.raises(DataError) as caught:
            read(folder)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    lines.write_bytes(whole[: len(whole) // 2])
    assert "order_lines.parquet is not a Parquet file" in message()
    lines.write_bytes(b"<!doctype html><html></html>")
    assert "is not a Parquet file" in message()
    pq.write_table(pq.read_table(pa.BufferReader(whole)).drop_columns(["quantity"]), lines)
    assert "lacks quantity; got order_id, buyer_id" in message()
    pq.write_table(pq.read_table(pa.BufferReader(whole)).slice(0, 0), lines)
    assert "has no rows" in message()
    lines.unlink()
    assert "order_lines.parquet is missing" in message()
