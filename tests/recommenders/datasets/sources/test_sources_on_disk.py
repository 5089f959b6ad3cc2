"""Other files in a source's folder, and errors of the operating system: unrelated files do not stop a source."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from recommenders.datasets.all_datasets import DATASETS
from recommenders.datasets.custom.spec import read_specs
from recommenders.datasets.sources.online_retail import COLUMNS
from recommenders.datasets.spec import DatasetSpec
from recommenders.errors import DataError

RETAIL = DATASETS["online_retail"]
DAY = ",".join(COLUMNS) + "\n536365,85123A,HEART HOLDER,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom\n"
LOG = "who,what,at\n1,a,2024-01-01\n"
LOG_COLUMNS = {"user_id": "who", "item_id": "what", "timestamp": "at"}
ROW = {"who": "1", "what": "a", "at": "2024-01-01"}
Unrelated = Callable[[Path], object]
UNRELATED: dict[str, Unrelated] = {
    "folder": lambda folder: (folder / "x.csv").mkdir(),
    "hidden": lambda folder: (folder / ".b.csv").write_text("no such columns\n1\n"),
    "of macOS": lambda folder: (folder / "._day.csv").write_bytes(b"\0\5\x16\7 Mac OS X"),
    "dangling link": lambda folder: (folder / "c.csv").symlink_to(folder / "nowhere.csv"),
    "link to itself": lambda folder: (folder / "d.csv").symlink_to(folder / "d.csv"),
    "quiet day": lambda folder: (folder / "e.csv").touch(),
}


def custom(folder: Path, **tables: Any) -> DatasetSpec:
    path = folder / "datasets.yaml"
    log = {"files": "*.csv", "columns": LOG_COLUMNS}
    path.write_text(yaml.safe_dump({"ours": {"title": "Ours", "interactions": log} | tables}))
    return read_specs(path)["ours"]


def message(spec: DatasetSpec, source: Path) -> str:
    """The error of a source that cannot be located; one line of valid UTF-8."""
    with pytest.raises(DataError) as caught:
        spec.locate(source)
    reported = str(caught.value)
    assert "\n" not in reported
    assert reported.encode()
    return reported


@pytest.fixture(params=["the project's", "custom"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[DatasetSpec, Path]:
    """A data set of daily files and its folder with one day."""
    if request.param == "custom":
        (tmp_path / "day.csv").write_text(LOG)
        return custom(tmp_path), tmp_path
    (tmp_path / "day.csv").write_text(DAY)
    return RETAIL, tmp_path


@pytest.mark.parametrize("kind", UNRELATED)
def test_unrelated_files_are_left_out(kind: str, source: tuple[DatasetSpec, Path]) -> None:
    spec, folder = source
    before = spec.fingerprint(folder)
    UNRELATED[kind](folder)
    assert spec.locate(folder) == [folder / "day.csv"]
    assert spec.fingerprint(folder) == before
    assert spec.read(folder).counts.kept == 1


def test_a_source_of_empty_files_is_an_error(source: tuple[DatasetSpec, Path]) -> None:
    spec, folder = source
    for name in ("day.csv", "e.csv"):
        (folder / name).write_bytes(b"")
    assert "day.csv is empty; expected " in message(spec, folder)


def test_an_empty_file_with_a_fixed_name_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "ratings.csv").touch()
    (tmp_path / "movies.csv").write_text("movieId,title,genres\n")
    assert "ratings.csv is empty; expected a folder" in message(DATASETS["movielens"], tmp_path)


def test_a_folder_with_only_folders_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.csv").mkdir()
    assert "contains none of *.csv, *.csv.gz, *.xlsx" in message(RETAIL, tmp_path)


def test_a_name_that_is_not_utf_8_is_an_error(source: tuple[DatasetSpec, Path]) -> None:
    spec, folder = source
    try:
        (folder / os.fsdecode(b"caf\xe9.csv")).write_text(DAY)
    except OSError:
        pytest.skip("the file system takes UTF-8 names only")
    assert "caf\\udce9.csv: got a name that is not UTF-8; rename it" in message(spec, folder)
    assert "got a name that is not UTF-8" in message(spec, folder / os.fsdecode(b"caf\xe9"))


def refuse(path: Path, *_: object, **__: object) -> NoReturn:
    raise PermissionError(13, "Permission denied", str(path))


def test_a_folder_that_cannot_be_listed_is_an_error(
    source: tuple[DatasetSpec, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, folder = source
    monkeypatch.setattr(Path, "iterdir", refuse)  # root could list the folder whatever its permissions
    assert f"{folder} cannot be read: Permission denied; check the path and its permissions" in message(spec, folder)


def test_a_file_without_access_is_an_error(source: tuple[DatasetSpec, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    spec, folder = source
    stat = Path.stat

    def stat_of_others(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        return refuse(path) if path.name == "day.csv" else stat(path, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "stat", stat_of_others)
    assert "day.csv cannot be read: Permission denied; check" in message(spec, folder)


def test_a_source_name_that_the_system_refuses_is_an_error(tmp_path: Path) -> None:
    assert "cannot be read: File name too long" in message(RETAIL, tmp_path / ("x" * 300))


# -- Parquet files without rows


def parquet_log(folder: Path, **days: bool) -> DatasetSpec:
    """A custom data set with one Parquet file per day, with one row or none."""
    for day, has_row in days.items():
        table = pa.Table.from_pylist([ROW])
        pq.write_table(table if has_row else table.slice(0, 0), folder / f"{day}.parquet")
    return custom(folder, interactions={"files": "*.parquet", "columns": LOG_COLUMNS})


def test_a_day_without_rows_stops_no_source(tmp_path: Path) -> None:
    spec = parquet_log(tmp_path, a=False, b=True, c=False)
    assert spec.read(tmp_path).counts.kept == 1


def test_a_log_without_any_rows_is_an_error(tmp_path: Path) -> None:
    spec = parquet_log(tmp_path, a=False, b=False)
    with pytest.raises(DataError, match=r"a\.parquet has no rows; expected at least one; export it again"):
        spec.read(tmp_path)


def test_a_day_without_rows_must_have_the_columns(tmp_path: Path) -> None:
    spec = parquet_log(tmp_path, b=True)
    pq.write_table(pa.table({"who": pa.array([], pa.string())}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet lacks what, at; got who"):
        spec.read(tmp_path)


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_tables_of_items_and_users_may_be_empty(form: str, tmp_path: Path) -> None:
    (tmp_path / "day.csv").write_text(LOG)
    (tmp_path / "things").mkdir()
    for name in ("items", "users"):
        if form == "csv":
            (tmp_path / "things" / f"{name}.csv").write_text("id,title\n")
        else:
            empty = pa.table({"id": pa.array([], pa.string()), "title": pa.array([], pa.string())})
            pq.write_table(empty, tmp_path / "things" / f"{name}.parquet")
    spec = custom(
        tmp_path,
        items={"files": f"things/items.{form}", "columns": {"item_id": "id", "title": "title"}},
        users={"files": f"things/users.{form}", "columns": {"user_id": "id"}},
    )
    tables = spec.read(tmp_path)
    assert (tables.counts.kept, tables.counts.quarantined) == (1, 0)
    assert tables.items["item_id"].to_pylist() == ["a"]
    assert tables.users["user_id"].to_pylist() == ["1"]
