"""Reads the tables of a custom data set: maps their columns to ours and applies the rules (docs/custom-data.md)."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from recommenders.datasets.custom.columns import Column, Range
from recommenders.datasets.custom.entry import Entry
from recommenders.datasets.custom.row_rules import (
    event_rules,
    key_columns,
    range_rules,
    reference_rules,
    reject_rules,
    time_rules,
    value_rules,
)
from recommenders.datasets.custom.successors import SUCCESSORS, read_successors
from recommenders.datasets.custom.table import ATTRIBUTE, REQUIRED, Table
from recommenders.datasets.custom.values import select_values
from recommenders.datasets.reading.ingest import Plan
from recommenders.datasets.reading.lines import check_parquet, text_literal
from recommenders.datasets.reading.source_reading import Reading
from recommenders.datasets.reading.workbook import to_csv

OPTIONAL = ("items", "users")  # tables that may have no rows
PURCHASE = Column(value="purchase")


def parse(entry: Entry, files: Callable[[Path, str], Sequence[Path]], reading: Reading, source: Path) -> Plan:
    """An ingest.Parser once entry and files are bound. files: (source, table) -> the files of that table.

    Items and users of the log that their table lacks are added from the log, unless the entry quarantines such events.
    An item with a successor is in no table: its events are those of the successor. Raises DataError if a file cannot be
    read completely.
    """
    for name in entry.tables:
        _read(reading, name, entry.tables[name], files(source, name))
    for name in ("items", "users"):
        if name in entry.tables:
            reading.read_by_line(name)  # of two rows with the same key, the first one is kept
            table = entry.tables[name]
            select, rules = select_values(table, entry.time_zone), reject_rules(name, table, key_columns(table))
            reading.apply_rules(name, rules, select=select, value_rules=value_rules(table))
    log, succeeded = _with_event(entry.interactions), False
    if entry.items and "successor" in entry.items.columns:
        label = entry.items.columns["successor"].column or "successor"
        succeeded = read_successors(reading, label, "valid_from" in entry.items.columns)
    reading.apply_rules(
        "interactions",
        {**reject_rules("interactions", log), **event_rules(entry, log, "quarantine"), **time_rules(log)},
        {**range_rules(log, "set_aside"), **event_rules(entry, log, "set_aside")},
        select=select_values(log, entry.time_zone),
        references=reference_rules(entry, log),
    )
    attributes = tuple(name for name in entry.tables if name != "interactions")
    items, users = (_entity_table(entry, entity) for entity in ("item", "user"))
    if succeeded:
        items = _without_predecessors(items)
    return Plan(_interactions(entry, log, succeeded), items, users, ("interactions",), attributes)


def _with_event(table: Table) -> Table:
    return table.model_copy(update={"columns": {"event": PURCHASE, **table.columns}})


def _read(reading: Reading, name: str, table: Table, paths: Sequence[Path]) -> None:
    columns = {column.column: "VARCHAR" for column in table.sources.values() if column.column is not None}
    needed = (*REQUIRED[name], "event")
    may_lack = [column.column for role, column in table.sources.items() if role not in needed and column.column]
    if table.kind == "parquet":
        _read_parquet(reading, name, paths, columns, may_lack)
    elif table.kind == "json":
        reading.json(name, paths, columns, may_lack=list(columns))
    else:
        texts = [_as_text(path, table, reading.work) for path in paths]
        reading.csv(
            name,
            texts,
            columns,
            delimiter=table.separator,
            encoding=table.codec,
            optional=name in OPTIONAL,
            may_lack=may_lack,
            origins=paths,
            unique=True,
        )


def _as_text(path: Path, table: Table, work: Path) -> Path:
    """The file, or a workbook's sheet as a text file of the same name."""
    if table.kind != "xlsx":
        return path
    folder = work / f"book-{len(list(work.iterdir()))}"
    folder.mkdir()
    return to_csv(path, folder / path.name, sheet=table.sheet)


def _read_parquet(
    reading: Reading, name: str, paths: Sequence[Path], columns: dict[str, str], may_lack: Collection[str]
) -> None:
    """Reads the files that have rows; if no file has, an optional table is empty."""
    needed = [column for column in columns if column not in may_lack]
    checked = [check_parquet(path, reading.dataset, needed, may_be_empty=True) for path in paths]
    full = [path for path in checked if pq.read_metadata(path).num_rows]
    if full or name not in OPTIONAL:
        reading.parquet(name, full or paths, columns, may_lack)
    else:
        reading.csv(name, [], columns, optional=True)  # no files: an empty table of these columns


# -- the clean tables


def _interactions(entry: Entry, table: Table, succeeded: bool) -> str:
    weights = " ".join(f"when {text_literal(event)} then {weight!r}" for event, weight in entry.events.items())
    columns = ", ".join(f'"{role}"' for role in table.columns)
    select = f"select {columns}, case event {weights} end as weight from good_interactions"
    if not succeeded:
        return select
    final = "coalesce(successor, item_id) as item_id"
    return f"select * exclude (successor) replace ({final}) from ({select}) left join {SUCCESSORS} using (item_id)"


def _without_predecessors(items: str) -> str:
    """SQL of the items that have no successor; each states those that it succeeds."""
    lists = f"select successor as item_id, to_json(list_sort(list(item_id)))::varchar as predecessors from {SUCCESSORS}"
    return (
        f"select * from ({items}) left join ({lists} group by all) using (item_id)"
        f" where item_id not in (select item_id from {SUCCESSORS})"
    )


def _entity_table(entry: Entry, kind: str) -> str:
    """SQL of the items or users: those of their table, and those that only the log has."""
    key, table = f"{kind}_id", entry.tables.get(f"{kind}s")
    if table is None:
        return f"select distinct {key} from kept order by {key}"
    roles = [role for role in table.columns if role != "successor"]
    columns = ", ".join([*(f'{_valid_value(role, table)} as "{role}"' for role in roles), *_free_attributes(table)])
    order = f"{key}, valid_from nulls first" if "valid_from" in table.columns else key
    listed = f"select {columns} from good_{kind}s"
    if getattr(entry, f"unknown_{kind}s") == "quarantine":
        return f"{listed} order by {order}"
    others = f"select {key} from (select distinct {key} from kept) anti join good_{kind}s using ({key})"
    return f"select * from ({listed} union all by name {others}) order by {order}"


def _valid_value(role: str, table: Table) -> str:
    """SQL of a value of items or users, null if it is left out."""
    if table.type_of(role) in (pa.string(), pa.bool_()) or role in key_columns(table):
        return f'"{role}"'
    bounds = table.ranges().get(role, Range()).bounds.values()
    conditions = [f'isfinite("{role}")', *(f'"{role}" {operator} {bound!r}::double' for operator, bound in bounds)]
    return f'case when {" and ".join(conditions)} then "{role}" end'


def _free_attributes(table: Table) -> list[str]:
    """SQL of the column of all free attributes; empty if there are none."""
    pairs = ", ".join(f"'{name}': {_valid_value(f'{ATTRIBUTE}{name}', table)}" for name in table.attributes)
    return [f"to_json({{{pairs}}})::varchar as attributes"] if pairs else []
