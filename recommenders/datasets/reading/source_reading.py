"""Reads a source: its files become tables in DuckDB, rules are applied to every row, and every row is counted.

A row is good, excluded by an exclude rule, or quarantined by a reject rule because it is invalid. Rules are SQL
conditions by reason. Large files are read by DuckDB's parallel readers. Only if these do not return every row, the file
is read again line by line, to get the number, text and reason of each bad line.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb

from recommenders.datasets.reading import lines
from recommenders.datasets.reading.lines import text_literal
from recommenders.datasets.reading.text import TextFile, keys_present, prepare
from recommenders.errors import DataError

log = logging.getLogger(__name__)

Rules = Mapping[str, str]  # reason -> SQL condition that is true for such a row
SOURCE = "<source>"  # placeholder for the rows in the SQL that applies the rules


class Reading:
    """A context manager that reads one source. `work` is an empty folder for data that does not fit in memory."""

    def __init__(self, dataset: str, work: Path, memory: str = "2GB") -> None:
        self.dataset, self.work, self.memory = dataset, work, memory
        self._files: dict[str, list[TextFile]] = {}
        self._exact: dict[str, str] = {}  # name -> SQL of all its rows with line and raw text
        self._n_rows: dict[str, int] = {}  # counted line by line
        self._streamed: set[str] = set()  # names that each query reads from their files
        self._checks: dict[str, str] = {}  # name -> SQL that applies the rules to the rows of SOURCE
        work.mkdir(parents=True, exist_ok=True)
        self.connection = duckdb.connect()
        for setting, value in {
            "TimeZone": "UTC",
            "memory_limit": memory,
            "temp_directory": str(work / "spill"),
        }.items():
            self.connection.execute(f"set {setting} = {text_literal(value)}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.connection.close()

    def run(self, sql: str, **values: Any) -> list[tuple[Any, ...]]:
        """The rows of a statement. Raises DataError in one line if the engine cannot read a file."""
        try:
            return self.connection.execute(sql, values or None).fetchall()
        except duckdb.OutOfMemoryException as error:
            raise DataError(
                f"{self.dataset}: the files cannot be read in {self.memory} of memory; give more"
            ) from error
        except duckdb.Error as error:
            first = str(error).splitlines()[0]
            raise DataError(f"{self.dataset}: the files cannot be read: {first}; download them again") from error

    def one(self, sql: str) -> Any:
        """The single value of a query."""
        return self.run(sql)[0][0]

    # -- files

    def csv(
        self,
        name: str,
        paths: Sequence[Path],
        columns: Mapping[str, str],
        delimiter: str = ",",
        header: bool = True,
        encoding: str = "utf-8",
        optional: bool = False,
        may_lack: Collection[str] = (),
        origins: Sequence[Path] = (),
        unique: bool = False,
    ) -> None:
        """Creates the table `name` from text files: file, line, raw, broken, then the columns. Others are ignored.

        columns: name -> DuckDB type; without a header, all columns of the file in order. `broken` is the reason if a
        row has no fields or wrong types. Text is trimmed, and null if empty; blank lines are not rows. may_lack:
        columns that some files may lack; they are null there. origins: the user's files, if `paths` are conversions of
        them. unique: a header must not repeat a column; otherwise the first one is used. Raises DataError, also if
        there are no rows and the files are not optional.
        """
        known, wanted = origins or paths, list(columns)
        files = [
            prepare(p, self.dataset, self.work, wanted, delimiter, header, encoding, may_lack=may_lack, origin=origin)
            for p, origin in zip(paths, known, strict=True)
        ]
        headers = {path: file.header for path, file in zip(known, files, strict=True)}
        self._check_optional_columns(may_lack, headers)
        for path, found in headers.items() if unique else ():
            if twice := [column for column in wanted if found.count(column) > 1]:
                raise DataError(f"{self.dataset}: {path} has {', '.join(twice)} twice; expected it once; rename one")
        exact = [lines.csv_rows(file, columns, delimiter) for file in files]
        plain = bool(files) and not any(file.has_quotes or file.bad_lines for file in files)
        fast = [lines.typed_rows(file, columns, delimiter) for file in files] if plain else []
        self._register(name, files, columns, exact, fast)
        if files and not optional and not any(file.n_rows for file in files):
            raise DataError(f"{self.dataset}: {known[0]} has a header but no rows; expected some; download it again")

    def json(
        self, name: str, paths: Sequence[Path], columns: Mapping[str, str], may_lack: Collection[str] = ()
    ) -> None:
        """Like csv(), for files with one JSON object per line; columns: key -> DuckDB type. Other keys are ignored.

        may_lack: keys that some objects may lack, but not all objects of all files; other keys are not checked.
        """
        if may_lack:
            self._check_optional_columns(may_lack, {path: keys_present(path, self.dataset, may_lack) for path in paths})
        files = [prepare(p, self.dataset, self.work, header=False, zipped=True) for p in paths]
        exact = [lines.json_rows(file, columns) for file in files]
        self._register(name, files, columns, exact, [lines.json_objects(file, columns) for file in files])

    def parquet(
        self, name: str, paths: Sequence[Path], columns: Mapping[str, str], may_lack: Collection[str] = ()
    ) -> None:
        """Like csv(), for Parquet files; `line` is the row number from 1, `raw` the row as JSON."""
        needed = [column for column in columns if column not in may_lack]
        for path in paths:
            lines.check_parquet(path, self.dataset, needed)
        self._check_optional_columns(may_lack, {path: lines.parquet_names(path) for path in paths})
        self._files[name], self._exact[name] = [], lines.parquet_rows(paths, columns)
        self._streamed.add(name)
        self.run(f"create view {name} as {self._exact[name]}")

    def _check_optional_columns(self, columns: Collection[str], names: Mapping[Path, Sequence[str]]) -> None:
        """Logs which files lack one of the columns. Raises DataError if all files lack it."""
        for column in columns:
            lacking = [path for path, found in names.items() if column not in found]
            if lacking and len(lacking) == len(names):
                got = ", ".join(names[lacking[0]])[:200]
                raise DataError(
                    f"{self.dataset}: {lacking[0]} lacks {column}; got {got}; correct the name or leave it out"
                )
            if lacking:
                log.warning(
                    "%s: %d of %d files lack %s, such as %s; it is empty in their rows",
                    *(self.dataset, len(lacking), len(names), column, lacking[0].name),
                )

    def _register(
        self, name: str, files: list[TextFile], columns: Mapping[str, str], exact: list[str], fast: list[str]
    ) -> None:
        empty = lines.no_rows(columns)
        self._files[name], self._exact[name] = files, " union all by name ".join([empty, *exact])
        if fast:
            self._streamed.add(name)
            self.run(f"create view {name} as " + " union all by name ".join([empty, *fast]))
        else:
            self.run(f"create table {name} as {self._exact[name]}")

    def read_by_line(self, name: str) -> None:
        """Reads the files of `name` line by line, so that rules may use `line`; call it before apply_rules()."""
        if name in self._streamed:
            self.run(f"drop view {name}")
            self.run(f"create table {name} as {self._exact[name]}")
            self._streamed.discard(name)

    def n_rows(self, name: str) -> int:
        """The number of rows in the files of `name`."""
        if name in self._n_rows:
            return self._n_rows[name]
        if self._files[name] and name in self._streamed:
            return sum(file.n_rows for file in self._files[name])
        return int(self.one(f"select count(*) from {name}"))

    # -- rules

    def apply_rules(
        self,
        name: str,
        reject_rules: Rules,
        exclude_rules: Rules | None = None,
        select: str = "*",
        joins: str = "",
        references: Rules | None = None,
        value_rules: Rules | None = None,
    ) -> None:
        """Creates `good_NAME`: the rows of `name`, extended by `select` and `joins`, for which no rule is true.

        reject_rules: reasons for quarantine (invalid rows); exclude_rules: reasons to exclude valid rows; references:
        reject rules that query another table. value_rules: reasons to leave out a value, for names that are read line
        by line; the row stays good and is also in rows_with_bad_values(NAME). A row gets the first reason that is true.
        References are slow on millions of rows, so a streamed name applies them only after enforce_references(name).
        """
        every = {**reject_rules, **(references or {})}
        self._checks[name] = _check_sql(select, joins, every, exclude_rules or {}, value_rules or {})
        streamed = name in self._streamed
        first = _check_sql(select, joins, reject_rules, exclude_rules or {}) if streamed else self._checks[name]
        kind = "view" if streamed else "table"
        self.run(f"create {kind} checked_{name} as {first.replace(SOURCE, name)}")
        self.run(f"create view good_{name} as select * from checked_{name} where rejected is null and excluded is null")

    def rows_with_bad_values(self, name: str) -> str:
        """SQL of the good rows that lose a value: file, line, raw, bad_value (the reason)."""
        return (
            f"select file, line, raw, bad_value from checked_{name}"
            " where coalesce(rejected, excluded) is null and bad_value is not null"
        )

    def leave_out(self, name: str, reason: str, condition: str) -> None:
        """Leaves out a value of the good rows of `name` for which the condition is true: they get the reason.

        For a reason that is known only after apply_rules(); name is read line by line. A row keeps its first reason.
        """
        self.run(
            f"update checked_{name} set bad_value = coalesce(bad_value, {text_literal(reason)})"
            f" where rejected is null and excluded is null and {condition}"
        )

    def enforce_references(self, name: str) -> None:
        """Applies the references to `good_NAME` too."""
        if name in self._streamed:
            self.run(f"create or replace view checked_{name} as {self._checks[name].replace(SOURCE, name)}")

    def collect_dropped_rows(self, name: str, n_good: int) -> bool:
        """Creates `dropped_NAME` (file, line, raw, rejected, excluded), the rows that are not good.

        n_good: rows of good_NAME. Returns false if good and dropped rows do not add up to all rows: a fast reader then
        parsed a row differently from the exact reader. From then on `good_NAME` has the rows as read line by line, and
        must be read again. Raises DataError if they do not add up although the lines were read one by one.
        """
        self.run(f"drop table if exists dropped_{name}")
        names = "file, line, raw, rejected, excluded"
        if name in self._streamed and n_good == self.n_rows(name):
            self.run(f"create table dropped_{name} as select {names} from checked_{name} limit 0")
            return True
        exact = f"({self._exact[name]})"
        checked = self._checks[name].replace(SOURCE, exact) if name in self._streamed else f"from checked_{name}"
        self.run(
            f"create table dropped_{name} as select {names} from ({checked})"
            " where coalesce(rejected, excluded) is not null"
        )
        if name in self._streamed:
            self._n_rows[name] = int(self.one(f"select count(*) from {exact}"))
        if n_good + int(self.one(f"select count(*) from dropped_{name}")) == self.n_rows(name):
            return True
        if name not in self._streamed:
            raise DataError(f"{self.dataset}: {n_good} good rows of {name} do not add up; fix the rules of its parser")
        self.run(f"drop view checked_{name}")
        self.run(f"create table checked_{name} as {checked}")
        self._streamed.discard(name)
        return False


def _check_sql(
    select: str, joins: str, reject_rules: Rules, exclude_rules: Rules, value_rules: Rules | None = None
) -> str:
    rejected, excluded, bad_value = (
        " ".join(f"when {condition} then {text_literal(reason)}" for reason, condition in rules.items())
        for rules in (reject_rules, exclude_rules, value_rules or {})
    )
    return f"""
        select *, case when rejected is null then case {excluded or "when false then ''"} end end as excluded,
            {f"case {bad_value} end" if bad_value else "null::varchar"} as bad_value
        from (select *, case when broken is not null then broken {rejected} end as rejected
              from (select {select} from {SOURCE} {joins}))
    """
