"""Writes the clean tables of a source to disk, in bounded memory: reads rows, applies rules, merges duplicates.

Every row that is read is counted as kept, merged, netted, excluded or quarantined.
"""

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from recommenders.datasets.reading.lines import path_literal, text_literal
from recommenders.datasets.reading.relations import SQL_TYPES, show
from recommenders.datasets.reading.source_reading import Reading
from recommenders.errors import DataError
from recommenders.storage import schema

TABLES: Mapping[str, pa.Schema] = {
    "interactions": schema.INTERACTIONS,
    "items": schema.ITEMS,
    "users": schema.USERS,
    "quarantine": schema.QUARANTINE,
}


PARTS = 4  # a power of two
BATCH = 1 << 20  # rows in memory at once
N_REASONS, MAX_RAW = 3, 120  # reasons in a message, characters of a row in a message


@dataclass(frozen=True)
class Counts:
    """The number of rows by outcome: read = kept + merged + netted + set_aside + quarantined."""

    read: int
    kept: int
    merged: int = 0  # exact duplicates
    netted: int = 0  # cancellations that were subtracted from their purchase
    set_aside: Mapping[str, int] = field(default_factory=dict)  # excluded rows by exclude rule; the name is stored
    quarantined: int = 0
    feedback: int = 0  # kept rows that came from the feedback store, not from the source

    def __post_init__(self) -> None:
        accounted = self.kept + self.merged + self.netted + sum(self.set_aside.values()) + self.quarantined
        if accounted != self.read:
            raise DataError(f"rows do not reconcile: read {self.read}, accounted for {accounted} ({asdict(self)})")


@dataclass(frozen=True)
class Plan:
    """The result of a parser: SQL of the three tables, and the names of the checked rows that they are made of."""

    interactions: str
    items: str
    users: str
    events: tuple[str, ...]  # names whose good rows are the interactions
    attributes: tuple[str, ...] = ()  # names whose bad rows and bad values are quarantined too
    one_each: bool = True  # each good row of an event is one interaction; if false, the parser merged some rows itself
    merged: int = 0  # good rows that the parser merged; netted and excluded are also counts of good rows
    netted: int = 0
    excluded: Mapping[str, int] = field(default_factory=dict)


Parser = Callable[[Reading, Path], Plan]


def ingest(dataset: str, parser: Parser, source: Path, folder: Path, memory: str = "2GB") -> Counts:
    """Writes TABLES as Parquet files below `folder`, which is empty or missing; returns the counts of rows.

    The counts are of events, plus the rows of attributes that were quarantined or lost a value. memory: the memory
    limit of the engine; beyond it, it writes to disk below `folder`. Raises DataError if a file cannot be read
    completely, or if no row is kept; the files in `folder` must then be discarded.
    """
    folder.mkdir(parents=True, exist_ok=True)
    work = folder / "work"
    try:
        with Reading(dataset, work, memory) as reading:
            plan = parser(reading, source)
            n_rows, kept = _write_tables(reading, plan, folder)
            counts = _account(reading, plan, n_rows, kept)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if not kept:
        raise DataError(
            f"{dataset}: none of the {counts.read} rows of {source} can be kept: "
            f"{'; '.join(_reasons(counts, folder / 'quarantine.parquet'))}; correct the columns"
        )
    return counts


def _reasons(counts: Counts, quarantine: Path) -> list[str]:
    """The most common reasons of quarantined and of excluded rows, as text."""
    excluded = sorted(counts.set_aside.items(), key=lambda pair: -pair[1])
    return [*most_common_reasons([quarantine]), *(f"{n} excluded: {reason}" for reason, n in excluded[:N_REASONS])]


def most_common_reasons(quarantine: Sequence[Path], n: int = N_REASONS) -> list[str]:
    """The n most common reasons for quarantine, each with its number of rows and one example, as text."""
    with duckdb.connect() as engine:
        show(engine, "quarantine", quarantine, schema.QUARANTINE)
        found = engine.execute(
            "select reason, count(*) as n, unnest(min({'file': file, 'line': line, 'raw': raw}), recursive := true)"
            f" from quarantine group by reason order by n desc, reason limit {n}"
        ).fetchall()
    return [
        f"{n_rows} x {reason} (as in {_place(file, line)}: {_short(raw)})" for reason, n_rows, file, line, raw in found
    ]


