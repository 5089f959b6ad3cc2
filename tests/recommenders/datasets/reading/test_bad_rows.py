"""At least 25 kinds of bad rows, a hundred of each among 50,000 good rows, in every family of sources."""

import gzip
import json
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recommenders.datasets.all_datasets import DATASETS
from recommenders.datasets.reading import lines
from recommenders.datasets.reading.ingest import Counts
from recommenders.datasets.reading.text import TextFile

N_GOOD, N_EACH = 50_000, 100
FUTURE = datetime.now(UTC) + timedelta(days=400)
SECONDS = int(FUTURE.timestamp())

Kinds = Mapping[str, tuple[str, bytes]]  # name of a kind -> (reason, the line)


NOT_RATING = "rating is not between 0.5 and 5"
NOT_SECONDS = "time is not in seconds since 1970"
MOVIELENS: Kinds = {
    "open quote": ("broken quotes", b'"7,1,4.5,964982703'),
    "quote that ends too soon": ("broken quotes", b'7,"1"1,4.5,964982703'),
    "quote inside a number": ("movieId is not a whole number", b'7,1"1,4.5,964982703'),
    "too few fields": ("wrong number of fields", b"7,1,4.5"),
    "too many fields": ("wrong number of fields", b"7,1,4.5,964982703,1"),
    "letters in an id": ("userId is not a whole number", b"7x,1,4.5,964982703"),
    "fraction in an id": ("userId is not a whole number", b"7.5,1,4.5,964982703"),
    "negative id": ("userId is not a whole number", b"-7,1,4.5,964982703"),
    "huge id": ("movieId is not a whole number", b"7,99999999999999999999,4.5,964982703"),
    "empty user": ("no user id", b",1,4.5,964982703"),
    "empty movie": ("no movie id", b"7, ,4.5,964982703"),
    "unknown movie": ("unknown movie id", b"7,999999,4.5,964982703"),
    "no rating": (NOT_RATING, b"7,1,,964982703"),
    "rating zero": (NOT_RATING, b"7,1,0,964982703"),
    "rating negative": (NOT_RATING, b"7,1,-4.5,964982703"),
    "rating huge": (NOT_RATING, b"7,1,45,964982703"),
    "rating nan": (NOT_RATING, b"7,1,nan,964982703"),
    "rating infinite": (NOT_RATING, b"7,1,inf,964982703"),
    "rating in words": ("rating is not a number", b"7,1,good,964982703"),
    "decimal comma": ("wrong number of fields", b"7,1,4,5,964982703"),
    "milliseconds": (NOT_SECONDS, b"7,1,4.5,964982703000"),
    "no time": (NOT_SECONDS, b"7,1,4.5,"),
    "year 0": (NOT_SECONDS, b"7,1,4.5,-62167219200"),
    "future": ("time is in the future", b"7,1,4.5,%d" % SECONDS),
    "date for seconds": ("timestamp is not a whole number", b"7,1,4.5,2000-07-30 18:45:03"),
    "no UTF-8": ("not UTF-8 text", b"7,1,4.5,9649\xff82703"),
    "zero byte": ("has a zero byte", b"7,1,4.5,964982703\0"),
    "web page": ("wrong number of fields", b'<div class="error">Not found</div>'),
    "swapped columns": ("movieId is not a whole number", b"964982703,4.5,1,7"),
    "header again": ("userId is not a whole number", b"userId,movieId,rating,timestamp"),
    "JSON": ("wrong number of fields", b'{"userId": 7, "movieId": 1}'),
}

