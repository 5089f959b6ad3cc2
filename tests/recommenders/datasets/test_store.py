"""Versions of tables: the same files make no new version, a new day's file makes one, and versions can be restored."""

import os
import random
import time
from pathlib import Path

import duckdb
import pytest
from deltalake import DeltaTable, PostCommitHookProperties

from recommenders.datasets import store as tables
from recommenders.datasets.all_datasets import DATASETS
from recommenders.datasets.store import TableStore
from recommenders.errors import DataError

SPEC = DATASETS["online_retail"]
HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"


def day(folder: Path, name: str, *lines: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("\n".join([HEADER, *lines, ""]))


def line(number: int, day: int, quantity: int = 5) -> str:
    return f"{number},85123A,A,{quantity},2010-12-{day:02} 08:00:00,1.5,{number % 3 + 1},UK"


@pytest.fixture
def store(tmp_path: Path) -> TableStore:
    return TableStore(tmp_path / "it's a lake [odd]" / "tables")


def test_the_same_files_twice_change_nothing(tmp_path: Path, store: TableStore) -> None:
    day(tmp_path / "days", "1.csv", line(1, 1))
    first = SPEC.ingest(tmp_path / "days", store)
    assert SPEC.ingest(tmp_path / "days", store) == first
    assert [version.number for version in store.versions()] == [first.number]
    day(tmp_path / "days", "copy of 1.csv", line(1, 1))
    second = SPEC.ingest(tmp_path / "days", store)
    assert store.read("interactions", second).equals(store.read("interactions", first))
    assert (second.counts.read, second.counts.kept, second.counts.merged) == (2, 1, 1)


def test_days_that_arrive_one_by_one_and_out_of_order_are_sorted(tmp_path: Path, store: TableStore) -> None:
    lines = {n: [line(10 * n + i, n) for i in range(4)] + [f"C{line(10 * n, n, -2)}"] for n in range(1, 6)}
    order = [3, 1, 5, 2, 4]
    for n in order:
        day(tmp_path / "days", f"{n}.csv", *random.Random(n).sample(lines[n], 5))
        version = SPEC.ingest(tmp_path / "days", store)
    day(tmp_path / "whole", "all.csv", *(row for n in sorted(lines) for row in lines[n]))
    whole = SPEC.read(tmp_path / "whole")
    for name in ("interactions", "items", "users", "quarantine"):
        assert store.read(name).equals(getattr(whole, name)), name
    assert version.counts == whole.counts
    assert len(store.versions()) == 5
    times = store.read("interactions")["timestamp"].to_pylist()
    assert times == sorted(times)


def test_a_version_can_be_restored_and_released_without_loss(tmp_path: Path, store: TableStore) -> None:
    day(tmp_path / "days", "1.csv", line(1, 1))
    first = SPEC.ingest(tmp_path / "days", store)
    before = {name: store.read(name) for name in ("interactions", "items", "users", "quarantine")}
    day(tmp_path / "days", "2.csv", line(2, 2), "broken")
    second = SPEC.ingest(tmp_path / "days", store)
    assert (store.read("interactions").num_rows, store.read("quarantine").num_rows) == (2, 1)
    back = store.restore(first.number)
    assert (back.data_version, back.restored_from) == (first.data_version, first.number)
    for name, table in before.items():
        assert store.read(name).equals(table), name
    assert SPEC.ingest(tmp_path / "days", store) == back  # it stays, although the source has more days
    store.release()
    assert store.read("interactions").equals(before["interactions"])
    third = SPEC.ingest(tmp_path / "days", store)
    assert third.data_version == second.data_version
    assert store.read("interactions").equals(store.read("interactions", second))
    with pytest.raises(DataError, match=r"no version 99 .* there are 0, 1, 2, 3, 4"):
        store.restore(99)
    with pytest.raises(DataError, match="version 4 is the newest already"):
        store.restore(4)


def test_old_versions_are_never_deleted(tmp_path: Path, store: TableStore) -> None:
    for n in (1, 2):
        day(tmp_path / "days", f"{n}.csv", line(n, n))
        SPEC.ingest(tmp_path / "days", store)
    log = store.folder / "interactions"
    keep = PostCommitHookProperties(cleanup_expired_logs=False)
    for _ in range(100):  # from the hundredth commit on, Delta cleans up
        DeltaTable(log).restore(0, post_commithook_properties=keep)
    day(tmp_path / "days", "3.csv", line(3, 3))
    for commit in (lambda: SPEC.ingest(tmp_path / "days", store), lambda: store.restore(0), store.release):
        long_ago = time.time() - 100 * 86_400
        for entry in (log / "_delta_log").iterdir():
            os.utime(entry, (long_ago, long_ago))
        commit()
    assert [version.number for version in store.versions()] == [104, 103, 102, 1, 0]
    assert store.read("interactions", store.version(1)).num_rows == 2


def test_an_unreadable_source_leaves_the_last_version_and_no_files(tmp_path: Path, store: TableStore) -> None:
    day(tmp_path / "days", "1.csv", line(1, 1))
    SPEC.ingest(tmp_path / "days", store)
    files = sorted(store.folder.rglob("*"))
    (tmp_path / "days" / "2.csv").write_text("<html>no such file</html>")
    with pytest.raises(DataError, match=r"2\.csv is a web page"):
        SPEC.ingest(tmp_path / "days", store)
    assert sorted(store.folder.rglob("*")) == files
    assert store.read("interactions").num_rows == 1


def test_a_folder_name_that_delta_misreads_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="rename it"):
        TableStore(tmp_path / "100%20" / "tables")