def _place(file: str, line: int | None) -> str:
    return file if line is None else f"{file}, line {line}"


def _short(raw: str | None) -> str:
    text = " ".join((raw or "").split())
    return text if len(text) <= MAX_RAW else f"{text[:MAX_RAW]}..."


def _write_tables(reading: Reading, plan: Plan, folder: Path) -> tuple[int, int]:
    """Writes all tables; returns (good rows, kept rows).

    Ensures that good and dropped rows add up to all rows, and that each event's user and item are in their tables.
    """
    interactions = folder / "interactions.parquet"
    for attempt in ("as read", "with references", "line by line"):
        n_rows = _copy(reading, plan.interactions, interactions, schema.INTERACTIONS)
        show(reading.connection, "kept", [interactions], schema.INTERACTIONS)
        kept = n_rows - _merge_duplicates(reading, interactions)
        for name, sql in (("items", plan.items), ("users", plan.users)):
            _copy(reading, sql, folder / f"{name}.parquet", TABLES[name])
        unknown = [ids for ids in (_unknown_ids(reading, folder, "item"), _unknown_ids(reading, folder, "user")) if ids]
        if unknown and attempt != "as read":
            raise DataError(f"{reading.dataset}: {'; '.join(unknown)}; fix the rules of its parser")
        if not unknown and _adds_up(reading, plan, n_rows):
            break
        for name in plan.events:
            reading.enforce_references(name)
    _copy(reading, _quarantine(reading, plan), folder / "quarantine.parquet", schema.QUARANTINE)
    return n_rows, kept


def _unknown_ids(reading: Reading, folder: Path, what: str) -> str:
    """The ids that events refer to and the table lacks, as text with up to three examples; "" if there are none."""
    found = reading.run(
        f"select {what}_id from (select distinct {what}_id from kept)"
        f" anti join read_parquet({path_literal(folder / f'{what}s.parquet')}) using ({what}_id) limit 3"
    )
    return f"events refer to unknown {what}s such as {', '.join(row[0] for row in found)}" if found else ""


def _adds_up(reading: Reading, plan: Plan, n_rows: int) -> bool:
    """Whether good and dropped rows add up to all rows; creates the tables of the dropped rows."""
    counted = len(plan.events) == 1 and plan.one_each
    n_good = {name: _n_good(reading, name) for name in plan.attributes}
    n_good |= {name: n_rows if counted else _n_good(reading, name) for name in plan.events}
    settled = [reading.collect_dropped_rows(name, n) for name, n in n_good.items()]
    return all(settled)


def _n_good(reading: Reading, name: str) -> int:
    return int(reading.one(f"select count(*) from good_{name}"))


def _copy(reading: Reading, sql: str, path: Path, wanted: pa.Schema) -> int:
    """Streams a query to Parquet with a schema's types; returns the number of rows. Missing columns are left out.

    Raises DataError if a required column is missing or has a null.
    """
    got = {name: str(type_) for name, type_, *_ in reading.run(f"describe {sql}")}
    columns = ", ".join(_cast(field, got[field.name]) for field in wanted if field.name in got)
    rows = reading.run(f"copy (select {columns} from ({sql})) to {text_literal(str(path))} (format parquet)")
    required = [field.name for field in wanted if not field.nullable]
    metadata = pq.read_metadata(path)
    nulls = {name: count_nulls(metadata, name) if name in got else "only" for name in required}
    for name, found in nulls.items():
        if found:
            raise DataError(f"{reading.dataset}: column {name!r} of {path.stem} has {found} nulls; none are allowed")
    return int(rows[0][0])


def _cast(field: pa.Field, got: str) -> str:
    # an enum is written as its text; no cast of each value is needed
    type_ = got if field.type == pa.string() and got.startswith("ENUM") else SQL_TYPES[field.type]
    return f'"{field.name}"::{type_} as "{field.name}"'