NOT_MILLISECONDS = "time is not in milliseconds since 2013"
NO_EVENT = "event is none of view, addtocart, transaction"
RETAILROCKET: Kinds = {
    "open quote": ("broken quotes", b'1433221332117,"257597,view,355908,'),
    "too few fields": ("wrong number of fields", b"1433221332117,257597,view,355908"),
    "too many fields": ("wrong number of fields", b"1433221332117,257597,view,355908,,"),
    "letters in the time": ("timestamp is not a whole number", b"14332213321l7,257597,view,355908,"),
    "no time": (NOT_MILLISECONDS, b",257597,view,355908,"),
    "seconds": (NOT_MILLISECONDS, b"1433221332,257597,view,355908,"),
    "microseconds": (NOT_MILLISECONDS, b"1433221332117000,257597,view,355908,"),
    "year 0": (NOT_MILLISECONDS, b"-62167219200000,257597,view,355908,"),
    "future": ("time is in the future", b"%d000,257597,view,355908," % SECONDS),
    "date for milliseconds": ("timestamp is not a whole number", b"2015-06-02T05:02:12,257597,view,355908,"),
    "no visitor": ("no visitor id", b"1433221332117,,view,355908,"),
    "letters in an id": ("visitorid is not a whole number", b"1433221332117,25759O,view,355908,"),
    "negative id": ("visitorid is not a whole number", b"1433221332117,-1,view,355908,"),
    "huge id": ("visitorid is not a whole number", b"1433221332117,99999999999,view,355908,"),
    "fraction in an id": ("visitorid is not a whole number", b"1433221332117,257597.5,view,355908,"),
    "nan": ("visitorid is not a whole number", b"1433221332117,nan,view,355908,"),
    "infinite": ("itemid is not a whole number", b"1433221332117,257597,view,inf,"),
    "no event": (NO_EVENT, b"1433221332117,257597,,355908,"),
    "unknown event": (NO_EVENT, b"1433221332117,257597,click,355908,"),
    "shouted event": (NO_EVENT, b"1433221332117,257597,VIEW,355908,"),
    "no item": ("no item id", b"1433221332117,257597,view,,"),
    "item in words": ("itemid is not a whole number", b"1433221332117,257597,view,shoe,"),
    "purchase without its id": ("transaction without transaction id", b"1433221332117,257597,transaction,355908,"),
    "view with a purchase": ("transaction id without transaction", b"1433221332117,257597,view,355908,4000"),
    "purchase id in words": ("transactionid is not a whole number", b"1433221332117,257597,transaction,355908,T4000"),
    "no UTF-8": ("not UTF-8 text", b"1433221332117,257597,vi\xe9w,355908,"),
    "zero byte": ("has a zero byte", b"1433221332117,257597,view\0,355908,"),
    "web page": ("wrong number of fields", b"<html><body>Bad Gateway</body></html>"),
    "swapped columns": (NOT_MILLISECONDS, b"257597,1433221332,view,355908,"),
    "header again": ("timestamp is not a whole number", b"timestamp,visitorid,event,itemid,transactionid"),
}


def sold(**change: str) -> bytes:
    line = {"invoice": "536365", "code": "85123A", "title": "HOLDER", "quantity": "6", "time": "2010-12-01 08:26:00"}
    return ",".join((line | {"price": "2.55", "customer": "17850", "country": "France"} | change).values()).encode()


