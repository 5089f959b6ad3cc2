"""Feedback in the tables: each event once, none that the source may hold, and nothing without a declaration."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommenders.datasets.all_datasets import DATASETS
from recommenders.datasets.custom.spec import read_specs
from recommenders.datasets.profile.page import render
from recommenders.datasets.profile.profiling import profile_tables
from recommenders.datasets.reading.counted_feedback import PASSED_OVER, FeedbackRule, add_feedback, count_feedback
from recommenders.datasets.reading.ingest import TABLES, Counts
from recommenders.datasets.spec import source_until
from recommenders.datasets.store import TableStore
from recommenders.errors import ConfigurationError
from recommenders.storage.feedback_files import COLUMNS, FeedbackFiles
from recommenders.storage.feedback_position import Position

PLAIN = DATASETS["online_retail"]
SPEC = replace(PLAIN, feedback={"purchase": 1.0, "cart": 0.25})
HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
NOON = datetime(2010, 12, 5, 12, tzinfo=UTC)  # of the newest event of the source
HOUR = timedelta(hours=1)
UNTIL = int(NOON.timestamp() * 1e6)

Happened = tuple[str, str, str, datetime]  # kind, user, item, time
PURCHASE: Happened = ("purchase", "1", "85123A", NOON + HOUR)


def write_source(folder: Path, *days: int) -> Path:
    """A folder of online_retail with one line of user 1 on each of the days, at noon."""
    folder.mkdir(exist_ok=True)
    for day in days:
        line = f"{536000 + day},85123A,HEART,5,2010-12-{day:02} 12:00:00,1.5,1,UK"
        (folder / f"{day}.csv").write_text(f"{HEADER}\n{line}\n")
    return folder


def page(first: int, events: Sequence[Happened]) -> pa.Table:
    """Feedback events with sequences from `first` on, in steps of 2, because other data sets have events too."""
    rows = [
        {"sequence": first + 2 * n, "event_id": f"{first}/{n}", "event": kind, "user_id": user, "item_id": item}
        | {"timestamp": time, "quantity": 2.0}
        for n, (kind, user, item, time) in enumerate(events)
    ]
    return pa.Table.from_pylist(rows, COLUMNS)


def feedback(folder: Path, *pages: Sequence[Happened]) -> FeedbackFiles:
    """Files with a page each."""
    files = FeedbackFiles(folder)
    for events in pages:
        known = files.position()
        files.append(page(known.sequence + 2 if known else 1, events))
    return files


@pytest.fixture
def store(tmp_path: Path) -> TableStore:
    return TableStore(tmp_path / "tables")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_source(tmp_path / "days", 1, 5)


def test_later_events_are_added_and_earlier_ones_are_passed_over(
    source: Path, store: TableStore, tmp_path: Path
) -> None:
    events = [
        ("purchase", "1", "85123A", NOON),  # the source's own newest event
        ("purchase", "1", "85123A", NOON + timedelta(microseconds=1)),
        ("cart", "new user", "new item", NOON + HOUR),
        ("click", "1", "85123A", NOON + HOUR),  # has no weight
        ("cart", "1", "22423", NOON - HOUR),
    ]
    version = SPEC.ingest(source, store, feedback=feedback(tmp_path / "feedback", events))
    assert version.counts == Counts(read=6, kept=4, set_aside={PASSED_OVER: 2}, feedback=2)
    rows = store.read("interactions").to_pylist()
    assert [(row["user_id"], row["item_id"], row["event"], row["weight"], row["quantity"]) for row in rows] == [
        ("1", "85123A", "purchase", 1.0, 5.0),
        ("1", "85123A", "purchase", 1.0, 5.0),
        ("1", "85123A", "purchase", 1.0, 2.0),
        ("new user", "new item", "cart", 0.25, 2.0),
    ]
    assert sorted(store.read("users")["user_id"].to_pylist()) == ["1", "new user"]
    assert sorted(store.read("items")["item_id"].to_pylist()) == ["85123A", "new item"]
    assert version.source is not None
    assert version.source.position == Position(9, "1/4")
    assert source_until(store, version) == UNTIL
    assert SPEC.ingest(source, store, feedback=FeedbackFiles(tmp_path / "feedback")) == version
    assert len(store.versions()) == 1


def test_the_data_version_changes_only_with_what_is_counted(source: Path, store: TableStore, tmp_path: Path) -> None:
    folder = tmp_path / "feedback"
    plain = PLAIN.fingerprint(source).version
    first = PLAIN.ingest(source, store)
    assert first.data_version == plain

    def versions() -> list[str]:
        """As computed before and after the tables are made; they must agree."""
        files = FeedbackFiles(folder)
        before = SPEC.data_version(plain, store, files)
        return [before, SPEC.ingest(source, store, feedback=files).data_version]

    assert versions() == [plain, plain]  # no events yet
    feedback(folder, [("click", "1", "85123A", NOON + HOUR), ("purchase", "1", "85123A", NOON - HOUR)])
    assert versions() == [plain, plain]
    assert len(store.versions()) == 1  # so there is no reason for new tables either
    feedback(folder, [PURCHASE])
    added, again = versions()
    assert added == again != plain
    assert versions() == [added, added]
    assert len(store.versions()) == 2
    heavier = replace(SPEC, feedback={"purchase": 2.0}).data_version(plain, store, FeedbackFiles(folder))
    assert heavier not in (plain, added)
    assert PLAIN.ingest(source, store, feedback=FeedbackFiles(folder)).data_version == plain  # no longer declared


def test_the_file_of_the_next_night_replaces_its_feedback(source: Path, store: TableStore, tmp_path: Path) -> None:
    files = feedback(tmp_path / "feedback", [PURCHASE, ("purchase", "2", "new", NOON + 30 * HOUR)])
    assert SPEC.ingest(source, store, feedback=files).counts.feedback == 2
    write_source(source, 6)  # its event is 24 hours after the newest one before
    version = SPEC.ingest(source, store, feedback=files)
    assert version.counts == Counts(read=5, kept=4, set_aside={PASSED_OVER: 1}, feedback=1)
    write_source(source, 7)
    version = SPEC.ingest(source, store, feedback=files)
    assert version.counts == Counts(read=6, kept=4, set_aside={PASSED_OVER: 2}, feedback=0)
    assert version.data_version == PLAIN.fingerprint(source).version
    assert store.read("users")["user_id"].to_pylist() == ["1"]


def test_a_restored_version_keeps_its_feedback(source: Path, store: TableStore, tmp_path: Path) -> None:
    folder = tmp_path / "feedback"
    first = SPEC.ingest(source, store, feedback=feedback(folder, [PURCHASE]))
    second = SPEC.ingest(source, store, feedback=feedback(folder, [PURCHASE]))
    assert second.counts.feedback == 2  # two events with the same values are two events
    back = store.restore(first.number)
    assert (back.data_version, back.source, back.counts) == (first.data_version, first.source, first.counts)
    assert SPEC.ingest(source, store, feedback=feedback(folder, [PURCHASE])) == back
    store.release()
    third = SPEC.ingest(source, store, feedback=FeedbackFiles(folder))
    assert third.counts.feedback == 3


def test_names_of_the_source_are_used(tmp_path: Path) -> None:
    rule = FeedbackRule({"purchase": 1.0, "cart": 0.5}, DATASETS["retailrocket"].feedback_names)
    events = [("purchase", "1", "a", NOON), ("cart", "1", "b", NOON), ("click", "1", "c", NOON)]
    found = count_feedback(rule, feedback(tmp_path / "feedback", events), UNTIL - 1)
    assert found.rows["event"].to_pylist() == ["transaction", "addtocart"]
    assert set(DATASETS["retailrocket"].feedback_names.values()) > set(
        DATASETS["retailrocket"].protocol.relevant_events
    )


def test_columns_that_only_the_feedback_has_are_added(tmp_path: Path) -> None:
    first = {"user_id": "1", "item_id": "85123A", "timestamp": NOON, "event": "purchase", "weight": 1.0}
    pq.write_table(pa.Table.from_pylist([first]), tmp_path / "interactions.parquet")
    for name in ("user", "item"):
        pq.write_table(pa.table({f"{name}_id": [first[f"{name}_id"]]}), tmp_path / f"{name}s.parquet")
    files = feedback(tmp_path / "feedback", [PURCHASE])
    found = count_feedback(FeedbackRule({"purchase": 1.0}, {}), files, UNTIL)
    assert add_feedback(tmp_path, found, Counts(read=1, kept=1)) == Counts(read=2, kept=2, feedback=1)
    table = pq.read_table(tmp_path / "interactions.parquet")
    assert table["quantity"].to_pylist() == [None, 2.0]
    assert "rating" not in table.column_names
    assert sorted(path.name for path in tmp_path.glob("*.*")) == [f"{name}.parquet" for name in sorted(TABLES)[:2]] + [
        "users.parquet"
    ]


def test_feedback_of_an_item_with_a_successor_counts_for_the_successor(tmp_path: Path) -> None:
    first = {"user_id": "1", "item_id": "new", "timestamp": NOON, "event": "purchase", "weight": 1.0}
    pq.write_table(pa.Table.from_pylist([first]), tmp_path / "interactions.parquet")
    pq.write_table(pa.table({"user_id": ["1"]}), tmp_path / "users.parquet")
    items = [{"item_id": "new", "predecessors": '["older","old"]'}, {"item_id": "other", "predecessors": None}]
    pq.write_table(pa.Table.from_pylist(items), tmp_path / "items.parquet")
    events = [("purchase", "1", item, NOON + n * HOUR) for n, item in enumerate(("old", "older", "other", "new"), 1)]
    files = feedback(tmp_path / "feedback", events)
    found = count_feedback(FeedbackRule({"purchase": 1.0}, {}), files, UNTIL)
    add_feedback(tmp_path, found, Counts(read=1, kept=1))
    rows = pq.read_table(tmp_path / "interactions.parquet").sort_by("timestamp")
    assert rows["item_id"].to_pylist() == ["new", "new", "new", "other", "new"]
    assert pq.read_table(tmp_path / "items.parquet")["item_id"].to_pylist() == ["new", "other"]


def test_the_profile_shows_what_is_feedback(source: Path, store: TableStore, tmp_path: Path) -> None:
    events = [PURCHASE, ("purchase", "1", "85123A", NOON - HOUR)]
    version = SPEC.ingest(source, store, feedback=feedback(tmp_path / "feedback", events))
    files = {name: store.files(name) for name in TABLES}
    rendered = render(profile_tables(files, version.counts))
    assert "| kept rows that are feedback | 1 | 25.0 % |" in rendered
    assert f"| excluded: {PASSED_OVER} | 1 | 25.0 % |" in rendered
    assert "feedback" not in render(profile_tables(files, replace(version.counts, read=3, set_aside={}, feedback=0)))


TIMES = st.integers(-3, 6).map(lambda hours: NOON + hours * HOUR)
HAPPENED = st.tuples(
    st.sampled_from(["purchase", "cart", "click"]), st.sampled_from("123"), st.sampled_from("abc"), TIMES
)


@pytest.fixture(scope="module")
def plain_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tables of a source with one event, at NOON."""
    folder = tmp_path_factory.mktemp("plain")
    PLAIN.write_tables(write_source(folder / "days", 5), folder / "tables")
    return folder / "tables"


