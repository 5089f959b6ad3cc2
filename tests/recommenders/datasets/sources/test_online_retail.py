import gzip
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommenders.datasets.all_datasets import DATASETS
from recommenders.datasets.sources.online_retail import COLUMNS
from recommenders.datasets.spec import Tables
from recommenders.errors import DataError

read = DATASETS["online_retail"].read
HEADER = ",".join(COLUMNS)
GOOD = "536365,85123A,HEART HOLDER,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom"


def write(folder: Path, *lines: str, name: str = "day.csv", header: str = HEADER) -> Path:
    path = folder / name
    path.write_bytes("\n".join([header, *lines, ""]).encode())
    return path


def message(source: Path) -> str:
    """The error of a source that cannot be read; always one line."""
    with pytest.raises(DataError) as caught:
        DATASETS["online_retail"].read(source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def real(real_data: Path) -> Tables:
    return DATASETS["online_retail"].read(real_data / "online_retail")


@pytest.mark.real_data
def test_the_real_log_gives_the_published_figures(real: Tables) -> None:
    assert real.counts.read == 541_909
    assert real.counts.kept == real.interactions.num_rows == 391_148
    assert real.users.num_rows == 4_334
    assert real.items.num_rows == 3_659
    assert len(real.interactions["order_id"].unique()) == 18_402
    assert (real.counts.merged, real.counts.netted) == (5_222, 7_452)
    assert real.counts.quarantined == real.quarantine.num_rows == 0
    assert real.counts.set_aside == {
        "no customer": 135_080,
        "cancellation without its purchase": 1_054,
        "not a product": 1_920,
        "free or adjusted price": 33,
    }


@pytest.mark.real_data
def test_real_items_are_named_and_priced(real: Tables) -> None:
    holder = {row["item_id"]: row for row in real.items.to_pylist()}["85123A"]
    assert holder["title"] == "WHITE HANGING HEART T-LIGHT HOLDER"
    assert holder["price"] == 2.55  # the price of its first line: later prices are not known yet
    assert holder["category"] is None


def test_values_of_a_line(tmp_path: Path) -> None:
    tables = read(write(tmp_path, GOOD))
    [event], [item], [user] = (t.to_pylist() for t in (tables.interactions, tables.items, tables.users))
    assert (event["user_id"], event["item_id"], event["order_id"]) == ("17850", "85123A", "536365")
    assert event["timestamp"] == datetime(2010, 12, 1, 8, 26, tzinfo=UTC)
    assert (event["event"], event["weight"], event["quantity"], event["unit_price"]) == (
        "purchase",
        1.0,
        6.0,
        2.55,
    )
    assert (item["title"], item["text"], item["price"]) == ("HEART HOLDER", "HEART HOLDER", 2.55)
    assert user["region"] == "United Kingdom"


def test_an_item_is_as_it_was_first_sold_whatever_came_later(tmp_path: Path) -> None:
    lines = [
        f"{n},85123A,{title},1,2010-12-01 08:00:00,{price},1,UK"
        for n, (title, price) in enumerate([("B", 1), ("A", 2), ("B", 9), ("", 4), ('"C, ""D"""', 5)])
    ]
    [item] = read(write(tmp_path, *lines)).items.to_pylist()
    assert (item["title"], item["price"]) == ("B", 1.0)


def test_a_cancellation_takes_back_the_latest_units_bought_before_it(tmp_path: Path) -> None:
    def line(invoice: str, quantity: int, day: int) -> str:
        return f"{invoice},85123A,A,{quantity},2010-12-{day:02} 08:00:00,1,1,UK"

    lines = [
        line("1", 10, 1),
        line("2", 4, 3),
        line("C3", -6, 5),
        line("4", 9, 7),
        line("C5", -50, 8),
        line("C6", -1, 9),
    ]
    tables = read(write(tmp_path, *lines, line("C0", -1, 1).replace("01 08", "01 07")))
    found = {row["order_id"]: row for row in tables.interactions.to_pylist()}
    # C3 takes all 4 of invoice 2 and 2 of invoice 1; C5 all that is left; for C6 and C0 there is nothing to take
    assert {order: row["returned_quantity"] for order, row in found.items()} == {"1": 10, "2": 4, "4": 9}
    assert {order: row["quantity"] for order, row in found.items()} == {"1": 10, "2": 4, "4": 9}
    assert found["2"]["returned_at"] == datetime(2010, 12, 5, 8, tzinfo=UTC)
    assert found["1"]["returned_at"] == datetime(2010, 12, 8, 8, tzinfo=UTC)
    assert (tables.counts.netted, tables.counts.set_aside) == (2, {"cancellation without its purchase": 2})


def test_a_day_without_returns_leaves_them_unknown(tmp_path: Path) -> None:
    tables = read(write(tmp_path, GOOD))
    assert tables.interactions["returned_at"].null_count == tables.interactions["returned_quantity"].null_count == 1


def test_quoted_commas_and_quotes_are_text(tmp_path: Path) -> None:
    line = '1,85123A,"SET, OF 3 ""TINS""",1,2010-12-01 08:00:00,1,1,"UK"'
    assert read(write(tmp_path, line)).items["title"].to_pylist() == ['SET, OF 3 "TINS"']


EXCLUDED = {
    "no customer": GOOD.replace("17850.0", ""),
    "cancellation without its purchase": GOOD.replace("536365,85123A", "C536365,84029").replace(",6,", ",-6,"),
    "not a product": GOOD.replace("85123A", "POST"),
    "free or adjusted price": GOOD.replace("2.55", "0"),
}
REJECTED = {
    "no invoice number": GOOD.replace("536365", ""),
    "no stock code": GOOD.replace("85123A", " "),
    "quantity is not a number": GOOD.replace(",6,", ",six,"),
    "quantity is not a whole number": GOOD.replace(",6,", ",6.5,"),
    "unit price is not a number": GOOD.replace("2.55", "nan"),
    "day and month are ambiguous": GOOD.replace("2010-12-01 08:26:00", "3/4/2011 8:26"),
    "date cannot be read": GOOD.replace("2010-12-01", "2010-13-41"),
    "customer is not a whole number": GOOD.replace("17850.0", "17850.5"),
    "wrong number of fields": GOOD + ",more",
    "broken quotes": GOOD.replace("HEART", '"HEART'),
}


def test_every_row_is_accounted_for_with_its_reason_and_place(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD, GOOD, "", *EXCLUDED.values(), *REJECTED.values())
    tables = read(path)
    assert (tables.counts.read, tables.counts.kept, tables.counts.merged) == (2 + 4 + 10, 1, 1)
    assert tables.counts.set_aside == dict.fromkeys(EXCLUDED, 1)
    found = tables.quarantine.to_pylist()
    assert [row["reason"] for row in found] == list(REJECTED)
    assert [row["raw"] for row in found] == list(REJECTED.values())
    lines = path.read_text().split("\n")
    assert [lines[row["line"] - 1] for row in found] == list(REJECTED.values())
    assert {(row["dataset"], row["file"]) for row in found} == {("online_retail", "day.csv")}


def test_an_open_quote_breaks_its_own_line_only(tmp_path: Path) -> None:
    lines = [GOOD.replace("HEART", '"HEART'), *(GOOD.replace("536365", str(n)) for n in range(50))]
    counts = read(write(tmp_path, *lines)).counts
    assert (counts.kept, counts.quarantined) == (50, 1)


def dates(folder: Path, *texts: str) -> tuple[list[str], list[str]]:
    lines = [GOOD.replace("2010-12-01 08:26:00", text).replace("536365", str(n)) for n, text in enumerate(texts)]
    tables = read(write(folder, GOOD, *lines))
    kept = [t.isoformat()[:16] for t in tables.interactions["timestamp"].to_pylist()]
    return kept, tables.quarantine["reason"].to_pylist()


def test_the_publishers_dates_are_read_if_the_source_is_unambiguous(tmp_path: Path) -> None:
    kept, bad = dates(tmp_path, "3/4/2011 8:26", "12/13/2011 18:05", "2011-05-06T07:08")
    assert kept == ["2010-12-01T08:26", "2011-03-04T08:26", "2011-05-06T07:08", "2011-12-13T18:05"]
    assert bad == []


@pytest.mark.parametrize("doubt", ["4/3/2011 8:26", "13/12/2011 8:26"])
def test_ambiguous_dates_are_quarantined(tmp_path: Path, doubt: str) -> None:
    kept, bad = dates(tmp_path, "3/4/2011 8:26", doubt)
    assert kept == ["2010-12-01T08:26"]
    assert bad == ["day and month are ambiguous"] * 2


def test_one_day_first_date_makes_all_dates_ambiguous(tmp_path: Path) -> None:
    assert len(dates(tmp_path, "12/13/2011 8:26", "13/12/2011 8:26")[1]) == 2


@settings(max_examples=10)
@given(st.lists(st.sampled_from([GOOD, *EXCLUDED.values(), *REJECTED.values()]), min_size=1, max_size=12))
def test_counts_reconcile_whatever_the_mixture(tmp_path_factory: pytest.TempPathFactory, lines: Sequence[str]) -> None:
    counts = read(write(tmp_path_factory.mktemp("mix"), GOOD, *lines)).counts
    assert counts.read == len(lines) + 1
    assert counts.kept == 1
    again = max(
        lines.count(EXCLUDED["cancellation without its purchase"]) - 1, 0
    )  # repeated cancellations count once, too
    assert counts.merged == lines.count(GOOD) + again
    assert sum(counts.set_aside.values()) == sum(line in EXCLUDED.values() for line in lines) - again
    assert counts.quarantined == sum(line in REJECTED.values() for line in lines)


def test_daily_files_and_one_file_are_the_same_log(tmp_path: Path) -> None:
    lines = [GOOD.replace("536365", str(n)).replace("-01 ", f"-0{n} ") for n in range(1, 5)]
    (tmp_path / "whole").mkdir()
    (tmp_path / "days").mkdir()
    whole = read(write(tmp_path / "whole", *lines))
    for n, line in enumerate(reversed(lines)):
        path = write(tmp_path / "days", line, name=f"{n}.csv")
        if n == 0:
            (tmp_path / "days" / "0.csv.gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
    days = read(tmp_path / "days")
    assert days.interactions.equals(whole.interactions)
    assert days.items.equals(whole.items)
    assert days.counts == whole.counts


def test_columns_may_stand_in_any_order_after_a_mark_and_with_windows_ends(tmp_path: Path) -> None:
    order = [*reversed(COLUMNS), "Extra"]
    values = dict(zip(COLUMNS, GOOD.split(","), strict=True)) | {"Extra": "x"}
    text = "\ufeff" + ",".join(order) + "\r\n" + ",".join(values[c] for c in order) + "\r\n"
    (tmp_path / "day.csv").write_bytes(text.encode())
    straight = tmp_path / "straight"
    straight.mkdir()
    assert read(tmp_path / "day.csv").interactions.equals(read(write(straight, GOOD)).interactions)


def test_a_damaged_file_is_an_error_with_file_and_fix(tmp_path: Path) -> None:
    whole = gzip.compress("\n".join([HEADER, *(GOOD.replace("536365", str(n * 7919)) for n in range(500))]).encode())
    path = tmp_path / "day.csv.gz"
    path.write_bytes(whole[: len(whole) // 2])
    assert "day.csv.gz is a damaged gzip file: Compressed file ended" in message(path)
    path.write_bytes(b"PK not gzip")
    assert "day.csv.gz is a damaged gzip file: Not a gzipped file" in message(path)
    path.write_bytes(whole[:40] + bytes([whole[40] ^ 255]) + whole[41:])
    assert "day.csv.gz is a damaged gzip file" in message(path)
    path.unlink()
    page = write(tmp_path, "<body>", header="<!DOCTYPE html>")
    assert "day.csv is a web page, not the data" in message(page)
    lacking = write(tmp_path, GOOD, header=HEADER.replace("UnitPrice", "Price"))
    assert "day.csv lacks UnitPrice; got InvoiceNo," in message(lacking)
    assert "has a header but no rows" in message(write(tmp_path))
    lacking.write_bytes(b"")
    assert "day.csv is empty" in message(lacking)
    lacking.write_bytes(b"\n\n")
    assert "day.csv is empty" in message(lacking)
    lacking.write_bytes(f"{HEADER}\n{GOOD}\n{GOOD.replace('HEART', 'CAFÉ')}".encode("latin-1"))
    assert "day.csv is not UTF-8 text: 1 of 3 lines, the first is line 3" in message(lacking)
    lacking.write_bytes(f"{HEADER}\n{GOOD}\n".encode("utf-16"))
    assert "day.csv is not UTF-8 text: it begins like UTF-16" in message(lacking)
    assert "none of the 1 rows" in message(write(tmp_path, EXCLUDED["no customer"]))
    assert "no such file or folder" in message(tmp_path / "nowhere")


def test_a_few_broken_dates_do_not_make_the_others_ambiguous(tmp_path: Path) -> None:
    days = [
        GOOD.replace("2010-12-01 08:26:00", f"12/{day}/2010 8:26").replace("536365", str(day)) for day in range(1, 31)
    ]
    bad = GOOD.replace("2010-12-01 08:26:00", "13/12/2010 8:26")
    assert "none of the 31 rows" in message(write(tmp_path, *days, bad))  # 18 to 1 is not enough
    more = [line.replace("8:26", "9:26") for line in days]
    tables = read(write(tmp_path, *days, *more, bad))
    assert (tables.counts.kept, tables.counts.quarantined) == (60, 1)
    assert tables.quarantine["reason"].to_pylist() == ["day and month are ambiguous"]


@pytest.mark.parametrize("name", ["a[1].csv", "a*.csv", "what?.csv", "it's.csv"])
def test_names_of_files_are_no_patterns(tmp_path: Path, name: str) -> None:
    write(tmp_path, GOOD, name="a1.csv")
    write(tmp_path, GOOD.replace("536365", "2"), GOOD.replace("536365", "3"), name=name)
    counts = read(tmp_path).counts
    assert (counts.read, counts.kept, counts.merged) == (3, 3, 0)


def test_columns_without_a_name_or_twice_do_no_harm(tmp_path: Path) -> None:
    write(tmp_path, f"{GOOD},x", name="twice.csv", header=f"{HEADER},Country")
    write(tmp_path, f"0,{GOOD.replace('536365', '2')}", name="index.csv", header=f",{HEADER}")
    tables = read(tmp_path)
    assert (tables.counts.read, tables.counts.kept) == (2, 2)
    assert tables.users["region"].to_pylist() == ["United Kingdom"]
