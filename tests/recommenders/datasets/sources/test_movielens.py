from datetime import UTC, datetime
from pathlib import Path

import pytest

from recommenders.datasets.all_datasets import DATASETS
from recommenders.errors import DataError
from recommenders.events.item_states import items_as_of
from recommenders.splitting.temporal import split

read = DATASETS["movielens"].read
MOVIES = [
    "1,Toy Story (1995),Adventure|Animation",
    '2,"Story, The",(no genres listed)',
    "3,Heat (1995),Crime",
]
RATINGS = ["7,1,4.5,964982703", "7,1,4.5,964982703", "8,2,0.5,964982704"]


def write(folder: Path, movies: list[str], ratings: list[str], tags: list[str] | None = None) -> Path:
    (folder / "movies.csv").write_text("\n".join(["movieId,title,genres", *movies]))
    (folder / "ratings.csv").write_text("\n".join(["userId,movieId,rating,timestamp", *ratings]))
    if tags is not None:
        (folder / "tags.csv").write_text("\n".join(["userId,movieId,tag,timestamp", *tags]))
    return folder


@pytest.mark.real_data
def test_the_real_log_is_whole(real_data: Path) -> None:
    spec = DATASETS["movielens"]
    tables = spec.read(real_data / "ml-latest-small")
    assert tables.counts.read == tables.counts.kept == 100_836
    assert (tables.users.num_rows, tables.quarantine.num_rows) == (610, 0)
    assert len(tables.items["item_id"].unique()) == 9_742
    parts = split(tables.interactions, spec.protocol)["part"].to_pylist()
    assert (parts.count("test"), parts.count("validation")) == (610, 610)


def test_values_arrive_as_they_were_written(tmp_path: Path) -> None:
    tables = read(write(tmp_path, MOVIES, RATINGS))
    first = tables.interactions.to_pylist()[0]
    assert (first["user_id"], first["item_id"], first["rating"]) == ("7", "1", 4.5)
    assert (first["event"], first["weight"], first["quantity"]) == ("rating", 1.0, None)
    assert first["timestamp"] == datetime(2000, 7, 30, 18, 45, 3, tzinfo=UTC)
    story, other, _ = tables.items.to_pylist()
    assert story["valid_from"] is None
    assert (story["title"], story["category"], story["subcategory"]) == (
        "Toy Story (1995)",
        "Adventure",
        None,
    )
    assert story["text"].split() == ["Adventure", "Animation", "1995"]
    assert (other["title"], other["category"], other["brand"]) == ("Story, The", None, None)
    assert tables.users["user_id"].to_pylist() == ["7", "8"]
    assert (tables.counts.read, tables.counts.kept, tables.counts.merged) == (3, 2, 1)


def test_tags_are_known_from_the_end_of_their_quarter(tmp_path: Path) -> None:
    april, july = int(datetime(2001, 4, 2, tzinfo=UTC).timestamp()), int(datetime(2001, 7, 1, tzinfo=UTC).timestamp())
    tags = [f"7,1,Pixar,{april}", f"8,1,fun,{july}", f"8,1,pixar,{july}"]
    items = read(write(tmp_path, MOVIES, RATINGS, tags)).items

    def words(*day: int) -> list[str]:
        return items_as_of(items, datetime(*day, tzinfo=UTC))["text"][0].as_py().split()[3:]  # type: ignore[misc, arg-type]

    assert (words(2001, 6, 30), words(2001, 7, 1), words(2001, 9, 30)) == ([], ["pixar"], ["pixar"])
    assert words(2001, 10, 1) == ["fun", "pixar"]


def test_invalid_rows_are_quarantined_and_counted(tmp_path: Path) -> None:
    ratings = {
        "rating is not between 0.5 and 5": "7,1,5.5,1",
        "unknown movie id": "7,99,3,1",
        "userId is not a whole number": "x,1,3,1",
        "timestamp is not a whole number": "7,1,3,1999-01-01",
        "wrong number of fields": "7,1,3",
    }
    movies = {"movie id occurs twice": "1,Again,Drama", "movieId is not a whole number": "tt3,Heat,Crime"}
    tags = {"no tag": "7,1,,1"}
    tables = read(write(tmp_path, [*MOVIES, *movies.values()], [*RATINGS, *ratings.values()], [*tags.values()]))
    found = tables.quarantine.to_pylist()
    assert [(row["file"], row["reason"], row["raw"]) for row in found] == [
        *(("movies.csv", reason, raw) for reason, raw in movies.items()),
        *(("ratings.csv", reason, raw) for reason, raw in ratings.items()),
        *(("tags.csv", reason, raw) for reason, raw in tags.items()),
    ]
    counts = tables.counts
    assert (counts.read, counts.kept, counts.merged, counts.quarantined) == (3 + 5 + 2 + 1, 2, 1, 8)


def test_an_unreadable_source_is_an_error_of_one_line(tmp_path: Path) -> None:
    write(tmp_path, MOVIES, [])
    with pytest.raises(DataError, match=r"ratings\.csv has a header but no rows"):
        read(tmp_path)
    write(tmp_path, MOVIES, ["7,99,3,1"])
    with pytest.raises(DataError, match="none of the 1 rows"):
        read(tmp_path)
    (tmp_path / "movies.csv").unlink()
    with pytest.raises(DataError, match=r"movies\.csv is missing"):
        read(tmp_path)


def test_the_fast_reader_accepts_columns_without_a_name(tmp_path: Path) -> None:
    write(tmp_path, MOVIES, [])
    (tmp_path / "ratings.csv").write_text(
        ",userId,movieId,rating,timestamp,\n0,7,1,4.5,964982703,\n1,8,2,0.5,964982704,\n"
    )
    assert read(tmp_path).counts.kept == 2