@settings(max_examples=60)
@given(st.lists(HAPPENED, max_size=12), st.randoms(use_true_random=False), st.lists(st.integers(1, 4), max_size=8))
def test_any_order_and_any_split_into_reads_give_the_same_tables(plain_tables, events, random, sizes) -> None:
    with TemporaryDirectory() as name:

        def tables(label: str, pages: Sequence[Sequence[Happened]]) -> tuple[str, Counts, list[pa.Table]]:
            folder = Path(name) / label
            shutil.copytree(plain_tables, folder)
            found = count_feedback(SPEC.feedback_rule, feedback(folder / "feedback", *pages), UNTIL)
            counts = add_feedback(folder, found, Counts(read=1, kept=1))
            return found.data_version("source"), counts, [pq.read_table(folder / f"{name}.parquet") for name in IDS]

        mixed = list(events)
        random.shuffle(mixed)
        pages = []
        for size in [*sizes, len(mixed)]:
            pages += [mixed[:size]] if mixed[:size] else []
            mixed = mixed[size:]
        whole = tables("whole", [events] if events else [])
        assert tables("split", pages) == whole
        version, counts, found = whole
        weighted = [event for event in events if event[0] != "click"]
        assert counts.feedback == sum(event[3] > NOON for event in weighted)
        assert counts.read == 1 + len(weighted)
        assert found[0].num_rows == counts.kept
        assert (version == "source") == (counts.feedback == 0)
        for table, column in zip(found[1:], ("item_id", "user_id"), strict=True):
            ids = table[column].to_pylist()
            assert len(ids) == len(set(ids))
            assert set(ids) >= set(found[0][column].to_pylist())


