from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from recommenders.datasets.all_datasets import DATASETS
from recommenders.datasets.sources import retailrocket
from recommenders.datasets.spec import Tables
from recommenders.errors import DataError
from recommenders.splitting.temporal import split, training_log

SPEC = DATASETS["retailrocket"]
DAY = 86_400_000
START = 1_433_221_332_117  # the first row of the publisher's events


def at(days: float) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=START + days * DAY)


def moment(days: float) -> int:
    return int(START + days * DAY)


EVENTS = [f"{moment(0)},7,view,1,", f"{moment(1)},7,addtocart,1,", f"{moment(2)},7,transaction,1,4000"]
EVENTS += [EVENTS[0], f"{moment(1)},8,view,3,"]
PROPERTIES = [
    f"{moment(1)},1,categoryid,30",
    f"{moment(1)},1,available,1",
    f"{moment(1)},1,888,1116713 960601 n277.200",
    f"{moment(3)},1,790,n32880.000",
    f"{moment(4)},1,888,1116713 960601 n300.000",
    f"{moment(5)},1,available,0",
    f"{moment(6)},1,283,66094",
    f"{moment(7)},1,available,1",
    f"{moment(7)},1,categoryid,99",
    f"{moment(2)},2,categoryid,10",
]
TREE = ["10,", "20,10", "30,20"]


def write(folder: Path, events: list[str], properties: list[str] = PROPERTIES, tree: list[str] = TREE) -> Path:
    (folder / "events.csv").write_text("\n".join(["timestamp,visitorid,event,itemid,transactionid", *events]))
    for part, rows in (("1", properties[:4]), ("2", properties[4:])):
        path = folder / f"item_properties_part{part}.csv"
        path.write_text("\n".join(["timestamp,itemid,property,value", *rows]))
    (folder / "category_tree.csv").write_text("\n".join(["categoryid,parentid", *tree]))
    return folder


def rows_of(tables: Tables, item: str) -> list[dict[str, Any]]:
    return [row for row in tables.items.to_pylist() if row["item_id"] == item]


def test_events_arrive_as_they_were_written(tmp_path: Path) -> None:
    tables = SPEC.read(write(tmp_path, EVENTS))
    assert (tables.counts.read, tables.counts.kept, tables.counts.merged) == (5, 4, 1)
    found = [(e["user_id"], e["item_id"], e["timestamp"], e["event"]) for e in tables.interactions.to_pylist()]
    assert found == [
        ("7", "1", at(0), "view"),
        ("7", "1", at(1), "addtocart"),
        ("8", "3", at(1), "view"),
        ("7", "1", at(2), "transaction"),
    ]
    weights = tables.interactions["weight"].to_pylist()
    assert weights == pytest.approx([retailrocket.EVENT_WEIGHTS[event] for _, _, _, event in found])
    assert tables.interactions["order_id"].to_pylist() == [None, None, None, "4000"]
    assert tables.users["user_id"].to_pylist() == ["7", "8"]


def test_an_item_has_a_row_for_each_change(tmp_path: Path) -> None:
    rows = rows_of(SPEC.read(write(tmp_path, EVENTS)), "1")
    columns = ("valid_from", "category", "subcategory", "text", "available_until")
    assert [tuple(row[column] for column in columns) for row in rows] == [
        (None, None, None, None, None),
        (at(1), "10", "30", "1116713 960601", None),
        # the price-like 790 and a changed number in 888 make no new row; earlier values stay valid
        (at(5), "10", "30", "1116713 960601", at(5)),
        (at(6), "10", "30", "1116713 960601 66094", at(5)),
        (at(7), "99", "99", "1116713 960601 66094", None),
    ]
    assert {row["available_from"] for row in rows} == {at(0)}


def test_every_item_of_the_events_and_of_the_properties_is_there(tmp_path: Path) -> None:
    tables = SPEC.read(write(tmp_path, EVENTS))
    assert sorted(set(tables.items["item_id"].to_pylist())) == ["1", "2", "3"]
    assert [(row["valid_from"], row["available_from"]) for row in rows_of(tables, "2")] == [
        (None, at(2)),
        (at(2), at(2)),
    ]
    [viewed_only] = rows_of(tables, "3")
    assert {name: value for name, value in viewed_only.items() if value} == {"item_id": "3", "available_from": at(1)}


