"""Events are read from a real feedback store into files: each once, whatever happens between two steps."""

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pytest
from sqlalchemy import create_engine, text

from recommenders.errors import ConfigurationError, DataError
from recommenders.storage import feedback_files
from recommenders.storage.erased_users import id_hash
from recommenders.storage.feedback_engine import read_only, store_url
from recommenders.storage.feedback_files import FeedbackFiles
from recommenders.storage.feedback_position import Position
from recommenders.storage.feedback_reader import FeedbackReader, collect
from serving.feedback.events import StoredEvent
from serving.feedback.store import FeedbackStore

EVENT = StoredEvent("e", "purchase", "u", "i", 1_700_000_000_000_000, 0, "r", "o", 2.0, 9.5, None)


def many(ids: range, **changes: object) -> list[StoredEvent]:
    return [replace(EVENT, event_id=f"e{number}", **changes) for number in ids]


def ids(files: FeedbackFiles) -> list[str]:
    found: list[str] = files.read(["event_id"])["event_id"].to_pylist()
    return found


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'a store' / 'events#1.db'}"
    url: str = request.getfixturevalue("postgres").replace("${CUSTOM_PASSWORD}", quote("p@ss/w:rd", safe=""))
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg2:"))
    with engine.begin() as connection:
        connection.execute(text("drop schema public cascade"))
        connection.execute(text("create schema public"))
    engine.dispose()
    return url


@pytest.fixture
def store(url: str) -> Iterator[FeedbackStore]:
    store = FeedbackStore(url, "toy")
    yield store
    store.close()


@pytest.fixture
def files(tmp_path: Path) -> FeedbackFiles:
    return FeedbackFiles(tmp_path / "feedback" / "toy")


def test_events_are_read_once_with_all_their_values(url: str, store: FeedbackStore, files: FeedbackFiles) -> None:
    bare = StoredEvent("e9", "click", "ü", "007", 5, 6)
    store.append([EVENT, bare, replace(EVENT, event_id="shown", event="impression")])
    FeedbackStore(url, "other").append([EVENT])
    reader = FeedbackReader(url, "toy")
    assert collect(reader, files).num_rows == 2
    assert collect(reader, files).num_rows == 0
    first, second = files.read().to_pylist()
    named = [first[name] for name in ("event_id", "request_id", "order_id", "quantity", "unit_price", "rating")]
    assert named == ["e", "r", "o", 2.0, 9.5, None]
    assert first["timestamp"].isoformat() == "2023-11-14T22:13:20+00:00"
    assert (second["user_id"], second["item_id"], second["timestamp"].microsecond) == ("ü", "007", 5)
    store.append([replace(EVENT, event_id="later")])
    assert collect(reader, files)["event_id"].to_pylist() == ["later"]
    assert ids(files) == ["e", "e9", "later"]
    assert len(files.paths()) == 2
    position = files.position()
    assert position == Position(files.read()["sequence"][-1].as_py(), "later")


