"""A source while it is read: its files as tables in DuckDB, every row judged, every row accounted for.

A row is good, set aside by a declared rule, or quarantined because it cannot be true. Rules are SQL conditions by
reason. Large files go through DuckDB's own parallel readers; only where those did not like every row is each line
looked at again, to tell the number, text and reason of each bad one.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb

from recommenders.datasets.reading import lines
from recommenders.datasets.reading.lines import text_literal
from recommenders.datasets.reading.text import TextFile, mentioned, prepare
from recommenders.errors import DataError

log = logging.getLogger(__name__)

Rules = Mapping[str, str]  # reason -> SQL condition that is true of such a row
SOURCE = "<source>"  # stands in the SQL of a judgement for where its rows come from


class Reading:
    """One source being read; a context manager. `work` is an empty folder for what does not fit in memory."""

    def __init__(self, dataset: str, work: Path, memory: str = "2GB") -> None:
        self.dataset, self.work, self.memory = dataset, work, memory
        self._files: dict[str, list[TextFile]] = {}
        self._exact: dict[str, str] = {}  # name -> SQL of all its rows with line and raw text
        self._n_rows: dict[str, int] = {}  # as counted line by line
        self._streamed: set[str] = set()  # names that are read from their files at each query
        self._judging: dict[str, str] = {}  # name -> SQL that judges the rows of {source}
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
        """The rows of a statement. Raises DataError in one line where the engine cannot read a file."""
        try:
            return self.connection.execute(sql, values or None).fetchall()
        except duckdb.OutOfMemoryException as error:
            raise DataError(
                f"{self.dataset}: the files cannot be read in {self.memory} of memory; give more"
            ) from error
        except duckdb.Error as error:
            first = str(error).splitlines()[0]
            raise DataError(f"{self.dataset}: the files cannot be read: {first}; fetch them again") from error

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
        """Makes `name` of text files with these columns, among others: file, line, raw, broken, then the columns.

        columns: name -> DuckDB type; without a header they are the file's in order. `broken` says why a row has no
        fields, or not of these types. Text is trimmed, null where empty; blank lines are no rows. may_lack: columns
        that some files may lack, and that are null there. origins: the files that a person knows, where these were
        made of them. unique: a header may not hold a column twice; else the first one counts. Raises DataError, also
        if there are no rows at all unless the files are optional.
        """
        known, wanted = origins or paths, list(columns)
        files = [
            prepare(p, self.dataset, self.work, wanted, delimiter, header, encoding, may_lack=may_lack, origin=origin)
            for p, origin in zip(paths, known, strict=True)
        ]
        headers = {path: file.header for path, file in zip(known, files, strict=True)}
        self._note_lacking(may_lack, headers)
        for path, found in headers.items() if unique else ():
            if twice := [column for column in wanted if found.count(column) > 1]:
                raise DataError(f"{self.dataset}: {path} holds {', '.join(twice)} twice; expected it once; rename one")
        exact = [lines.csv_rows(file, columns, delimiter) for file in files]
        plain = bool(files) and not any(file.has_quotes or file.odd for file in files)
        fast = [lines.typed_rows(file, columns, delimiter) for file in files] if plain else []
        self._register(name, files, columns, exact, fast)
        if files and not optional and not any(file.n_rows for file in files):
            raise DataError(f"{self.dataset}: {known[0]} has a header but no rows; expected some; fetch it again")

    def json(
        self, name: str, paths: Sequence[Path], columns: Mapping[str, str], may_lack: Collection[str] = ()
    ) -> None:
        """The same of files with one JSON object a line; columns: key -> DuckDB type. Other keys are ignored.

        may_lack: keys that some objects may lack, but not all of every file; of other keys that is not looked at.
        """
        if may_lack:
            self._note_lacking(may_lack, {path: mentioned(path, self.dataset, may_lack) for path in paths})
        files = [prepare(p, self.dataset, self.work, header=False, zipped=True) for p in paths]
        exact = [lines.json_rows(file, columns) for file in files]
        self._register(name, files, columns, exact, [lines.json_objects(file, columns) for file in files])

    def parquet(
        self, name: str, paths: Sequence[Path], columns: Mapping[str, str], may_lack: Collection[str] = ()
    ) -> None:
        """The same of Parquet files; `line` is the row from 1, `raw` the row as JSON."""
        needed = [column for column in columns if column not in may_lack]
        for path in paths:
            lines.check_parquet(path, self.dataset, needed)
        self._note_lacking(may_lack, {path: lines.parquet_names(path) for path in paths})
        self._files[name], self._exact[name] = [], lines.parquet_rows(paths, columns)
        self._streamed.add(name)
        self.run(f"create view {name} as {self._exact[name]}")

    def _note_lacking(self, columns: Collection[str], names: Mapping[Path, Sequence[str]]) -> None:
        """Logs which files lack one of the columns. Raises DataError if all of them do."""
        for column in columns:
            lacking = [path for path, found in names.items() if column not in found]
            if lacking and len(lacking) == len(names):
                got = ", ".join(names[lacking[0]])[:200]
                raise DataError(
                    f"{self.dataset}: {lacking[0]} lacks {column}; got {got}; mend the name or leave it out"
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

    def by_line(self, name: str) -> None:
        """Reads the files of `name` line by line, so that rules may go by `line`; to be said before judge()."""
        if name in self._streamed:
            self.run(f"drop view {name}")
            self.run(f"create table {name} as {self._exact[name]}")
            self._streamed.discard(name)

    def n_rows(self, name: str) -> int:
        """Rows of the files behind `name`."""
        if name in self._n_rows:
            return self._n_rows[name]
        if self._files[name] and name in self._streamed:
            return sum(file.n_rows for file in self._files[name])
        return int(self.one(f"select count(*) from {name}"))

    # -- rules

    def judge(
        self,
        name: str,
        lies: Rules,
        asides: Rules | None = None,
        select: str = "*",
        joins: str = "",
        references: Rules | None = None,
        flaws: Rules | None = None,
    ) -> None:
        """Makes `good_NAME`: the rows of `name`, as `select` and `joins` widen them, of which no rule is true.

        lies: reasons for quarantine; asides: reasons to set aside; references: reasons that look into another table.
        flaws: reasons to leave out a value, of names that are read line by line: the row is good all the same, and is
        also among flawed(NAME). The first reason that holds is the row's. References are dear at millions of rows, so
        a streamed name obeys them only once `be_strict(name)` says that one is broken.
        """
        every = {**lies, **(references or {})}
        self._judging[name] = _judgement(select, joins, every, asides or {}, flaws or {})
        streamed = name in self._streamed
        lax = _judgement(select, joins, lies, asides or {}) if streamed else self._judging[name]
        kind = "view" if streamed else "table"
        self.run(f"create {kind} judged_{name} as {lax.replace(SOURCE, name)}")
        self.run(f"create view good_{name} as select * from judged_{name} where lie is null and aside is null")

    def flawed(self, name: str) -> str:
        """SQL of the good rows of which a value is left out: file, line, raw, flaw."""
        return (
            f"select file, line, raw, flaw from judged_{name} where coalesce(lie, aside) is null and flaw is not null"
        )

    def be_strict(self, name: str) -> None:
        """Lets `good_NAME` obey references too."""
        if name in self._streamed:
            self.run(f"create or replace view judged_{name} as {self._judging[name].replace(SOURCE, name)}")

    def rest(self, name: str, n_good: int) -> bool:
        """Makes `rest_NAME` (file, line, raw, lie, aside): the rows that are not good; false if they do not add up.

        n_good: rows of good_NAME. They do not add up where a fast reader saw a row otherwise than its line reads;
        `good_NAME` then holds what the lines say from now on, and must be read again.
        """
        self.run(f"drop table if exists rest_{name}")
        names = "file, line, raw, lie, aside"
        if name in self._streamed and n_good == self.n_rows(name):
            self.run(f"create table rest_{name} as select {names} from judged_{name} limit 0")
            return True
        exact = f"({self._exact[name]})"
        judged = self._judging[name].replace(SOURCE, exact) if name in self._streamed else f"from judged_{name}"
        self.run(f"create table rest_{name} as select {names} from ({judged}) where coalesce(lie, aside) is not null")
        if name in self._streamed:
            self._n_rows[name] = int(self.one(f"select count(*) from {exact}"))
        if n_good + int(self.one(f"select count(*) from rest_{name}")) == self.n_rows(name):
            return True
        if name not in self._streamed:
            raise DataError(f"{self.dataset}: {n_good} good rows of {name} do not add up; mend the rules of its parser")
        self.run(f"drop view judged_{name}")
        self.run(f"create table judged_{name} as {judged}")
        self._streamed.discard(name)
        return False


def _judgement(select: str, joins: str, lies: Rules, asides: Rules, flaws: Rules | None = None) -> str:
    lie, aside, flaw = (
        " ".join(f"when {condition} then {text_literal(reason)}" for reason, condition in rules.items())
        for rules in (lies, asides, flaws or {})
    )
    return f"""
        select *, case when lie is null then case {aside or "when false then ''"} end end as aside,
            {f"case {flaw} end" if flaw else "null::varchar"} as flaw
        from (select *, case when broken is not null then broken {lie} end as lie
              from (select {select} from {SOURCE} {joins}))
    """