IDS = ("interactions", "items", "users")

ENTRY = """
shop:
  interactions:
    files: log.csv
    columns: {user_id: who, item_id: what, timestamp: at}
"""


def entry(folder: Path, lines: str) -> Path:
    path = folder / "datasets.yaml"
    path.write_text(ENTRY + "".join(f"  {line}\n" for line in lines.split("\n") if line))
    return path


def test_an_entry_declares_its_feedback(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("who,what,at\n1,a,2024-01-01\n")
    plain = read_specs(entry(tmp_path, ""))["shop"]
    declared = read_specs(entry(tmp_path, "feedback: {purchase: 1.0, cart: 0.3}"))["shop"]
    assert (plain.feedback, declared.feedback) == ({}, {"purchase": 1.0, "cart": 0.3})
    assert declared.fingerprint(tmp_path).version == plain.fingerprint(tmp_path).version


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("feedback: {impression: 1.0}", r"feedback: got 'impression'; allowed: click, cart, purchase, rating"),
        ("feedback: {cart: 0}", r"feedback: got the weight 0.0 of cart; allowed: a number above 0"),
        ("feedback: {cart: .inf}", r"feedback: got the weight inf of cart; allowed: a number above 0"),
        ("feedback_names: {cart: purchase}", r"feedback_names: got 'cart'; allowed: none"),
        ("feedback: {cart: 1}\nfeedback_names: {cart: x}", r"feedback_names.cart: got 'x'; allowed: purchase"),
    ],
)
def test_a_declaration_that_cannot_be_is_one_clear_error(tmp_path: Path, lines: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        read_specs(entry(tmp_path, lines))


def test_a_purchase_that_no_evaluation_would_count_is_an_error(tmp_path: Path) -> None:
    def specs(feedback: str) -> Path:
        path = entry(tmp_path, f"events: {{order: 1.0}}\n{feedback}")
        path.write_text(path.read_text().replace("timestamp: at", "timestamp: at, event: {value: order}"))
        return path

    with pytest.raises(ConfigurationError, match=r"would not count .* add feedback_names: \{purchase: order\}"):
        read_specs(specs("feedback: {purchase: 1.0}"))
    spec = read_specs(specs("feedback: {purchase: 1.0, cart: 0.3}\nfeedback_names: {purchase: order}"))["shop"]
    assert spec.feedback_names == {"purchase": "order"}
    assert spec.protocol.relevant_events == ("order",)
    assert json.loads(spec.entry.table_settings()).keys() & {"feedback", "feedback_names"} == set()
