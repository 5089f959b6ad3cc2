"""Free attributes of items and users: columns of the user's table that the tables have no column for."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from deltalake import DeltaTable, Schema
from deltalake.transaction import create_table_with_add_actions

from recommenders.datasets.custom.entry import Entry
from recommenders.datasets.custom.spec import CustomDatasetSpec, read_specs
from recommenders.datasets.reading.ingest import TABLES
from recommenders.datasets.spec import Tables
from recommenders.datasets.store import TableStore
from recommenders.errors import ConfigurationError

LOG = {"files": "log.csv", "columns": {"user_id": "who", "item_id": "what", "timestamp": "at"}}
ITEMS = {
    "files": "items.csv",
    "columns": {"item_id": "sku", "title": "name"},
    "attributes": {
        "colour": "Farbe",
        "margin": {"column": "margin", "type": "number", "unit": "cents"},
        "stocked": {"column": "stock", "type": "boolean"},
        "line": "Linie",
    },
    "rules": {"margin": {"at_least": 0}},
}
USERS = {
    "files": "users.jsonl",
    "columns": {"user_id": "no"},
    "attributes": {"income_group": "income", "turnover": {"column": "eur", "type": "number"}},
}
ROWS = r"""sku,name,Farbe,margin,stock,Linie
A,Saw,red,150,yes,L1
B,Axe,-,-20,maybe,
C,Nail,"blue ""sky\"", green",n/a,FALSE,None
"""


def spec_of(folder: Path, **tables: Any) -> CustomDatasetSpec:
    (folder / "log.csv").write_text("who,what,at\nu1,A,2024-05-01\nu2,D,2024-05-02\n")
    (folder / "items.csv").write_text(ROWS)
    (folder / "users.jsonl").write_text('{"no": "u1", "income": "high", "eur": "1,250.50 EUR"}\n')
    content = {"interactions": LOG, "items": ITEMS, "users": USERS} | tables
    path = folder / "datasets.yaml"
    path.write_text(yaml.safe_dump({"ours": content}, sort_keys=False))
    spec = read_specs(path)["ours"]
    assert isinstance(spec, CustomDatasetSpec)
    return spec


def attributes(table: pa.Table) -> list[Any]:
    return [text and json.loads(text) for text in table["attributes"].to_pylist()]


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    return spec_of(tmp_path).read(tmp_path)


def test_text_numbers_and_booleans_are_kept_with_their_type(tables: Tables) -> None:
    assert attributes(tables.items) == [
        {"colour": "red", "margin": 1.5, "stocked": True, "line": "L1"},
        {"colour": None, "margin": None, "stocked": None, "line": None},
        {"colour": 'blue "sky\\", green', "margin": None, "stocked": False, "line": None},
        None,  # an item that only the log has
    ]
    assert attributes(tables.users) == [{"income_group": "high", "turnover": 1250.5}, None]
    assert tables.items["title"].to_pylist() == ["Saw", "Axe", "Nail", None]


def test_a_bad_value_is_left_out_and_its_row_is_quarantined(tables: Tables) -> None:
    (row,) = tables.quarantine.to_pylist()
    assert (row["file"], row["line"], row["reason"]) == (
        "items.csv",
        3,
        "stock is not true or false; the value is left out",
    )
    assert tables.counts.quarantined == 1


def test_a_rule_of_an_attribute_leaves_out_its_value_only(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("")
    rows = spec_of(tmp_path, items=ITEMS | {"attributes": {"margin": {"column": "margin", "type": "number"}}})
    found = rows.read(tmp_path)
    assert [row and row["margin"] for row in attributes(found.items)] == [150.0, None, None, None]
    assert [row["reason"] for row in found.quarantine.to_pylist()] == [
        "margin is not at least 0; the value is left out"
    ]


@pytest.mark.parametrize(
    ("written", "meant"), [("Yes", True), ("T", True), ("1", True), ("no", False), ("f", False), ("0.0", False)]
)
def test_the_accepted_forms_of_true_and_false(written: str, meant: bool, tmp_path: Path) -> None:
    items = ITEMS | {"attributes": {"stocked": {"column": "stock", "type": "boolean"}}, "rules": {}}
    spec = spec_of(tmp_path, items=items)
    (tmp_path / "items.csv").write_text(f"sku,name,stock\nA,Saw,{written}\n")
    assert attributes(spec.read(tmp_path).items)[0] == {"stocked": meant}


def test_an_item_may_change_its_attributes_with_time(tmp_path: Path) -> None:
    items = {
        "files": "items.csv",
        "columns": {"item_id": "sku", "valid_from": "since"},
        "attributes": {"colour": "Farbe"},
    }
    spec = spec_of(tmp_path, items=items)
    (tmp_path / "items.csv").write_text("sku,since,Farbe\nA,2024-01-01,red\nA,2024-03-01,green\n")
    assert attributes(spec.read(tmp_path).items) == [{"colour": "red"}, {"colour": "green"}, None]


def test_a_parquet_table_has_attributes_too(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, items=ITEMS | {"files": "items.parquet"})
    columns = {"sku": ["A"], "name": ["Saw"], "Farbe": ["red"], "margin": [150.0], "stock": [True], "Linie": [None]}
    pq.write_table(pa.table(columns), tmp_path / "items.parquet")
    expected = {"colour": "red", "margin": 1.5, "stocked": True, "line": None}
    assert attributes(spec.read(tmp_path).items)[0] == expected


@pytest.mark.parametrize(
    ("tables", "reported"),
    [
        (
            {"items": ITEMS | {"attributes": {"title": "Farbe"}}},
            "items.attributes: got 'title'; allowed: small letters, digits and _, and none of the columns item_id",
        ),
        (
            {"items": ITEMS | {"attributes": {"Farbe": "Farbe"}}},
            "items.attributes: got 'Farbe'; allowed: small letters",
        ),
        (
            {"items": ITEMS | {"attributes": {"colour": "name"}}},
            "items.attributes.colour: got 'name', which is title already; choose one",
        ),
        (
            {"items": ITEMS | {"attributes": {"colour": {"column": "Farbe", "kind": "text"}}}},
            "unknown key 'ours.items.attributes.colour.kind'; choose from column,",
        ),
        (
            {"items": ITEMS | {"attributes": {"colour": {"column": "Farbe", "type": "date"}}}},
            "items.attributes.colour.type: got 'date'; Input should be 'text', 'number' or 'boolean'",
        ),
        (
            {"items": ITEMS | {"attributes": {"colour": {"column": "Farbe", "scale": 2}}}},
            "items.attributes.colour: scale and unit are for numbers; leave them out",
        ),
        (
            {"items": ITEMS | {"rules": {"colour": {"above": 1}}}},
            "items.rules.colour: is not a bound of a number column; allowed: margin",
        ),
        (
            {"interactions": LOG | {"attributes": {"till": "till"}}},
            "interactions.attributes: got till; allowed: in items and users",
        ),
    ],
)
def test_a_mistake_is_an_error_of_one_line(tables: dict[str, Any], reported: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as error:
        spec_of(tmp_path, **tables)
    assert reported in str(error.value)
    assert "\n" not in str(error.value)


def test_an_entry_without_attributes_has_the_settings_and_files_of_before(tmp_path: Path) -> None:
    """The hash is of the settings as they were written before there were attributes; a change would read all anew."""
    plain = {"files": "items.csv", "columns": {"item_id": "sku", "title": "name"}}
    spec = spec_of(tmp_path, items=plain, users={"files": "users.jsonl", "columns": {"user_id": "no"}})
    assert "attributes" not in spec.entry.table_settings()
    counts = spec.write_tables(tmp_path, tmp_path / "out")
    assert counts.quarantined == 0
    for name in ("items", "users"):
        assert "attributes" not in pq.read_schema(tmp_path / "out" / f"{name}.parquet").names
    small = Entry.model_validate({"interactions": LOG})
    assert hashlib.sha256(small.table_settings().encode()).hexdigest()[:16] == "c786738d527a0c7c"


def test_the_version_changes_with_the_attributes(tmp_path: Path) -> None:
    before = spec_of(tmp_path).fingerprint(tmp_path).version
    after = spec_of(tmp_path, items=ITEMS | {"attributes": {"colour": "Farbe"}, "rules": {}})
    assert after.fingerprint(tmp_path).version != before


def test_tables_of_a_store_that_had_no_attributes_get_them(tmp_path: Path) -> None:
    spec, store = spec_of(tmp_path), TableStore(tmp_path / "tables")
    for name in ("items", "users"):  # as the store of an earlier version of this code
        fields = [field for field in TABLES[name] if field.name != "attributes"]
        create_table_with_add_actions(str(store.folder / name), Schema.from_arrow(pa.schema(fields)), [])
    version = spec.ingest(tmp_path, store)
    assert attributes(store.read("items", version))[0]["colour"] == "red"
    assert "attributes" in [field.name for field in DeltaTable(store.folder / "items").schema().fields]
    assert DeltaTable(store.folder / "items").to_pyarrow_table()["attributes"].null_count == 1