def test_an_empty_store_is_an_error(store: TableStore) -> None:
    assert (store.versions(), store.current()) == ([], None)
    with pytest.raises(DataError, match=r"there are no tables in .* yet"):
        store.read("interactions")


def test_the_tables_are_delta_tables_of_parquet_files(tmp_path: Path) -> None:
    store = TableStore(tmp_path / "tables")
    day(tmp_path / "days", "1.csv", line(1, 1), line(2, 2))
    SPEC.ingest(tmp_path / "days", store)
    delta = DeltaTable(tmp_path / "tables" / "interactions")
    assert delta.to_pyarrow_table(columns=["user_id", "quantity"]).num_rows == 2
    with duckdb.connect() as connection:
        files = [str(path) for path in store.files("interactions")]
        assert connection.execute("select count(*) from read_parquet($files)", {"files": files}).fetchall() == [(2,)]


@pytest.fixture
def three(tmp_path: Path, store: TableStore, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of three versions, whose files may be pruned at once."""
    monkeypatch.setattr(tables, "VACUUM_HOURS", 0)
    found = []
    for n in (1, 2, 3):
        day(tmp_path / "days", f"{n}.csv", line(n, n))
        found.append(SPEC.ingest(tmp_path / "days", store).number)
    return found


def parquet(store: TableStore) -> set[Path]:
    return set(store.folder.rglob("part-*.parquet"))


def test_a_pruned_version_is_gone_with_its_files_and_the_others_are_as_before(
    tmp_path: Path, store: TableStore, three: list[int]
) -> None:
    first, second, third = (store.version(number) for number in three)
    before = {version.number: store.read("interactions", version) for version in (second, third)}
    gone = {Path(file) for file in store.all_files(first)}
    store.prune([first.number])
    assert [version.number for version in store.versions()] == [third.number, second.number]
    assert not any(file.exists() for file in gone)
    for version in (second, third):
        assert store.read("interactions", version).equals(before[version.number])
    with pytest.raises(DataError, match=f"no version {first.number} of the tables .* there are"):
        store.version(first.number)
    left = parquet(store)
    store.prune([first.number])
    assert parquet(store) == left
    assert SPEC.ingest(tmp_path / "days", store) == third  # nothing is read again
    restored = store.restore(second.number)
    store.prune([third.number])
    assert store.read("interactions", restored).equals(before[second.number])
    store.release()
    day(tmp_path / "days", "4.csv", line(4, 4))
    SPEC.ingest(tmp_path / "days", store)
    assert store.read("interactions").num_rows == 4


def test_a_pruning_that_was_killed_is_completed_by_the_next_one(
    store: TableStore, three: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(tables, "atomic_file", kill)
        with pytest.raises(KeyboardInterrupt):
            store.prune([three[0]])
    assert three[0] in [version.number for version in store.versions()]  # so that it is chosen again
    store.prune([three[0]])
    assert [version.number for version in store.versions()] == three[:0:-1]
    assert store.read("interactions").num_rows == 3


def test_files_that_are_just_being_committed_stay(store: TableStore, three: list[int]) -> None:
    tables.VACUUM_HOURS = 24
    store.prune([three[0]])
    assert len(parquet(store)) == 12  # of three versions, although one of them is not listed any more