def test_pages_are_small_and_a_crash_after_any_of_them_loses_nothing(
    url: str, store: FeedbackStore, files: FeedbackFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.append(many(range(10)))
    reader = FeedbackReader(url, "toy")
    pages = reader.pages(None, size=4)
    files.append(next(pages))  # the process is killed here
    (files.folder / ".events-5-8.parquet-1a2b3c4d").write_text("half a file")
    assert [page.num_rows for page in reader.pages(files.position(), size=4)] == [4, 2]
    with monkeypatch.context() as broken:  # the disk is full while the second file is written
        broken.setattr(feedback_files.pq, "write_table", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            collect(reader, files)
    collect(reader, files)
    assert ids(files) == [f"e{number}" for number in range(10)]


def test_without_a_store_nothing_is_read_or_created(tmp_path: Path, files: FeedbackFiles) -> None:
    reader = FeedbackReader(f"sqlite:///{tmp_path / 'none' / 'events.db'}", "toy")
    assert not reader.exists()
    assert collect(reader, files).num_rows == 0
    assert reader.count(["purchase"], 0, 0, 10) == 0
    assert list(tmp_path.iterdir()) == []
    assert files.position() is None
    assert files.read().num_rows == 0
    (tmp_path / "new.db").write_bytes(b"")  # a store whose tables are not made yet
    assert not FeedbackReader(f"sqlite:///{tmp_path / 'new.db'}", "toy").exists()


def test_new_events_of_some_kinds_and_later_than_a_time_are_counted(url: str, store: FeedbackStore) -> None:
    reader = FeedbackReader(url, "toy")
    store.append([*many(range(3)), *many(range(3, 5), event="cart"), *many(range(5, 9), timestamp=7)])
    sequence = next(reader.pages(None))["sequence"][0].as_py()
    assert reader.count(["purchase"], 0, 6, 100) == 7
    assert reader.count(["purchase", "cart"], 0, 7, 100) == 5
    assert reader.count(["purchase", "cart"], sequence, 7, 100) == 4
    assert reader.count(["purchase"], 0, 0, 2) == 2


def test_a_reader_cannot_write(url: str, store: FeedbackStore) -> None:
    store.append([EVENT])
    with read_only(store_url(url), "toy") as connection:
        assert connection is not None
        with pytest.raises(Exception, match=r"readonly|read-only"):
            connection.execute(text("delete from events"))
    assert store.counts() == {"purchase": 1}


def test_another_store_than_the_one_that_was_read_is_an_error(url: str, store: FeedbackStore, tmp_path: Path) -> None:
    def move_on(number: int) -> FeedbackFiles:
        other = FeedbackFiles(tmp_path / str(number))
        store.append(many(range(3)))
        collect(FeedbackReader(url, "toy"), other)
        return other

    emptier = move_on(1)
    page = emptier.read().slice(2)
    emptier.append(page.set_column(0, "sequence", pa.array([page["sequence"][0].as_py() + 50], pa.int64())))
    with pytest.raises(DataError, match=r"the feedback store lacks event 'e2'.*move the files away"):
        collect(FeedbackReader(url, "toy"), emptier)
    renamed = FeedbackFiles(tmp_path / "2")
    renamed.append(page.set_column(1, "event_id", pa.array(["not there"])))
    with pytest.raises(DataError, match="the feedback store lacks event 'not there'"):
        collect(FeedbackReader(url, "toy"), renamed)


def test_a_store_that_cannot_be_read_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"got mysql.*allowed: sqlite:///FILE or postgresql"):
        FeedbackReader("mysql://user:hush@host/db", "toy")
    (tmp_path / "events.db").write_text("this is no database, but it is long enough to be one " * 50)
    with pytest.raises(DataError, match=r"toy: the feedback store cannot be read: .*TRADEWIND_FEEDBACK_URL"):
        FeedbackReader(f"sqlite:///{tmp_path / 'events.db'}", "toy").exists()
    with pytest.raises(DataError, match="the feedback store cannot be read") as caught:
        FeedbackReader("postgresql://user:hush@127.0.0.1:1/db", "toy").exists()
    assert "hush" not in str(caught.value)


def page_of(*numbers: int) -> pa.Table:
    row = {"event": "purchase", "user_id": "u", "item_id": "i", "timestamp": 0}
    return pa.Table.from_pylist([{**row, "sequence": n, "event_id": f"e{n}"} for n in numbers], feedback_files.COLUMNS)


def test_files_are_in_the_order_of_their_numbers_and_never_overlap(files: FeedbackFiles) -> None:
    files.append(page_of(8, 9))
    files.append(page_of(10, 101))
    assert files.position() == Position(101, "e101")
    assert [path.name for path in files.paths()] == ["events-8-9.parquet", "events-10-101.parquet"]
    with pytest.raises(DataError, match="got event 101; allowed: after 101"):
        files.append(page_of(101, 102))
    files.paths()[0].rename(files.folder / "events-8-10.parquet")
    with pytest.raises(DataError, match=r"events-10-101\.parquet and events-8-10\.parquet have the same events"):
        files.position()


def test_a_damaged_file_is_an_error_with_its_name(files: FeedbackFiles) -> None:
    files.append(page_of(1)).write_text("no Parquet")
    damaged: list[Callable[[], object]] = [files.read, files.position]
    for read in damaged:
        with pytest.raises(DataError, match=r"events-1-1\.parquet is not a file of feedback events"):
            read()


def test_files_know_who_was_erased_and_the_store_is_still_the_same(
    url: str, store: FeedbackStore, files: FeedbackFiles
) -> None:
    store.append([*many(range(2)), *many(range(2, 4), user_id="v")])
    reader = FeedbackReader(url, "toy")
    collect(reader, files)
    last = files.position()
    assert last is not None
    assert (reader.erased(), files.erased()) == ({}, {})
    store.erase("v")  # the last event that was read is of this user
    assert collect(reader, files).num_rows == 0
    assert files.erased() == {id_hash("v"): last.sequence}
    store.append(many(range(4, 5)))
    assert collect(reader, files)["event_id"].to_pylist() == ["e4"]
    store.erase("v")
    collect(reader, files)
    assert files.erased() == {id_hash("v"): last.sequence + 1}
    files.forget({id_hash("v"): 1, id_hash("w"): 2})  # a backup of the store names fewer
    assert files.erased() == {id_hash("v"): last.sequence + 1, id_hash("w"): 2}


def test_a_store_of_an_earlier_version_has_no_erased_users(
    store: FeedbackStore, files: FeedbackFiles, tmp_path: Path
) -> None:
    path = tmp_path / "old.db"
    old = FeedbackStore(f"sqlite:///{path}", "toy")
    old.append(many(range(2)))
    old.close()
    with sqlite3.connect(path) as connection:
        connection.execute("drop table erased_users")
        connection.execute("drop table erased_events")
    connection.close()
    reader = FeedbackReader(f"sqlite:///{path}", "toy")
    collect(reader, files)
    assert (reader.erased(), ids(files)) == ({}, ["e0", "e1"])
    with pytest.raises(DataError, match="lacks event 'e9'"):
        list(reader.pages(Position(1, "e9")))


def test_a_damaged_list_of_erased_users_stops_the_reading(files: FeedbackFiles) -> None:
    files.folder.mkdir(parents=True)
    for content in ("[]", "{", '{"a": "b"}'):
        (files.folder / "erased.json").write_text(content)
        with pytest.raises(DataError, match=r"erased.json does not name erased users"):
            files.erased()
