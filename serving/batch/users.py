"""The users of batch lists: all that the champion knows, or those in a file. Neither is in memory as a whole."""

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from recommenders.errors import ConfigurationError, DataError
from recommenders.models.recommender import Recommender
from serving.batch.options import BatchOptions, parse_request
from serving.web.predict_request import PredictRequest
from serving.web.validation import InvalidRequestError, display_value

CHUNK = 4096  # users in memory at once
COLUMNS = ("user_id", "history")
DELIMITERS = ("\t", ";", ",")
SHOWN = 60  # characters of a header in an error

Row = tuple[str, dict[str, Any]]  # where it is in the file, and its fields of a request


def known_users(model: Recommender, options: BatchOptions) -> Iterator[PredictRequest]:
    """A request for each user of the training log. Raises ConfigurationError for a scene that needs a history."""
    if options.scene == "basket":
        raise ConfigurationError(
            "batch scene: got basket, which needs the items of each basket; allowed without them: for_you, reorder, "
            "discover; give --users FILE with the column history"
        )
    asked, ids = options.request(), model.users_.ids

    def requests() -> Iterator[PredictRequest]:
        for start in range(0, len(ids), CHUNK):
            for user_id in ids[start : start + CHUNK].tolist():  # of the log, so they need no check
                yield asked.model_copy(update={"user_id": user_id})

    return requests()


@dataclass(frozen=True)
class UsersFile:
    """A file with users. rows: reads it from the beginning."""

    path: Path
    has_history: bool
    rows: Callable[[], Iterator[Row]]

    def requests(self, options: BatchOptions) -> Iterator[PredictRequest]:
        """A request for each user, in the order of the file. Raises DataError at the first row that is not valid."""
        shared = options.body()
        for place, row in self.rows():
            try:
                yield parse_request({**shared, **row})
            except InvalidRequestError as error:
                raise _error(self.path, str(error), place) from error

    def check(self, options: BatchOptions) -> int:
        """The number of users.

        Raises DataError if a row is not valid or there is none, ConfigurationError if the scene needs a history.
        """
        if options.scene == "basket" and not self.has_history:
            raise ConfigurationError(
                f"batch scene: got basket, which needs the column history, and {self.path} has none; add it: the items "
                "of each basket"
            )
        n_users = sum(1 for _ in self.requests(options))
        if not n_users:
            raise _error(self.path, "no users; allowed: at least one; export the file again")
        return n_users


def open_users(path: Path) -> UsersFile:
    """The file, whose name says what it is: .csv and .parquet with columns, else one id a line. Raises DataError."""
    if not path.is_file():
        raise DataError(f"--users: no such file: {path}; allowed: .csv, .parquet, or text with one user id a line")
    if path.suffix == ".parquet":
        return _parquet(path)
    if path.suffix == ".csv":
        return _csv(path)
    return UsersFile(path, False, lambda: _lines(path))


def _error(path: Path, problem: str, place: str = "") -> DataError:
    return DataError(f"--users: {path}{f', {place}' if place else ''}: {problem}")


# -- text


def _lines(path: Path) -> Iterator[Row]:
    number = 0
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if user_id := line.strip():
                    yield f"line {number}", {"user_id": user_id}
    except UnicodeDecodeError as error:
        raise _not_text(path, number + 1) from error


def _not_text(path: Path, line: int) -> DataError:
    return _error(path, "not UTF-8 text; save it as UTF-8, or as .parquet", f"line {line} or later")


# -- CSV


def _csv(path: Path) -> UsersFile:
    try:
        with path.open(encoding="utf-8-sig") as file:
            first = file.readline()
    except UnicodeDecodeError as error:
        raise _not_text(path, 1) from error
    delimiter = next((mark for mark in DELIMITERS if mark in first), ",")
    header = [name.strip() for name in next(csv.reader([first], delimiter=delimiter), [])]
    _check_columns(path, header, f"got {first.strip()[:SHOWN]!r}")
    places = {name: header.index(name) for name in COLUMNS if name in header}
    return UsersFile(path, "history" in places, lambda: _csv_rows(path, delimiter, len(header), places))


def _check_columns(path: Path, names: Sequence[str], got: str) -> None:
    if names.count("user_id") != 1 or names.count("history") > 1:
        allowed = "the column user_id, and history if you like, once each"
        raise _error(path, f"columns: {got}; allowed: {allowed}; name the columns")


def _csv_rows(path: Path, delimiter: str, width: int, places: dict[str, int]) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            next(reader)
            for cells in reader:
                if not cells:
                    continue
                place = f"line {reader.line_num}"
                if len(cells) != width:
                    raise _error(path, f"got {len(cells)} fields; allowed: {width}, as in the header; fix it", place)
                row: dict[str, Any] = {"user_id": cells[places["user_id"]].strip()}
                if "history" in places:
                    row["history"] = _history(path, place, cells[places["history"]].strip())
                yield place, row
        except UnicodeDecodeError as error:
            raise _not_text(path, reader.line_num + 1) from error
        except csv.Error as error:
            raise _error(path, f"{error}; allowed: CSV (RFC 4180); fix it", f"line {reader.line_num}") from error


def _history(path: Path, place: str, text: str) -> Any:
    try:
        return orjson.loads(text) if text else []
    except orjson.JSONDecodeError as error:
        allowed = "a JSON list of item ids such as [101, 2048], or nothing"
        raise _error(path, f"history: got {display_value(text)}; allowed: {allowed}", place) from error


# -- Parquet


def _parquet(path: Path) -> UsersFile:
    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error
    names = schema.names
    _check_columns(path, names, f"got {', '.join(names)[:SHOWN] or 'none'}")
    chosen = [name for name in COLUMNS if name in names]
    if not _is_id(kind := schema.field("user_id").type):
        raise _error(path, f"user_id: got {kind}; allowed: text or whole numbers; convert the column")
    if "history" in names and not _is_list_of_ids(kind := schema.field("history").type):
        raise _error(path, f"history: got {kind}; allowed: lists of text or of whole numbers; convert the column")
    return UsersFile(path, "history" in names, lambda: _parquet_rows(path, chosen))


def _is_id(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind))


def _is_list_of_ids(kind: pa.DataType) -> bool:
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    return bool(is_list and (_is_id(kind.value_type) or pa.types.is_null(kind.value_type)))


def _parquet_rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(CHUNK, columns=list(columns)):
                for row in batch.to_pylist():
                    number += 1
                    if "history" in row:
                        row["history"] = row["history"] or []
                    yield f"row {number}", row
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> DataError:
    return _error(path, f"not a whole Parquet file ({' '.join(str(error).split())}); export it again")