ONLINE_RETAIL: Kinds = {
    "open quote": ("broken quotes", sold(title='"HOLDER')),
    "quote that ends too soon": ("broken quotes", sold(title='"HOLD"ER')),
    "too few fields": ("wrong number of fields", sold().rpartition(b",")[0]),
    "too many fields": ("wrong number of fields", sold(title="HOLDER, WHITE")),
    "no invoice": ("no invoice number", sold(invoice="")),
    "no code": ("no stock code", sold(code=" ")),
    "no quantity": ("quantity is not a number", sold(quantity="")),
    "letters in a number": ("quantity is not a number", sold(quantity="6 pcs")),
    "quantity nan": ("quantity is not a number", sold(quantity="nan")),
    "quantity infinite": ("quantity is not a number", sold(quantity="inf")),
    "half a piece": ("quantity is not a whole number", sold(quantity="6.5")),
    "quantity huge": ("quantity is above a million", sold(quantity="6000000000000")),
    "no price": ("unit price is not a number", sold(price="")),
    "price in a currency": ("unit price is not a number", sold(price="GBP 2.55")),
    "price nan": ("unit price is not a number", sold(price="NaN")),
    "price infinite": ("unit price is not a number", sold(price="-inf")),
    "price huge": ("unit price is above a million", sold(price="1e12")),
    "no time": ("date cannot be read", sold(time="")),
    "month 13": ("date cannot be read", sold(time="2010-13-01 08:26:00")),
    "seconds for a date": ("date cannot be read", sold(time="1291191960")),
    "day or month first": ("day and month are ambiguous", sold(time="3/4/2011 08:26")),
    "year 0": ("date is before 1990", sold(time="0001-01-01 00:00:00")),
    "future": ("date is in the future", sold(time=f"{FUTURE:%Y-%m-%d %H:%M:%S}")),
    "customer in words": ("customer is not a whole number", sold(customer="Mr Chen")),
    "half a customer": ("customer is not a whole number", sold(customer="17850.5")),
    "no UTF-8": ("not UTF-8 text", sold(title="CAF@").replace(b"@", b"\xc9")),
    "zero byte": ("has a zero byte", sold(title="HOL\0DER")),
    "web page": ("wrong number of fields", b"<p>503 Service Unavailable</p>"),
    "swapped columns": ("quantity is not a number", sold(quantity="2010-12-01 08:26:00", time="6")),
    "header again": (
        "quantity is not a number",
        b"InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country",
    ),
    "JSON": ("wrong number of fields", b'{"InvoiceNo": "536365", "StockCode"'),
}


def review(*without: str, **change: Any) -> bytes:
    row = {"reviewerID": "A2SUAM1J3GNN3B", "asin": "0000013714", "overall": 5.0, "unixReviewTime": 1252800000}
    return json.dumps({key: value for key, value in (row | change).items() if key not in without}).encode()


NOT_STARS, NO_OBJECT = "rating is not between 1 and 5", "not a JSON object"
NOT_SINCE_1995, NO_ASIN = "time is not in seconds since 1995", "asin is not ten letters and digits"
AMAZON: Kinds = {
    "open quote": (NO_OBJECT, b'{"reviewerID": "A2SUAM1J3GNN3B, "asin": "0000013714"}'),
    "cut in the middle": (NO_OBJECT, review()[:60]),
    "array": (NO_OBJECT, b"[" + review() + b"]"),
    "text": (NO_OBJECT, b'"A2SUAM1J3GNN3B"'),
    "two objects": (NO_OBJECT, review() + b" " + review()),
    "Python's quotes": (NO_OBJECT, review().replace(b'"', b"'")),
    "CSV": (NO_OBJECT, b"A2SUAM1J3GNN3B,0000013714,5.0,1252800000"),
    "web page": (NO_OBJECT, b"<h1>403 Forbidden</h1>"),
    "too few fields": ("no reviewerID", b"{}"),
    "no user": ("no reviewerID", review("reviewerID")),
    "user null": ("no reviewerID", review(reviewerID=None)),
    "user empty": ("no reviewerID", review(reviewerID=" ")),
    "user a list": ("reviewerID is not an id", review(reviewerID=["A2SUAM1J3GNN3B"])),
    "user with tags": ("reviewerID is not an id", review(reviewerID="<b>A2SUAM</b>")),
    "no item": ("no asin", review("asin")),
    "item an object": (NO_ASIN, review(asin={"id": "0000013714"})),
    "item cut": (NO_ASIN, review(asin="00000137")),
    "swapped columns": (NO_ASIN, review(reviewerID="0000013714", asin="A2SUAM1J3GNN3B")),
    "header again": (NO_ASIN, review(reviewerID="reviewerID", asin="asin")),
    "no stars": (NOT_STARS, review("overall")),
    "stars zero": (NOT_STARS, review(overall=0)),
    "stars negative": (NOT_STARS, review(overall=-1.0)),
    "stars huge": (NOT_STARS, review(overall=50)),
    "stars nan": (NOT_STARS, review(overall="nan")),
    "stars infinite": (NOT_STARS, review(overall="inf")),
    "stars in words": ("overall is not a number", review(overall="five")),
    "no time": (NOT_SINCE_1995, review("unixReviewTime")),
    "milliseconds": (NOT_SINCE_1995, review(unixReviewTime=1252800000000)),
    "year 0": (NOT_SINCE_1995, review(unixReviewTime=-62167219200)),
    "future": ("time is in the future", review(unixReviewTime=SECONDS)),
    "date for seconds": ("unixReviewTime is not a whole number", review(unixReviewTime="09 13, 2009")),
    "half a second": ("unixReviewTime is not a whole number", review(unixReviewTime=1252800000.5)),
    "no UTF-8": ("not UTF-8 text", review(summary="@").replace(b"@", b"\xe9")),
    "zero byte": ("has a zero byte", review(summary="@").replace(b"@", b"\0")),
}

