"""Custom data sets: one YAML entry defines a data set, and a mistake in it is an error of one line."""

import codecs
import gzip
import json
import os
import re
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from recommenders.datasets import all_datasets
from recommenders.datasets.custom.spec import read_specs
from recommenders.datasets.spec import DatasetSpec, Tables
from recommenders.datasets.store import TableStore
from recommenders.errors import ConfigurationError, DataError, UnknownNameError

PROJECT = Path(__file__).resolve().parents[4]
PAGE = PROJECT / "docs" / "custom-data.md"
COLUMNS = {"user_id": "who", "item_id": "what", "timestamp": "at"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


def entry(**given: Any) -> dict[str, Any]:
    """An entry that reads log.csv; `log` adds to its interactions, `columns` to their columns."""
    log = {"files": "log.csv", "columns": COLUMNS | given.pop("columns", {})} | given.pop("log", {})
    return {"title": "Ours", "interactions": log} | given


def spec_of(folder: Path, content: dict[str, Any], name: str = "ours") -> DatasetSpec:
    path = folder / "datasets.yaml"
    path.write_text(yaml.safe_dump({name: content}, sort_keys=False))
    return read_specs(path)[name]


def read(folder: Path, content: dict[str, Any], log: list[str] | None = None, head: str = "who,what,at") -> Tables:
    if log is not None:
        (folder / "log.csv").write_text("\n".join([head, *log]))
    return spec_of(folder, content).read(folder)


def reasons(tables: Tables) -> list[tuple[str, int, str, str]]:
    return [(row["file"], row["line"], row["reason"], row["raw"]) for row in tables.quarantine.to_pylist()]


def times(tables: Tables) -> list[datetime]:
    return [at.replace(tzinfo=UTC) for at in tables.interactions["timestamp"].to_pylist()]


# -- the example of the documentation


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """The files of the documentation's example."""
    (tmp_path / "orders").mkdir()
    (tmp_path / "orders" / "2024-03.csv").write_text(blocks("csv")[0])
    (tmp_path / "articles.jsonl").write_text(blocks("json")[0])
    (tmp_path / "datasets.yaml").write_text(blocks("yaml")[0])
    with closing(sqlite3.connect(tmp_path / "customers.db")) as database, database:
        database.executescript(blocks("sql")[0])
    database.close()
    return tmp_path


def test_the_example_of_the_documentation_is_read_as_described(shop: Path) -> None:
    spec = all_datasets.dataset("shop", shop / "datasets.yaml")
    spec.make(shop / "pulled", scale=1.0, seed=0)
    tables = spec.read(shop / "pulled")
    first, second = tables.interactions.to_pylist()
    assert (first["user_id"], first["item_id"], first["order_id"]) == ("K-07", "A-12", "B1001")
    assert (first["quantity"], first["unit_price"], first["weight"], first["event"]) == (12, 1249.5, 1, "purchase")
    assert times(tables) == [datetime(2024, 3, 31, 0, 30, tzinfo=UTC), datetime(2024, 3, 31, 1, 30, tzinfo=UTC)]
    assert second["unit_price"] == 9.99
    machine, descaler = tables.items.to_pylist()
    assert (machine["title"], machine["category"], machine["price"]) == ("Espresso machine", "Kitchen", 1249.5)
    assert descaler["price"] == 9.99
    buyer, office = tables.users.to_pylist()
    assert (buyer["user_id"], buyer["segment"], buyer["region"], buyer["credit_limit"]) == (
        *("K-07", "Restaurant", "Hamburg"),
        5000,
    )
    assert office["credit_limit"] is None
    assert reasons(tables) == [
        ("2024-03.csv", 4, "packs is not above 0", "B1002;K-11;A-12;02.04.2024 14:05;0;1.249,50")
    ]
    assert (tables.counts.read, tables.counts.kept, tables.counts.quarantined) == (3, 2, 1)


def test_the_example_becomes_a_version_once(shop: Path) -> None:
    spec = read_specs(shop / "datasets.yaml")["shop"]
    store = TableStore(shop / "lake")
    for _ in range(2):
        spec.make(shop / "pulled", scale=1.0, seed=0)
        assert spec.ingest(shop / "pulled", store).number == 0
    with closing(sqlite3.connect(shop / "customers.db")) as database, database:
        database.execute("update customers set city = 'Bremen' where no = 'K-07'")
    database.close()
    spec.make(shop / "pulled", scale=1.0, seed=0)
    assert spec.ingest(shop / "pulled", store).number == 1
    assert store.read("users")["region"].to_pylist() == ["Bremen", "Kiel"]


@pytest.mark.parametrize("reported", blocks("text")[0].splitlines())
def test_errors_are_those_of_the_documentation(reported: str, shop: Path) -> None:
    content = yaml.load((shop / "datasets.yaml").read_text(), yaml.BaseLoader)
    match re.findall(r"'(.*?)'", reported)[0]:
        case "shop.items.column":
            content["shop"]["items"]["column"] = {}
        case "titel":
            content["shop"]["items"]["columns"] |= {"titel": "label"}
        case "Berlin":
            content["shop"]["time_zone"] = "Berlin"
        case "customer_no":
            content["shop"]["interactions"]["columns"]["item_id"] = "customer_no"
    (shop / "datasets.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    with pytest.raises(ConfigurationError) as caught:
        read_specs(shop / "datasets.yaml")
    assert str(caught.value) == f"{shop}/{reported}"


def test_the_shipped_file_is_empty_and_its_example_can_be_used(tmp_path: Path) -> None:
    shipped = PROJECT / "configs" / "datasets.yaml"
    assert read_specs(shipped) == {}
    lines = shipped.read_text().split("like:\n#\n")[1].splitlines()
    (tmp_path / "datasets.yaml").write_text("\n".join(line.removeprefix("# ") for line in lines if line != "{}"))
    spec = read_specs(tmp_path / "datasets.yaml")["shop"]
    (tmp_path / "orders").mkdir()
    (tmp_path / "orders" / "1.csv").write_text(
        "customer_no;article_no;ordered_at;order_no;amount;price_in_cents\n7;A;2024-01-01 12:00;B1;3;1999\n"
    )
    (tmp_path / "articles.csv").write_text("article_no,name,group\nA,Espresso,Kitchen\n")
    tables = spec.read(tmp_path)
    assert (times(tables)[0].hour, tables.interactions["unit_price"].to_pylist()) == (11, [19.99])


# -- beside the built-in data sets


def test_custom_data_sets_are_listed_with_those_of_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec_of(tmp_path, entry())
    custom = tmp_path / "datasets.yaml"
    assert set(all_datasets.datasets(custom)) == {*all_datasets.DATASETS, "ours"}
    assert all_datasets.dataset("ours", custom) is all_datasets.dataset("ours", custom)  # read once
    with pytest.raises(UnknownNameError, match=r"choose from .*ours"):
        all_datasets.dataset("theirs", custom)
    spec_of(tmp_path, entry(), "changed")
    os.utime(tmp_path / "datasets.yaml", ns=(1, 1))
    assert "changed" in all_datasets.datasets(custom)
    (tmp_path / "datasets.yaml").write_text("ours: {titel: Ours}")
    assert all_datasets.dataset("movielens", custom).name == "movielens"
    with pytest.raises(ConfigurationError):
        all_datasets.datasets(custom)
    monkeypatch.setenv("TRADEWIND_DATASETS", str(custom))  # a setting of the platform, which the library does not read
    assert "ours" not in all_datasets.datasets()


def test_a_name_of_the_project_cannot_be_taken(tmp_path: Path) -> None:
    spec_of(tmp_path, entry(), "movielens")
    with pytest.raises(ConfigurationError, match="'movielens', which is a data set of the project; choose another"):
        all_datasets.datasets(tmp_path / "datasets.yaml")


def test_the_version_changes_with_the_settings_that_affect_the_tables(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("who,what,at\n1,a,2024-01-01\n")
    versions = [
        spec_of(tmp_path, content).fingerprint(tmp_path).version
        for content in (entry(), entry() | {"title": "Other words"}, entry(time_zone="Europe/Berlin"))
    ]
    assert versions[0] == versions[1] != versions[2]


def test_protocol_and_limits_are_those_of_the_entry(tmp_path: Path) -> None:
    protocol = {"split": "latest_out", "repeat": False, "relevant_events": ["buy"]}
    spec = spec_of(tmp_path, entry(events={"buy": 2, "view": 0.1}, columns={"event": "kind"}, protocol=protocol))
    assert (spec.protocol.split, spec.protocol.repeat, spec.protocol.relevant_events) == ("latest_out", False, ("buy",))
    assert spec_of(tmp_path, entry(max_quarantined=0.2)).max_quarantined == 0.2
    assert spec_of(tmp_path, entry()).protocol.relevant_events == ("purchase",)


PARTS: list[tuple[dict[str, Any], str]] = [
    (
        entry(titel="x"),
        "unknown key 'ours.titel'; choose from events, feedback, feedback_names, interactions, items, licence",
    ),
    ({"title": "x"}, "ours.interactions is missing; add it"),
    (entry(title=""), "ours.title: got ''"),
    (entry(max_quarantined=2), "ours.max_quarantined: got 2; "),
    (entry(unknown_items="drop"), r"ours.unknown_items: got 'drop'; Input should be 'keep' or 'quarantine'"),
    (entry(unknown_items="quarantine"), "ours.unknown_items: got quarantine; allowed without the table items: keep"),
    (entry(columns={"user_id": "WHAT"}), r"columns\.item_id: got 'what', which is user_id already"),
    (
        entry(columns={"user_id": {"value": "x"}}),
        "columns.user_id: got one value for all rows; allowed: a source column",
    ),
    (entry(columns={"order_id": 3}), r"columns\.order_id: got 3; allowed: a source column, in quotes if it is a"),
    (entry(columns={"at": "x"}), "ours.interactions.columns: got 'at'; allowed: user_id, item_id, timestamp, event"),
    (entry(columns={"weight": "x"}), "got 'weight'; allowed: user_id"),
    (entry(columns={"quantity": {"column": "n", "factor": 2}}), "unknown key .*factor'; choose from column, decimal"),
    (entry(columns={"order_id": {"column": "n", "decimal": ","}}), "decimal is for numbers; leave it out"),
    (entry(columns={"order_id": {"value": "n", "nulls": ["-"]}}), "nulls and total need a source column"),
    (
        entry(columns={"unit_price": {"column": "p", "total": True}}),
        "unit_price.total: allowed: .* there is a quantity",
    ),
    (entry(log={"nulls": [None]}), r"nulls.*not a text in YAML; allowed: texts, such as \['NULL', '-'\]"),
    (entry(log={"sheet": "May"}), r"sheet is for \.xlsx files; this is csv; leave it out"),
    (entry(columns={"quantity": {"column": "n", "scale": 0}}), "scale: got 0; Input should be greater than 0"),
    (
        entry(columns={"quantity": {"column": "n", "scale": 2, "unit": "cents"}}),
        "takes only one of scale, unit and format",
    ),
    (entry(columns={"quantity": {"column": "n", "unit": "seconds"}}), "format and unit are for times; leave them out"),
    (entry(columns={"order_id": {"column": "n", "scale": 2}}), "scale and unit are for numbers; leave them out"),
    (entry(columns={"order_id": {"scale": 2}}), "needs either column .* or value"),
    (entry(columns={"order_id": "Line"}), "got 'Line'; allowed: .* none of file, line, raw, broken; rename it"),
    (entry(columns={"timestamp": {"column": "at", "format": "%Q"}}), "format: got '%Q'; allowed: strptime's"),
    (entry(log={"columns": {"user_id": "who"}}), "ours.interactions.columns: lacks item_id, timestamp; allowed:"),
    (entry(log={"query": "select 1"}), "ours.interactions: needs either files .* or query"),
    (entry(log={"query": "select 1", "files": []}), "interactions.query: needs a database; add sql: "),
    (entry(log={"files": "http://x/log.csv"}), "files: got another scheme; allowed: a path, or s3://, gs://, file://"),
    (entry(log={"files": ["log.csv", "s3://x/log.csv"]}), "files: got paths and URLs; allowed: only one kind"),
    (entry(log={"files": "log.jsonl", "delimiter": ";"}), "are for CSV files; this is json; leave them out"),
    (entry(log={"delimiter": "||"}), r"interactions\.delimiter: got '\|\|'; allowed: one character"),
    (entry(log={"delimiter": '"'}), "delimiter: got '\"'; allowed: one character, no quote or line end"),
    (entry(log={"delimiter": "\n"}), r"delimiter: got '\\n'; allowed: one character, no quote or line end"),
    (entry(log={"files": "."}), r"interactions\.files: got '\.', which is a folder; allowed: its files"),
    (entry(log={"files": "/"}), "files: got '/', which is a folder; allowed: its files"),
    (entry(log={"files": ["log.csv", "**x.csv"]}), r"files: got '\*\*x\.csv'; allowed: \*\* as a whole part"),
    (entry(log={"files": "~nobody-here/x.csv"}), "files: got '~nobody-here/x.csv', whose home folder is unknown"),
    (entry(log={"encoding": "utf-16"}), "encoding: got 'utf-16'; allowed: utf-8, latin-1"),
    (entry(log={"encoding": "utf-9"}), "encoding: got 'utf-9'; allowed: utf-8"),
    (
        entry(log={"rules": {"quantity": {"above": 0}}}),
        "rules.quantity: is not a bound .*; allowed: no column is a number",
    ),
    (entry(sql={"url": "oracle://x:hush@y/z"}), "url: got another scheme; allowed: sqlite://, postgresql://"),
    (entry(sql={"url": ["x:hush@y"]}), r"sql\.url: got a value; Input should be a valid string"),
    (entry(events={"view": 1}), "events: lacks 'purchase', the event of all rows; got view; add it"),
    (entry(events={"purchase": 0}), "events.purchase: got 0; Input should be greater than 0"),
    (entry(events={"a": 1, "b": 2}, columns={"event": "kind"}), "relevant_events: is required .*; allowed: a, b"),
    (entry(protocol={"relevant_events": ["buy"]}), "relevant_events: got buy; allowed: purchase"),
    (entry(protocol={"candidates": "on_sale"}), "candidates: got on_sale; needs items.columns.available_from"),
    (entry(protocol={"days": 3}), "unknown key 'ours.protocol.days'; choose from candidates"),
]


@pytest.mark.parametrize(("content", "reported"), PARTS)
def test_a_mistake_is_an_error_of_one_line(content: dict[str, Any], reported: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=reported) as caught:
        spec_of(tmp_path, content)
    message = str(caught.value)
    assert message.startswith(str(tmp_path / "datasets.yaml"))
    assert "\n" not in message
    assert "hush" not in message


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        ("[1, 2]", "got a list; allowed: NAME: and its settings"),
        ("Shop: {}", "got the name 'Shop'; allowed: small letters"),
        ("1: {}", "got the name 1; allowed: small letters"),
        ("ours: 3", "ours: got 3; "),
        ("a: {}\na: {}", "is not YAML: 'a' occurs twice"),
        ("a: [", "is not YAML: "),
    ],
)
def test_an_invalid_file_is_an_error_of_one_line(text: str, reported: str, tmp_path: Path) -> None:
    (tmp_path / "datasets.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match=reported) as caught:
        read_specs(tmp_path / "datasets.yaml")
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigurationError, match="TRADEWIND_DATASETS names the file"):
        read_specs(tmp_path / "none.yaml")


# -- values


@pytest.mark.parametrize(
    ("form", "written", "meant"),
    [
        ({}, "2024-01-15T12:30:05.25", "2024-01-15 11:30:05.250000"),
        ({}, "2024-07-15 12:30", "2024-07-15 10:30:00"),
        ({}, "2024-07-15", "2024-07-14 22:00:00"),
        ({}, "2024-07-15T12:30:00Z", "2024-07-15 12:30:00"),
        ({}, "2024-07-15 12:30:00+05:30", "2024-07-15 07:00:00"),
        ({}, "2024-07-15T12:30+0200", "2024-07-15 10:30:00"),
        ({}, "2024-03-31 01:59:59", "2024-03-31 00:59:59"),  # the last second of winter time
        ({}, "2024-03-31 02:30", "2024-03-31 01:30:00"),  # an hour that is missing
        ({}, "2024-03-31 03:00", "2024-03-31 01:00:00"),
        ({}, "2024-10-27 01:59:59", "2024-10-26 23:59:59"),
        ({}, "2024-10-27 02:30", "2024-10-27 01:30:00"),  # occurs twice; the second one is used
        ({}, "2024-10-27 03:00", "2024-10-27 02:00:00"),
        ({"format": "%d.%m.%Y %H:%M"}, "31.03.2024 03:30", "2024-03-31 01:30:00"),
        ({"format": "%d.%m.%Y %H:%M %z"}, "31.03.2024 03:30 +0100", "2024-03-31 02:30:00"),
        ({"unit": "seconds"}, "1711848600", "2024-03-31 01:30:00"),
        ({"unit": "seconds"}, "1711848600.5", "2024-03-31 01:30:00.500000"),
        ({"unit": "milliseconds"}, "1711848600123", "2024-03-31 01:30:00.123000"),
        ({"unit": "microseconds"}, "1711848600123456", "2024-03-31 01:30:00.123456"),
        ({"format": "%A, %B %d, %Y"}, '"Saturday, July 1, 2017"', "2017-06-30 22:00:00"),
    ],
)
def test_a_time_is_read_in_its_format(form: dict[str, str], written: str, meant: str, tmp_path: Path) -> None:
    content = entry(columns={"timestamp": {"column": "at", **form}}, time_zone="Europe/Berlin")
    assert times(read(tmp_path, content, [f"1,a,{written}"])) == [datetime.fromisoformat(meant).replace(tzinfo=UTC)]


@pytest.mark.parametrize(
    ("form", "written", "reason"),
    [
        ({}, "31/03/2024", "at is not a time like 2024-05-31 14:05:00"),
        ({}, "infinity", "at is not a time like 2024-05-31 14:05:00"),
        ({}, "2024-02-30", "at is not a time like 2024-05-31 14:05:00"),
        ({}, "2024-01-01 10:00 CET", "at is not a time like 2024-05-31 14:05:00"),
        ({}, "", "at is empty"),
        ({}, "2924-01-01", "at is in the future"),
        ({}, "1924-01-01", "at is before 1970"),
        ({"unit": "seconds"}, "1711848600123", "at is not a time in seconds since 1970"),
        ({"unit": "milliseconds"}, "99999999999999999999999999", "at is not a time in milliseconds since 1970"),
        ({"format": "%d.%m.%Y"}, "2024-03-31", "at is not a time like %d.%m.%Y"),
    ],
)
def test_an_invalid_time_is_quarantined(form: dict[str, str], written: str, reason: str, tmp_path: Path) -> None:
    content = entry(columns={"timestamp": {"column": "at", **form}})
    good = {"seconds": "1711848600", "milliseconds": "1711848600000"}.get(form.get("unit", ""), "2024-03-31")
    good = "31.03.2024" if "format" in form else good
    assert reasons(read(tmp_path, content, [f"1,a,{good}", f"1,b,{written}"])) == [
        ("log.csv", 3, reason, f"1,b,{written}")
    ]


def test_a_time_up_to_one_day_ahead_is_accepted(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    ahead = [(now + timedelta(hours=hours)).isoformat() for hours in (23, 25)]
    tables = read(tmp_path, entry(), [f"1,a,{at}" for at in ahead])
    assert times(tables) == [datetime.fromisoformat(ahead[0])]


def test_numbers_are_read_in_their_format_and_rules_apply(tmp_path: Path) -> None:
    columns = {"quantity": {"column": "n", "unit": "dozens"}, "unit_price": {"column": "p", "unit": "cents"}}
    rules = {"quantity": {"above": 0, "at_most": 120, "otherwise": "set_aside"}}
    content = entry(columns=columns, log={"delimiter": ";", "decimal": ","})
    content["interactions"] |= {"columns": COLUMNS | columns, "rules": rules}
    kept = ["1;a;2024-01-01;1,5;1999", "1;b;2024-01-01;;1.234.567,5"]
    aside = ["1;c;2024-01-01;-1;5", "1;d;2024-01-01;11;5"]
    bad = ["1;e;2024-01-01;1.5;5", "1;f;2024-01-01;1;-5", "1;g;2024-01-01;six;5", "1;h;2024-01-01;12"]
    tables = read(tmp_path, content, [*kept, *aside, *bad], head="who;what;at;n;p")
    found = {row["item_id"]: (row["quantity"], row["unit_price"]) for row in tables.interactions.to_pylist()}
    assert found == {"a": (18, 19.99), "b": (None, 12345.675)}
    assert [reason for _, _, reason, _ in reasons(tables)] == [
        "n is not a number with a decimal comma",
        "p is not at least 0",
        "n is not a number with a decimal comma",
        "wrong number of fields",
    ]
    assert dict(tables.counts.set_aside) == {"n is not above 0": 1, "n is not at most 120": 1}
    assert (tables.counts.read, tables.counts.kept, tables.counts.quarantined) == (8, 2, 4)


PRICES: list[tuple[dict[str, Any], dict[str, float | None]]] = [
    ({}, {"$2,024.99": 2024.99, "US$ 5": 5, "5.50 EUR": 5.5, "-$1": -1, "9.99": 9.99, "1e3": 1000, ".5": 0.5}),
    (
        {},
        dict.fromkeys(("$1,249", "1,249", "2.024,99", "12 pieces", "1,24.50", "$", "$$5")),
    ),  # ambiguous, or not a number
    ({"decimal": "."}, {"$1,249": 1249, "1'249.5": 1249.5, "1 249 €": 1249, "1,249,000": 1249000, "1,24": None}),
    ({"decimal": ","}, {"2.024,99 €": 2024.99, "1 249,5": 1249.5, "9,99": 9.99, "1.249": 1249, "9.99": None}),
    ({"decimal": ",", "unit": "cents"}, {"1.999": 19.99}),
]


@pytest.mark.parametrize(("form", "prices"), PRICES)
def test_unambiguous_amounts_of_money_are_read(
    form: dict[str, Any], prices: dict[str, float | None], tmp_path: Path
) -> None:
    content = entry(columns={"unit_price": {"column": "p", **form}}, log={"rules": {"unit_price": {"above": -10}}})
    log = [f'1,{n},2024-01-01,"{price}"' for n, price in enumerate(prices)]
    tables = read(tmp_path, content, [*log, "1,good,2024-01-01,"], head="who,what,at,p")
    found = {row["item_id"]: row["unit_price"] for row in tables.interactions.to_pylist()}
    assert {price: found.get(str(n)) for n, price in enumerate(prices)} == prices
    assert tables.counts.quarantined == sum(meant is None for meant in prices.values())


def test_a_line_total_becomes_a_unit_price(tmp_path: Path) -> None:
    columns = {"quantity": "n", "unit_price": {"column": "amount", "total": True, "unit": "cents"}}
    log = ["1,a,2024-01-01,4,1000", "1,b,2024-01-01,,1000", "1,c,2024-01-01,0,1000", "1,d,2024-01-01,2,ten"]
    tables = read(tmp_path, entry(columns=columns), log, head="who,what,at,n,amount")
    found = {row["item_id"]: row["unit_price"] for row in tables.interactions.to_pylist()}
    assert found == {"a": 2.5, "b": None}
    assert [reported[2] for reported in reasons(tables)] == ["n is not above 0", "amount is not a number"]


# -- values that are missing


def items_of(**columns: Any) -> dict[str, Any]:
    return entry(items={"files": "items.csv", "columns": {"item_id": "id", "title": "name"} | columns})


MARKERS = ("-", "—", "NULL", "null", r"\N", "N/A", "#N/A", "nan", "NaN", "None", "NA", " ")


@pytest.mark.parametrize("marker", MARKERS)
def test_a_null_marker_is_a_missing_value(marker: str, tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text(f"id,name,price,group\na,Apple,{marker},{marker}\n")
    log = ["1,a,2024-01-01", f"{marker},a,2024-01-02"]
    tables = read(tmp_path, items_of(price="price", category="group"), log)
    (item,) = tables.items.to_pylist()
    text = "NA" if marker == "NA" else None  # as text it can be North America
    assert (item["title"], item["price"], item["category"]) == ("Apple", None, text)
    assert [reported[2] for reported in reasons(tables)] == ([] if text else ["who is empty"])


def test_markers_can_be_declared(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("id,name,price\n-,Dash,-1\n0,?,2\n")
    content = items_of(price="price")
    content["items"] |= {"nulls": ["?", -1, "0"]}
    content["items"]["columns"]["item_id"] = {"column": "id", "nulls": []}
    tables = read(tmp_path, content, ["1,0,2024-01-01"])
    found = [(row["item_id"], row["title"], row["price"]) for row in tables.items.to_pylist()]
    assert found == [("-", "Dash", None), ("0", None, 2)]


def test_an_invalid_value_of_an_item_is_left_out_and_the_row_is_kept(tmp_path: Path) -> None:
    rows = ["a,Apple,on request,2024-01-01", "b,Pear,-5,", "c,Plum,3,soon"]
    (tmp_path / "items.csv").write_text("\n".join(["id,name,price,until", *rows]))
    tables = read(tmp_path, items_of(price="price", available_until="until"), ["1,a,2024-01-01"])
    assert [(row["title"], row["price"]) for row in tables.items.to_pylist()] == [
        ("Apple", None),
        ("Pear", None),
        ("Plum", 3),
    ]
    assert [reported[1:3] for reported in reasons(tables)] == [
        (2, "price is not a number; the value is left out"),
        (3, "price is not at least 0; the value is left out"),
        (4, "until is not a time like 2024-05-31 14:05:00; the value is left out"),
    ]
    assert (tables.counts.read, tables.counts.kept, tables.counts.quarantined) == (4, 1, 3)


@pytest.mark.parametrize("other", ["quarantine", "set_aside"])
def test_events_have_the_weights_of_the_entry(other: str, tmp_path: Path) -> None:
    content = entry(columns={"event": "kind"}, events={"purchase": 1, "view": 0.1}, other_events=other)
    log = ["1,a,2024-01-01,purchase", "1,b,2024-01-02,view", "1,c,2024-01-03,click", "1,d,2024-01-04,"]
    tables = read(tmp_path, content, log, head="who,what,at,kind")
    assert tables.interactions["event"].to_pylist() == ["purchase", "view"]
    assert tables.interactions["weight"].to_pylist() == pytest.approx([1, 0.1])
    reason = "kind is none of purchase, view"
    assert dict(tables.counts.set_aside) == ({reason: 1} if other == "set_aside" else {})
    assert [reported for _, _, reported, _ in reasons(tables)] == [reason, "kind is empty"][other == "set_aside" :]


def test_an_event_may_be_the_same_for_all_rows(tmp_path: Path) -> None:
    tables = read(tmp_path, entry(columns={"event": {"value": "view"}}, events={"view": 0.5}), ["1,a,2024-01-01"])
    assert (tables.interactions["event"].to_pylist(), tables.interactions["weight"].to_pylist()) == (["view"], [0.5])


@pytest.mark.parametrize("role", ["user_id", "item_id", "order_id"])
def test_an_id_of_more_than_200_characters_is_quarantined(role: str, tmp_path: Path) -> None:
    def line(length: int) -> str:
        return ",".join(("é" * length if role == name else name) for name in ("user_id", "item_id", "order_id"))

    tables = read(
        tmp_path,
        entry(columns={"order_id": "order"}),
        [f"{line(length)},2024-01-01" for length in (200, 201)],
        head="who,what,order,at",
    )
    assert tables.interactions[role].to_pylist() == ["é" * 200]
    name = {"user_id": "who", "item_id": "what", "order_id": "order"}[role]
    assert [reported[1:3] for reported in reasons(tables)] == [(3, f"{name} is longer than 200 characters")]


def test_long_ids_of_items_are_quarantined_too(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text(f"id\na\n{'b' * 201}\n")
    tables = read(tmp_path, entry(items={"files": "items.csv", "columns": {"item_id": "id"}}), ["1,a,2024-01-01"])
    assert tables.items["item_id"].to_pylist() == ["a"]
    assert [reported[1:3] for reported in reasons(tables)] == [(3, "id is longer than 200 characters")]


# -- items and users


@pytest.mark.parametrize("unknown", ["keep", "quarantine"])
def test_ids_that_are_missing_from_the_tables(unknown: str, tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("id,name\na,Apple\nz,Zebra\n")
    (tmp_path / "users.csv").write_text("id,town\n1,Kiel\n")
    content = entry(
        items={"files": "items.csv", "columns": {"item_id": "id", "title": "name"}},
        users={"files": "users.csv", "columns": {"user_id": "id", "region": "town"}},
        unknown_items=unknown,
        unknown_users=unknown,
    )
    tables = read(tmp_path, content, ["1,a,2024-01-01", "1,b,2024-01-02", "2,a,2024-01-03"])
    titles = {row["item_id"]: row["title"] for row in tables.items.to_pylist()}
    towns = {row["user_id"]: row["region"] for row in tables.users.to_pylist()}
    if unknown == "keep":
        assert titles == {"a": "Apple", "b": None, "z": "Zebra"}
        assert towns == {"1": "Kiel", "2": None}
        assert (tables.counts.kept, tables.counts.quarantined) == (3, 0)
    else:
        assert (titles, towns) == ({"a": "Apple", "z": "Zebra"}, {"1": "Kiel"})
        assert [reported[1:3] for reported in reasons(tables)] == [
            (3, "what is unknown in items"),
            (4, "who is unknown in users"),
        ]


def test_the_first_good_row_of_an_id_is_kept(tmp_path: Path) -> None:
    rows = ["a,Cheap,-1", "b,Zebra,1", "a,Apple,2", "b,Bear,3", ",Nobody,4"]
    (tmp_path / "items.csv").write_text("\n".join(["id,name,price", *rows]))
    columns = {"item_id": "id", "title": "name", "price": "price"}
    tables = read(tmp_path, entry(items={"files": "items.csv", "columns": columns}), ["1,a,2024-01-01"])
    assert tables.items["title"].to_pylist() == ["Apple", "Zebra"]
    assert [reported[1:3] for reported in reasons(tables)] == [
        (2, "id occurs twice"),
        (5, "id occurs twice"),
        (6, "id is empty"),
    ]
    assert (tables.counts.read, tables.counts.kept, tables.counts.quarantined) == (4, 1, 3)


def test_an_item_may_change_with_time(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("id,name,since\na,Old,\na,New,2024-02-01\na,Newer,2024-02-01\n")
    columns = {"item_id": "id", "title": "name", "valid_from": "since"}
    tables = read(
        tmp_path, entry(items={"files": "items.csv", "columns": columns}), ["1,a,2024-01-01", "1,b,2024-01-01"]
    )
    assert tables.items["title"].to_pylist() == ["Old", "New", None]
    assert reasons(tables) == [("items.csv", 4, "id and since occurs twice", "a,Newer,2024-02-01")]


# -- files


def test_json_lines_gzip_latin_1_and_parquet_give_the_same_tables(tmp_path: Path) -> None:
    rows = [{"who": 1, "what": "Käse", "at": "2024-01-01"}, {"who": 2, "what": None, "at": "2024-01-02"}]
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (tmp_path / "log.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "log.csv").write_bytes("who;what;at\n1;Käse;2024-01-01\n2;;2024-01-02\n".encode("latin-1"))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "log.parquet")
    found = [
        read(tmp_path, entry(log=log))
        for log in (
            {"files": "log.jsonl.gz"},
            {"files": "log.csv", "delimiter": ";", "encoding": "latin-1"},
            {"files": "log.parquet"},
        )
    ]
    for tables in found:
        assert tables.interactions.equals(found[0].interactions)
        assert tables.interactions["item_id"].to_pylist() == ["Käse"]
        assert [row["reason"] for row in tables.quarantine.to_pylist()] == ["what is empty"]
    assert [reasons(tables)[0][1] for tables in found] == [2, 3, 2]


def written(folder: Path, name: str, rows: list[dict[str, Any]]) -> None:
    """Writes rows as a file; its suffix gives the format."""
    path, table = folder / name, pa.Table.from_pylist(rows)
    if name.endswith(".parquet"):
        pq.write_table(table, path)
    elif name.endswith(".jsonl"):
        path.write_text("\n".join(json.dumps(row) for row in rows))
    elif name.endswith(".csv"):
        lines = [table.column_names, *(map(str, row.values()) for row in rows)]
        path.write_text("\n".join(",".join(line) for line in lines))
    else:
        openpyxl = pytest.importorskip("openpyxl", reason="openpyxl makes the workbooks of these tests")
        book = openpyxl.Workbook()
        for line in (table.column_names, *(list(row.values()) for row in rows)):
            book.active.append(line)
        book.save(path)


KINDS = ("csv", "jsonl", "parquet", "xlsx")


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_that_older_files_lack_is_empty_there(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    row = {"who": "1", "what": "a", "at": "2024-01-01"}
    written(tmp_path, f"2023.{kind}", [row])
    written(tmp_path, f"2024.{kind}", [row | {"what": "b", "p": 2.5}])
    tables = read(tmp_path, entry(log={"files": f"*.{kind}"}, columns={"unit_price": "p"}) | {})
    assert dict(zip(*(tables.interactions[name].to_pylist() for name in ("item_id", "unit_price")), strict=True)) == {
        "a": None,
        "b": 2.5,
    }
    assert f"1 of 2 files lack p, such as 2023.{kind}" in caplog.text
    with pytest.raises(DataError, match=rf"2023\.{kind} lacks q; got .*; correct the name or leave it out"):
        read(tmp_path, entry(log={"files": f"*.{kind}"}, columns={"unit_price": "q"}))
    if kind != "jsonl":  # there each row is checked separately
        written(tmp_path, f"2025.{kind}", [{"who": "1", "at": "2024-01-01"}])
        with pytest.raises(DataError, match=rf"2025\.{kind} lacks what; got who, at"):
            read(tmp_path, entry(log={"files": f"*.{kind}"}))


@pytest.mark.parametrize("kind", KINDS)
def test_column_names_are_case_sensitive(kind: str, tmp_path: Path) -> None:
    rows = [{"WHO": "wrong", "who": "1", "what": "a", "at": "2024-01-01"}]
    written(tmp_path, f"log.{kind}", rows)
    other = [{key: row[key] for key in ("at", "what", "who", "WHO")} for row in rows]
    written(tmp_path, f"log2.{kind}", [other[0] | {"who": "2"}])
    tables = read(tmp_path, entry(log={"files": f"log*.{kind}"}))
    assert sorted(tables.interactions["user_id"].to_pylist()) == ["1", "2"]


def test_a_repeated_column_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"log\.csv has what twice; expected it once; rename one"):
        read(tmp_path, entry(), ["1,a,b,2024-01-01"], head="who,what,what,at")


@pytest.mark.parametrize(
    ("name", "nothing"), [("b.csv", b"\n"), ("b.csv.gz", b""), ("b.csv.gz", b" \n\n"), ("b.csv.gz", codecs.BOM_UTF8)]
)
def test_an_empty_file_among_others_is_ignored(name: str, nothing: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("who,what,at\n1,a,2024-01-01\n")
    (tmp_path / name).write_bytes(gzip.compress(nothing) if name.endswith(".gz") else nothing)
    assert read(tmp_path, entry(log={"files": "*.csv*"})).counts.kept == 1
    (tmp_path / "a.csv").rename(tmp_path / "a.jsonl")
    (tmp_path / "a.jsonl").write_text('{"who": 1, "what": "a", "at": "2024-01-01"}')
    (tmp_path / name).rename(tmp_path / name.replace("csv", "jsonl"))
    spec = spec_of(tmp_path, entry(log={"files": "*.jsonl*"}))
    assert spec.read(tmp_path).counts.kept == 1
    (tmp_path / "a.jsonl").unlink()
    with pytest.raises(DataError, match="is empty; expected rows"):
        spec.locate(tmp_path)


def test_a_workbook_is_a_table_too(tmp_path: Path) -> None:
    rows = [{"who": 17850, "what": "00A", "at": datetime(2024, 1, 1, 12, 30), "p": 2.5}]
    written(tmp_path, "log.xlsx", [*rows, rows[0] | {"what": None}])
    tables = read(tmp_path, entry(log={"files": "log.xlsx", "sheet": "Sheet"}, columns={"unit_price": "p"}))
    (row,) = tables.interactions.to_pylist()
    assert (row["user_id"], row["item_id"], row["unit_price"]) == ("17850", "00A", 2.5)
    assert times(tables) == [datetime(2024, 1, 1, 12, 30, tzinfo=UTC)]
    assert reasons(tables) == [("log.xlsx", 3, "what is empty", "17850,,2024-01-01 12:30:00,2.5")]


def test_a_title_may_be_left_out(tmp_path: Path) -> None:
    content = entry()
    del content["title"]
    assert spec_of(tmp_path, content).title == "ours"


def test_without_good_rows_the_error_lists_the_most_common_reasons(tmp_path: Path) -> None:
    log = ["1,a,1709287200000", "1,b,1709287201000", "1,,2024-01-01"]
    with pytest.raises(DataError) as caught:
        read(tmp_path, entry(), log)
    assert str(caught.value) == (
        f"ours: none of the 3 rows of {tmp_path} can be kept: 2 x at is a number, not a time: set unit to what it "
        "counts since 1970 (as in log.csv, line 2: 1,a,1709287200000); 1 x what is empty "
        "(as in log.csv, line 4: 1,,2024-01-01); correct the columns"
    )


def test_globs_absolute_paths_and_another_folder(tmp_path: Path) -> None:
    for folder, who in (("here", "1"), ("there", "2")):
        (tmp_path / folder / "deep").mkdir(parents=True)
        (tmp_path / folder / "deep" / "log-1.csv").write_text(f"who,what,at\n{who},a,2024-01-01\n")
        (tmp_path / folder / "deep" / "log-2.csv").write_text(f"who,what,at\n{who},b,2024-01-01\n")
    spec = spec_of(tmp_path / "here", entry(log={"files": "*/log-*.csv"}))
    assert spec.folder == tmp_path / "here"
    assert set(spec.read(spec.folder).interactions["user_id"].to_pylist()) == {"1"}
    assert set(spec.read(tmp_path / "there").interactions["user_id"].to_pylist()) == {"2"}
    absolute = str(tmp_path / "there" / "deep" / "log-2.csv")
    spec = spec_of(tmp_path / "here", entry(log={"files": ["deep/log-1.csv", "../there/deep/log-1.csv", absolute]}))
    assert spec.read(tmp_path / "here").counts.kept == 3


def test_missing_files_and_files_with_other_content_are_errors(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, entry())
    with pytest.raises(DataError, match=r"no file in .* matches log\.csv; fix interactions\.files in .*datasets\.yaml"):
        spec.locate(tmp_path)
    (tmp_path / "log.csv").write_text("")
    with pytest.raises(DataError, match="is empty"):
        spec.locate(tmp_path)
    with pytest.raises(DataError, match="lacks at; got who, what"):
        read(tmp_path, entry(), ["1,a"], head="who,what")
    with pytest.raises(DataError, match="none of the 1 rows"):
        read(tmp_path, entry(), ["1,,2024-01-01"])