@pytest.mark.parametrize(("days", "candidates"), [(1.5, {"1", "3"}), (4, {"1", "2", "3"}), (6, {"2", "3"})])
def test_candidates_are_what_is_available_at_the_cut(days: float, candidates: set[str], tmp_path: Path) -> None:
    tables = SPEC.read(write(tmp_path, [*EVENTS, f"{moment(0)},8,view,1,"]))
    known = tables.interactions.filter([time <= at(days) for time in tables.interactions["timestamp"].to_pylist()])
    log = training_log(known, tables.items, SPEC.protocol, at(days))
    assert {
        str(item) for item, is_on_sale in zip(log.items.ids, log.available, strict=True) if is_on_sale
    } == candidates


def test_the_last_week_is_the_test(tmp_path: Path) -> None:
    events = [f"{moment(day)},7,view,1," for day in range(21)]
    parts = split(SPEC.read(write(tmp_path, events)).interactions, SPEC.protocol)["part"].to_pylist()
    assert (parts.count("train"), parts.count("validation"), parts.count("test")) == (7, 7, 7)
    assert set(SPEC.protocol.relevant_events) == {"addtocart", "transaction"}


BAD_PROPERTIES = {
    "time is not in milliseconds since 2013": "1433221332,1,790,n1.000",
    "no item id": f"{START},,790,n1.000",
    "itemid is not a whole number": f"{START},1.5,790,n1.000",
    "no property": f"{START},1,,n1.000",
    "property is neither a number nor categoryid nor available": f"{START},1,colour,red",
    "no value": f"{START},1,790,",
    "available is neither 0 nor 1": f"{START},1,available,yes",
    "category id is not a whole number": f"{START},1,categoryid,n30.000",
    "wrong number of fields": f"{START},1,790",
}
BAD_CATEGORIES = {
    "no category id": ",10",
    "category id occurs twice": "20,30",
    "category is its own parent": "40,40",
    "parentid is not a whole number": "50,root",
}


def test_invalid_properties_and_categories_are_quarantined(tmp_path: Path) -> None:
    folder = write(tmp_path, EVENTS, [*PROPERTIES, *BAD_PROPERTIES.values()], [*TREE, *BAD_CATEGORIES.values()])
    tables = SPEC.read(folder)
    found = [(row["file"], row["reason"], row["raw"]) for row in tables.quarantine.to_pylist()]
    assert found == [
        *(("category_tree.csv", reason, raw) for reason, raw in BAD_CATEGORIES.items()),
        *(("item_properties_part2.csv", reason, raw) for reason, raw in BAD_PROPERTIES.items()),
    ]
    assert tables.items.equals(SPEC.read(write(tmp_path, EVENTS)).items)
    assert (tables.counts.read, tables.counts.kept, tables.counts.quarantined) == (18, 4, 13)


def test_a_cycle_of_categories_ends(tmp_path: Path) -> None:
    tables = SPEC.read(write(tmp_path, EVENTS, tree=["30,20", "20,30", "10,"]))
    assert rows_of(tables, "1")[1]["subcategory"] == "30"


def test_items_processed_in_parts_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = SPEC.read(write(tmp_path, EVENTS)).items
    monkeypatch.setattr(retailrocket, "ROWS_AT_ONCE", 3)
    assert SPEC.read(tmp_path).items.equals(whole)


def test_text_stays_bounded(tmp_path: Path) -> None:
    words = " ".join(str(n) for n in range(1000))
    properties = [f"{START},1,{name},{words}" for name in range(100)]
    rows = rows_of(SPEC.read(write(tmp_path, EVENTS, properties)), "1")
    assert len(rows[-1]["text"].split()) == retailrocket.TEXT_PROPERTIES * retailrocket.TEXT_WORDS


def test_a_missing_file_is_an_error_with_its_name(tmp_path: Path) -> None:
    write(tmp_path, EVENTS)
    (tmp_path / "category_tree.csv").unlink()
    with pytest.raises(DataError, match=r"category_tree\.csv is missing; it must be in the folder of the other files"):
        SPEC.read(tmp_path)