B2B: Mapping[str, tuple[str, dict[str, str | None]]] = {
    **{f"{key} null": (f"no {key}", {key: None}) for key in ("order_id", "buyer_id", "product_id", "ordered_at")},
    **{f"{key} blank": (f"no {key}", {key: " "}) for key in ("order_id", "buyer_id", "product_id")},
    "unknown buyer": ("unknown buyer_id", {"buyer_id": "b999999"}),
    "unknown product": ("unknown product_id", {"product_id": "p999999"}),
    "swapped columns": ("unknown buyer_id", {"buyer_id": "p1", "product_id": "b1"}),
    "id with tags": ("unknown product_id", {"product_id": "<b>p1</b>"}),
    "zero byte": ("unknown product_id", {"product_id": "p1\0"}),
    "time in words": ("ordered_at is not a time", {"ordered_at": "yesterday"}),
    "month 13": ("ordered_at is not a time", {"ordered_at": "2024-13-01 00:00:00"}),
    "milliseconds": ("ordered_at is not a time", {"ordered_at": "1704067200000"}),
    "year 0": ("ordered_at is before 1970", {"ordered_at": "0001-01-01 00:00:00"}),
    "future": ("ordered_at is in the future", {"ordered_at": FUTURE.isoformat()}),
    **{
        f"{column} {value}": (reason.format(column), {column: value})
        for column in ("quantity", "unit_price")
        for value, reason in {
            **dict.fromkeys((None, "0", "-2", "nan", "inf"), "{} is not above 0"),
            **dict.fromkeys(("2x", "1,5", "<td>2</td>", "[2]", "two"), "{} is not a number"),
            "2e12": "{} is above a billion",
        }.items()
    },
}


def spoil(path: Path, kinds: Kinds) -> list[tuple[int, str, str]]:
    """Inserts bad lines into the file at even distances; returns (line, reason, raw) of each."""
    packed = path.name.endswith(".gz")
    good = (gzip.decompress(path.read_bytes()) if packed else path.read_bytes()).splitlines()
    bad = [kind for _ in range(N_EACH) for kind in kinds.values()]
    step = len(good) // len(bad)
    strewn, reported = good[: step + 1], []
    for place, (reason, line) in enumerate(bad, 1):
        strewn.append(line)
        reported.append((len(strewn), reason, line.decode(errors="backslashreplace").replace("\0", "\\x00")))
        strewn += good[place * step + 1 : (place + 1) * step + 1] if place < len(bad) else good[place * step + 1 :]
    text = b"\n".join(strewn)
    path.write_bytes(gzip.compress(text, 1) if packed else text)
    return reported


def ingest(name: str, source: Path, folder: Path) -> tuple[Counts, pa.Table, pa.Table]:
    counts = DATASETS[name].write_tables(source, folder)
    events, quarantine = (pq.read_table(folder / f"{part}.parquet") for part in ("interactions", "quarantine"))
    order = [(column, "ascending") for column in events.column_names]
    return counts, events.sort_by(order), quarantine.sort_by([("line", "ascending")])