def count_nulls(metadata: pq.FileMetaData, name: str) -> int:
    """The number of nulls in a column of a Parquet file, from its statistics."""
    place = metadata.schema.names.index(name)
    statistics = [metadata.row_group(group).column(place).statistics for group in range(metadata.num_row_groups)]
    return sum(each.null_count for each in statistics if each is not None)


def _merge_duplicates(reading: Reading, path: Path) -> int:
    """Keeps one of each group of rows that are equal in every column; returns the number of removed rows.

    Equal rows have equal keys, so only rows whose 64-bit key hash occurs twice are compared: eight bytes per row.
    """
    key = "hash(user_id, item_id, timestamp)"
    rows = reading.connection.execute(f"select {key} as h from read_parquet({path_literal(path)})")
    twice = _repeated(batch.column(0).to_numpy() for batch in rows.to_arrow_reader(BATCH))
    if not len(twice):
        return 0
    reading.connection.register("twice", pa.table({"h": twice}))
    whole = path.with_suffix(".whole")
    path.rename(whole)
    n_before = pq.read_metadata(whole).num_rows
    source, among = f"read_parquet({path_literal(whole)})", f"{key} in (select h from twice)"
    reading.run(
        f"copy (select * from {source} where not {among} union all select distinct * from {source} where {among})"
        f" to {text_literal(str(path))} (format parquet)"
    )
    whole.unlink()
    return int(n_before - pq.read_metadata(path).num_rows)


def _repeated(batches: Iterable[NDArray[np.uint64]]) -> NDArray[np.uint64]:
    """The distinct hashes that occur more than once. They are sorted in PARTS groups, by their first bits."""
    parts: list[list[NDArray[np.uint64]]] = [[] for _ in range(PARTS)]
    for hashes in batches:
        place = hashes >> np.uint64(64 - PARTS.bit_length() + 1)
        for number, part in enumerate(parts):
            part.append(hashes[place == number])

    def repeated(part: list[NDArray[np.uint64]]) -> NDArray[np.uint64]:
        found = np.concatenate(part) if part else np.zeros(0, np.uint64)
        part.clear()
        found.sort()
        return np.unique(found[1:][found[1:] == found[:-1]])

    with ThreadPoolExecutor(2) as pool:  # numpy releases the interpreter lock while it sorts
        return np.concatenate(list(pool.map(repeated, parts)))


def _quarantine(reading: Reading, plan: Plan) -> str:
    parts = [
        f"select '{reading.dataset}' as dataset, file, line, rejected as reason, raw from dropped_{name}"
        " where rejected is not null"
        for name in (*plan.events, *plan.attributes)
    ]
    parts += [
        f"select '{reading.dataset}' as dataset, file, line, bad_value as reason, raw"
        f" from ({reading.rows_with_bad_values(name)})"
        for name in plan.attributes
    ]
    return " union all ".join(parts) + " order by file, line"


def _account(reading: Reading, plan: Plan, n_rows: int, kept: int) -> Counts:
    excluded: dict[str, int] = dict(plan.excluded)
    for name in plan.events:
        for reason, n in reading.run(
            f"select excluded, count(*) from dropped_{name} where excluded is not null group by 1"
        ):
            excluded[reason] = excluded.get(reason, 0) + int(n)
    n_bad_values = sum(
        int(reading.one(f"select count(*) from ({reading.rows_with_bad_values(name)})")) for name in plan.attributes
    )
    bad_attributes = _n_bad(reading, plan.attributes) + n_bad_values
    quarantined = _n_bad(reading, plan.events) + bad_attributes
    read = sum(reading.n_rows(name) for name in plan.events) + bad_attributes
    merged = n_rows - kept + plan.merged
    return Counts(read, kept, merged, plan.netted, dict(sorted(excluded.items())), quarantined)


def _n_bad(reading: Reading, names: Sequence[str]) -> int:
    return sum(int(reading.one(f"select count(*) from dropped_{name} where rejected is not null")) for name in names)