def check(name: str, clean: Counts, counts: Counts, reported: list[tuple[int, str, str]], found: pa.Table) -> None:
    assert (counts.kept, counts.merged, counts.set_aside) == (clean.kept, clean.merged, clean.set_aside)
    assert (counts.read, counts.quarantined) == (clean.read + len(reported), clean.quarantined + len(reported))
    rows = list(zip(*(found[column].to_pylist() for column in ("line", "reason", "raw")), strict=True))
    assert Counter(row[1] for row in rows) == Counter(row[1] for row in reported)
    assert rows == reported
    assert set(found["dataset"].to_pylist()) == {name}


TEXT: dict[str, tuple[str, Kinds, tuple[int, ...]]] = {  # the file to change, its bad lines, and the size of the source
    "movielens": ("ratings.csv", MOVIELENS, (N_GOOD,)),
    "retailrocket": ("events.csv", RETAILROCKET, (N_GOOD, 5_000)),
    "amazon": ("Made_Up_5.json.gz", AMAZON, (N_GOOD,)),
    "online_retail": ("online_retail.csv", ONLINE_RETAIL, (N_GOOD,)),
}


@pytest.mark.parametrize("name", TEXT)
def test_every_bad_line_is_quarantined_and_no_good_line_is_lost(name: str, layouts: Any, tmp_path: Path) -> None:
    file, kinds, sizes = TEXT[name]
    assert len(kinds) >= 25
    source = getattr(layouts, name)(tmp_path / "source", *sizes)
    clean, events, nothing = ingest(name, source, tmp_path / "clean")
    assert (clean.read, nothing.num_rows) == (N_GOOD, 0)
    reported = spoil(source / file, kinds)
    counts, kept, found = ingest(name, source, tmp_path / "dirty")
    check(name, clean, counts, reported, found)
    assert set(found["file"].to_pylist()) == {file}
    assert kept.equals(events)


def test_every_bad_row_of_a_parquet_file_is_quarantined_and_no_good_row_is_lost(layouts: Any, tmp_path: Path) -> None:
    assert len(B2B) >= 25
    source = layouts.custom_b2b(tmp_path / "source", N_GOOD)
    clean, events, _ = ingest("custom_b2b", source, tmp_path / "clean")
    path = source / "order_lines.parquet"
    good = pq.read_table(path)
    good = good.cast(pa.schema([(column, pa.string()) for column in good.column_names]))  # an export in text
    bad = [(reason, good.slice(0, 1).to_pylist()[0] | change) for _ in range(N_EACH) for reason, change in B2B.values()]
    middle = pa.Table.from_pylist([row for _, row in bad], good.schema)
    pq.write_table(pa.concat_tables([good.slice(0, 20_000), middle, good.slice(20_000)]), path)
    counts, kept, found = ingest("custom_b2b", source, tmp_path / "dirty")
    found = found.set_column(4, "raw", [[json.loads(raw) for raw in found["raw"].to_pylist()]])
    check("custom_b2b", clean, counts, [(20_000 + n, *row) for n, row in enumerate(bad, 1)], found)
    assert kept.equals(events)


@pytest.mark.parametrize(("file", "movie"), [("ratings.csv", 2), ("tags.csv", 3)])
def test_rows_that_the_fast_reader_misses_are_read_line_by_line(
    file: str, movie: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "movies.csv").write_text("movieId,title,genres\n1,Heat,Crime\n2,Toy,Comedy\n3,Unseen,Drama\n")
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n7,1,4,9\n8,2,4,9\n")
    (tmp_path / "tags.csv").write_text("userId,movieId,tag,timestamp\n7,1,slow,9\n8,3,odd,9\n")
    where = f"where movieId <> {movie}"
    whole, fast = DATASETS["movielens"].read(tmp_path), lines.typed_rows

    def incomplete(text: TextFile, columns: Mapping[str, str], delimiter: str) -> str:
        return f"select * from ({fast(text, columns, delimiter)}) {where if text.name == file else ''}"

    monkeypatch.setattr(lines, "typed_rows", incomplete)
    tables = DATASETS["movielens"].read(tmp_path)
    assert (tables.counts, tables.quarantine.num_rows) == (whole.counts, 0)
    assert tables.interactions.equals(whole.interactions)
    assert tables.items.equals(whole.items)
